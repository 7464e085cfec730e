"""The manifest of a corpus: `kind: corpus`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.manifest.base import Filled, Fraction, Model, Positive
from pipeline.manifest.names import FormatName, GeneratorName
from pipeline.manifest.source_base import Splits
from pipeline.manifest.sources import Source
from pipeline.manifest.values import parse_bytes
from pipeline.pixels import Color, SampleType

__all__ = [
    "CorpusManifest",
    "GeneratorSpec",
    "Limits",
    "Output",
    "Patches",
    "Resources",
    "Unprocess",
    "check_labels",
]


class Patches(Model):
    """Where patches are cut."""

    size: Annotated[int, Field(ge=8, le=4096)] = Field(default=64, description="Pixels a side.")
    stride: Positive | None = Field(
        default=None, description="Pixels between patches on a grid; the patch size if absent."
    )
    per_image: Positive | None = Field(
        default=None, description="This many random patches an image, instead of a grid."
    )
    min_texture: float | None = Field(
        default=None,
        gt=0,
        description="Skip patches whose clean image has a standard deviation below this many grey "
        "levels of 255.",
    )
    color: Color = Field(default="rgb", description="Channels of the patches.")

    @field_validator("per_image")
    @classmethod
    def _grid_or_random(cls, per_image: int | None, info: ValidationInfo) -> int | None:
        if per_image is not None and info.data.get("stride") is not None:
            raise ValueError("give `stride` (a grid) or `per_image` (random places), not both")
        return per_image


class Unprocess(Model):
    """Raw noise on sRGB photographs: back to the sensor, noise there, developed again or not."""

    output: Literal["srgb", "raw"] = Field(
        default="srgb",
        description="Develop the noisy raw again, or keep it, packed RGGB of half the size.",
    )
    matrix: str = Field(
        default="random",
        description="`random`, or one camera's colour matrix, as for generator `camera`.",
    )
    white_balance: Literal["random"] | tuple[float, float] = Field(
        default="random", description="`random`, or [red gain, blue gain], each at least 1."
    )
    brightness: Literal["random"] | float = Field(
        default="random", description="`random`, or the brightness gain, at least 1."
    )


class GeneratorSpec(Model):
    """One noise generator and its parameters."""

    name: GeneratorName = Field(description="Registry name; `noisemill models` lists them.")
    label: Filled | None = Field(
        default=None, description="Name in rows and reports; the registry name if absent."
    )
    weights: Filled | None = Field(
        default=None, description="Bundled weights by name, or a .safetensors file."
    )
    weight: float = Field(
        default=1.0, gt=0, description="Share of the patches when `mix` is `weighted`."
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="The generator's own parameters; checked by the generator.",
    )
    unprocess: Unprocess | None = Field(
        default=None,
        description="Lets a generator of raw noise work on sRGB photographs; `{output: srgb}` or "
        "`{output: raw}` says what comes out.",
    )

    @property
    def key(self) -> str:
        """Name under which the generator's rows are found."""
        return self.label or self.name


def check_labels(specs: list[GeneratorSpec] | None) -> None:
    """Refuse two generators of one name.

    Raises:
        PydanticCustomError: ``repeated_label``, which the check of a manifest tells by its lines.
    """
    keys = [spec.key for spec in specs or ()]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise PydanticCustomError(
            "repeated_label",
            "generators {twice} appear twice; give each its own `label`",
            {"twice": ", ".join(twice)},
        )


class Output(Model):
    """Where the corpus goes and how its shards look."""

    path: Filled = Field(description="Folder or fsspec URL of the corpus.")
    formats: list[FormatName] = Field(
        default=["hdf5", "parquet"],
        min_length=1,
        description="Which files to write; the pixels are the same in both.",
    )
    encoding: SampleType = Field(
        default="uint8", description="Type of stored samples; integers are clipped and rounded."
    )
    rows_per_shard: Positive | None = Field(
        default=None, description="Rows a shard; 512 if neither is given."
    )
    bytes_per_shard: str | int | None = Field(
        default=None, description="Uncompressed bytes of pixels a shard instead, e.g. 64MB."
    )
    png_level: Annotated[int, Field(ge=0, le=9)] = Field(
        default=1, description="PNG compression in Parquet."
    )
    hdf5_compression: Literal["none", "gzip", "lzf"] = Field(
        default="none", description="Compression of HDF5 chunks."
    )

    @field_validator("formats")
    @classmethod
    def _no_format_twice(cls, formats: list[str]) -> list[str]:
        if len(set(formats)) != len(formats):
            raise ValueError("a format is named twice; name each once")
        return formats

    @field_validator("bytes_per_shard")
    @classmethod
    def _bytes_instead_of_rows(cls, value: str | int | None, info: ValidationInfo) -> int | None:
        if value is None:
            return None
        if info.data.get("rows_per_shard") is not None:
            raise ValueError("give `rows_per_shard` or `bytes_per_shard`, not both")
        return parse_bytes(value)


class Resources(Model):
    """What the run may use. Of these `precision`, `batch_size` and `threads` change pixels.

    The last two change them where a network's sums depend on how they are split; parametric noise
    never depends on them.
    """

    address: str | None = Field(default=None, description="Ray address; a local cluster if absent.")
    actors: Positive | None = Field(
        default=None, description="Generator actors; as many as fit if absent."
    )
    batch_size: Positive = Field(default=32, description="Fixed, padded batch of the generators.")
    gpus_per_actor: float | None = Field(
        default=None, ge=0, description="GPUs an actor; 1 where the cluster has GPUs, else 0."
    )
    threads: Positive = Field(default=1, description="CPU threads an actor, pinned.")
    precision: Literal["float32", "bf16"] = Field(
        default="float32", description="Precision of networks."
    )


class Limits(Model):
    """When to stop."""

    max_rejected: Fraction = Field(
        default=0.05,
        description="Largest fraction of planned patches (or of images) that may be refused.",
    )
    attempts_per_shard: Positive = Field(default=3, description="Tries before a shard is given up.")


class CorpusManifest(Model):
    """A corpus: sources through generators into shards."""

    kind: Literal["corpus"] = Field(description="Makes a corpus.")
    name: Filled = Field(default="corpus", description="Name of the corpus, for its card.")
    description: str = Field(default="", description="What the corpus is for, for its card.")
    seed: int = Field(default=0, ge=0, description="Every random choice follows from it.")
    sources: list[Source] = Field(min_length=1, description="Where the clean images come from.")
    splits: Splits = Field(
        default_factory=Splits,
        description="How scenes without a split of their own are divided.",
    )
    patches: Patches = Field(default_factory=Patches, description="Where patches are cut.")
    generators: list[GeneratorSpec] = Field(
        min_length=1, description="What puts noise on the patches."
    )
    mix: Literal["each", "weighted"] = Field(
        default="each",
        description="Each patch through every generator, or one generator a patch by weight.",
    )
    output: Output = Field(description="Where the corpus goes and how its shards look.")
    resources: Resources = Field(default_factory=Resources, description="What the run may use.")
    limits: Limits = Field(default_factory=Limits, description="When to stop.")
    license: str | None = Field(default=None, description="Licence of the corpus itself.")
    attribution: str | None = Field(
        default=None, description="Whom users of the corpus have to name."
    )
    report: bool = Field(default=True, description="Write report.html.")

    @field_validator("generators")
    @classmethod
    def _labels_differ(cls, generators: list[GeneratorSpec]) -> list[GeneratorSpec]:
        check_labels(generators)
        return generators
