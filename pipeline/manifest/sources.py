"""Where images come from: the `sources` of a manifest, told apart by `type`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.manifest.base import Filled, Fraction, Model, Positive, Split

__all__ = [
    "AuditLimits",
    "CorpusSource",
    "ImagesSource",
    "PairsSource",
    "PhotographsSource",
    "Source",
    "SourceBase",
    "Splits",
]


class AuditLimits(Model):
    """Thresholds of the pair audit; a pair or a patch beyond one is rejected."""

    max_offset: float | None = Field(
        default=None,
        gt=0,
        description="Largest |mean(noisy - clean)| of a patch, in grey levels of 255.",
    )
    max_shift: float | None = Field(
        default=None, gt=0, description="Largest misalignment of a pair, in pixels."
    )
    max_clipped: Fraction | None = Field(
        default=None,
        description="Largest fraction of samples at black or white in the noisy patch.",
    )
    max_noise: float | None = Field(
        default=None,
        gt=0,
        description="Largest noise standard deviation of a patch, in grey levels of 255.",
    )


class SourceBase(Model):
    """What all sources share."""

    label: Filled | None = Field(
        default=None, description="Name of this source in reports; its type if absent."
    )
    license: str | None = Field(
        default=None, description="Licence of the photographs; carried into the corpus."
    )


class PhotographsSource(SourceBase):
    """The photographs that come with scikit-image, checked by hash; public domain or CC0."""

    type: Literal["photographs"] = Field(description="Photographs bundled with scikit-image.")
    names: list[Literal["astronaut", "coffee", "chelsea", "rocket"]] = Field(
        default=["astronaut", "coffee", "chelsea", "rocket"],
        min_length=1,
        description="Which of the photographs to take; all four if absent.",
    )
    split: Split = Field(default="train", description="Split of all of them.")


class ImagesSource(SourceBase):
    """A folder of clean photographs."""

    type: Literal["images"] = Field(description="A folder of clean photographs.")
    path: Filled = Field(
        description="Folder or fsspec URL; relative paths start at the working directory."
    )
    pattern: Filled = Field(
        default="**/*", description="Glob below the folder; only image files are taken."
    )
    camera: str | None = Field(default=None, description="Camera name for all of them, if known.")
    iso: Positive | None = Field(default=None, description="ISO speed for all of them, if known.")
    scene: str | None = Field(
        default=None,
        description="Regular expression with one group that takes the scene from the file name; "
        "each file is its own scene if absent.",
    )
    split: Split | None = Field(
        default=None, description="Split of all of them; by `splits` if absent."
    )

    @field_validator("scene")
    @classmethod
    def _one_group(cls, scene: str | None) -> str | None:
        if scene is None:
            return None
        try:
            groups = re.compile(scene).groups
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{scene!r} is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(
                f"{scene!r} has {groups} groups; put ( ) around the one part that names the scene"
            )
        return scene


class PairsSource(SourceBase):
    """Clean/noisy pairs, by a metadata CSV or by two globs that give equally many files."""

    type: Literal["pairs"] = Field(description="Clean photographs with a noisy partner each.")
    path: Filled = Field(description="Folder or fsspec URL that file names are relative to.")
    metadata: Filled | None = Field(
        default=None,
        description="CSV below the folder with columns clean, noisy and optionally scene, camera, "
        "iso, split.",
    )
    clean: Filled | None = Field(
        default=None, description="Glob of the clean images, with `*` for the part shared."
    )
    noisy: Filled | None = Field(
        default=None,
        validate_default=True,
        description="Glob of the noisy images, with `*` for the part shared.",
    )
    camera: str | None = Field(default=None, description="Camera name of all pairs found by globs.")
    iso: Positive | None = Field(default=None, description="ISO speed of all pairs found by globs.")
    split: Split | None = Field(
        default=None, description="Split of all pairs by globs; by `splits` if absent."
    )
    only: list[Split] | None = Field(
        default=None, min_length=1, description="Take only pairs of these splits."
    )
    audit: AuditLimits | None = Field(
        default=None, description="Reject pairs or patches beyond these limits."
    )

    # A check on the last field of a group, not on the whole model: pydantic skips whole-model
    # checks once any field is wrong, and a manifest's mistakes are to be told all at once.
    @field_validator("noisy")
    @classmethod
    def _one_way_to_pair(cls, noisy: str | None, info: ValidationInfo) -> str | None:
        if "metadata" in info.data and "clean" in info.data:
            given = (info.data["metadata"], info.data["clean"], noisy)
            if [value is not None for value in given] not in (
                [True, False, False],
                [False, True, True],
            ):
                raise ValueError("give either `metadata`, or both `clean` and `noisy`")
        return noisy


class CorpusSource(SourceBase):
    """The images of an existing noisemill corpus."""

    type: Literal["corpus"] = Field(description="An existing noisemill corpus.")
    path: Filled = Field(description="Folder or URL with a corpus.json.")
    only: list[Split] | None = Field(
        default=None, min_length=1, description="Take only rows of these splits."
    )
    pairs: bool = Field(
        default=True, description="Offer the corpus's noisy images as noisy partners."
    )


Source = Annotated[
    PhotographsSource | ImagesSource | PairsSource | CorpusSource, Field(discriminator="type")
]


class Splits(Model):
    """How scenes without a split of their own are divided, by a hash of the scene."""

    train: Fraction = Field(default=1.0, description="Share of the scenes used for training.")
    val: Fraction = Field(default=0.0, description="Share of the scenes used for validation.")
    test: Fraction = Field(
        default=0.0, validate_default=True, description="Share of the scenes used for testing."
    )

    @field_validator("test")
    @classmethod
    def _sum_to_one(cls, test: float, info: ValidationInfo) -> float:
        if "train" in info.data and "val" in info.data:
            total = info.data["train"] + info.data["val"] + test
            if abs(total - 1.0) > 1e-6:
                raise ValueError(f"train + val + test must be 1; they are {total:g}")
        return test
