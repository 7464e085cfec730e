"""Where images come from: the `sources` of a manifest, told apart by `type`."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.kinds import SOURCES
from pipeline.manifest.base import Filled, Positive, Split
from pipeline.manifest.source_base import AuditLimits, PlugInSources, SourceBase

__all__ = [
    "CorpusSource",
    "ImagesSource",
    "MosaicsSource",
    "NoisyPairsSource",
    "PairsSource",
    "PhotographsSource",
    "SiddSource",
    "Source",
]


class PhotographsSource(SourceBase):
    """The photographs that come with scikit-image, checked by hash; public domain or CC0."""

    scanner: ClassVar[str] = "pipeline.sources.photographs:scan_photographs"
    type: Literal["photographs"] = Field(description="Photographs bundled with scikit-image.")
    names: list[Literal["astronaut", "coffee", "chelsea", "rocket"]] = Field(
        default=["astronaut", "coffee", "chelsea", "rocket"],
        min_length=1,
        description="Which of the photographs to take; all four if absent.",
    )
    split: Split = Field(default="train", description="Split of all of them.")


class ImagesSource(SourceBase):
    """A folder of clean photographs."""

    scanner: ClassVar[str] = "pipeline.sources.images:scan_images"
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

    scanner: ClassVar[str] = "pipeline.sources.pairs:scan_pairs"
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

    scanner: ClassVar[str] = "pipeline.sources.corpus:scan_corpus"
    type: Literal["corpus"] = Field(description="An existing noisemill corpus.")
    path: Filled = Field(description="Folder or URL with a corpus.json.")
    only: list[Split] | None = Field(
        default=None, min_length=1, description="Take only rows of these splits."
    )
    pairs: bool = Field(
        default=True, description="Offer the corpus's noisy images as noisy partners."
    )


class SiddSource(SourceBase):
    """The smartphone image denoising data set (SIDD), in one of its published layouts."""

    scanner: ClassVar[str] = "pipeline.sources.sidd:scan_sidd"
    type: Literal["sidd"] = Field(description="SIDD, sRGB or raw.")
    path: Filled = Field(description="Folder or fsspec URL of the data set.")
    layout: Literal["small", "medium", "full", "validation", "benchmark"] = Field(
        description="Which of the published sets lies there."
    )
    color: Literal["srgb", "raw"] = Field(
        default="srgb", description="Which of its two forms to take; raw becomes packed RGGB."
    )
    offer: Literal["pairs", "noisy-pairs", "single-noisy"] | None = Field(
        default=None,
        validate_default=True,
        description="Clean/noisy pairs; two frames of a burst, without clean images; or single "
        "noisy images. Pairs if absent, single noisy images of the benchmark.",
    )
    cameras: list[Literal["G4", "GP", "IP", "N6", "S6"]] | None = Field(
        default=None, min_length=1, description="Take only these phones."
    )
    isos: list[Positive] | None = Field(
        default=None, min_length=1, description="Take only these ISO speeds."
    )
    frames: list[Positive] | None = Field(
        default=None, min_length=1, description="Take only these frames of a burst, e.g. [1, 2]."
    )
    align: Literal["crop", "reorder"] = Field(
        default="crop",
        description="How raw becomes RGGB: by cropping a row and a column, or by putting the "
        "colours of each cell in order, which keeps every pixel.",
    )
    split: Split | Literal["noise-flow"] | None = Field(
        default=None,
        validate_default=True,
        description="Split of all; `noise-flow` for its published train and test instances; by "
        "`splits` if absent.",
    )
    only: list[Split] | None = Field(
        default=None, min_length=1, description="Take only instances of these splits."
    )

    @property
    def offering(self) -> str:
        """What is offered, the default filled in."""
        return self.offer or ("single-noisy" if self.layout == "benchmark" else "pairs")

    @field_validator("offer")
    @classmethod
    def _layout_has_it(cls, offer: str | None, info: ValidationInfo) -> str | None:
        layout = info.data.get("layout")
        if layout == "benchmark" and offer not in (None, "single-noisy"):
            raise ValueError("the benchmark has single noisy images only, and no clean ones")
        if layout in ("small", "validation") and offer == "noisy-pairs":
            raise ValueError(
                f"layout {layout} has one shot of a scene; bursts are in layouts medium and full"
            )
        return offer

    @field_validator("split")
    @classmethod
    def _published_split_fits(cls, split: str | None, info: ValidationInfo) -> str | None:
        if split == "noise-flow" and info.data.get("layout") in ("validation", "benchmark"):
            raise ValueError(
                "noise-flow divides the public instances (small, medium, full); the held-out ones "
                "of validation and benchmark are in neither part"
            )
        return split


class MosaicsSource(SourceBase):
    """Raw files: DNG, or 16-bit PNG and TIFF mosaics with a sidecar that says how to read them."""

    scanner: ClassVar[str] = "pipeline.sources.mosaics:scan_mosaics"
    type: Literal["mosaics"] = Field(description="DNG files, or PNG and TIFF mosaics.")
    path: Filled = Field(description="Folder or fsspec URL that file names are relative to.")
    pattern: Filled | None = Field(
        default=None,
        description="Glob of clean mosaics without partners; all raw files if nothing is given.",
    )
    clean: Filled | None = Field(
        default=None, description="Glob of the clean mosaics, with `*` for the part shared."
    )
    noisy: Filled | None = Field(
        default=None,
        validate_default=True,
        description="Glob of their noisy partners, with `*` for the part shared.",
    )
    camera: str | None = Field(
        default=None, description="Camera name where neither file nor sidecar has one."
    )
    iso: Positive | None = Field(
        default=None, description="ISO speed where neither file nor sidecar has one."
    )
    align: Literal["crop", "reorder"] = Field(
        default="crop",
        description="How a mosaic becomes RGGB: by cropping a row and a column, or by putting the "
        "colours of each cell in order, which keeps every pixel.",
    )
    split: Split | None = Field(
        default=None, description="Split of all of them; by `splits` if absent."
    )

    @field_validator("noisy")
    @classmethod
    def _one_way_to_choose(cls, noisy: str | None, info: ValidationInfo) -> str | None:
        if "pattern" in info.data and "clean" in info.data:
            given = [info.data["pattern"] is not None, info.data["clean"] is not None]
            given.append(noisy is not None)
            if given not in ([False] * 3, [True, False, False], [False, True, True]):
                raise ValueError("give `pattern`, or both `clean` and `noisy`, or none of them")
        return noisy


class NoisyPairsSource(SourceBase):
    """Pairs of noisy photographs of one scene with independent noise, without a clean one."""

    scanner: ClassVar[str] = "pipeline.sources.noisy_pairs:scan_noisy_pairs"
    type: Literal["noisy-pairs"] = Field(description="Two noisy photographs of each scene.")
    path: Filled = Field(description="Folder or fsspec URL that file names are relative to.")
    first: Filled = Field(
        description="Glob of the first photographs, with `*` for the part shared."
    )
    second: Filled = Field(
        description="Glob of the second photographs, with `*` for the part shared."
    )
    camera: str | None = Field(default=None, description="Camera name of all of them.")
    iso: Positive | None = Field(default=None, description="ISO speed of all of them.")
    split: Split | None = Field(
        default=None, description="Split of all of them; by `splits` if absent."
    )


Source = Annotated[
    PhotographsSource
    | ImagesSource
    | PairsSource
    | CorpusSource
    | SiddSource
    | MosaicsSource
    | NoisyPairsSource,
    Field(discriminator="type"),
    PlugInSources(SOURCES),
]
