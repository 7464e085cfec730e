"""The manifest of a benchmark: `kind: benchmark`, which noise should a denoiser be trained on?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.manifest.base import Filled, Model, Positive
from pipeline.manifest.corpus import GeneratorSpec, Patches, Resources, check_labels
from pipeline.manifest.denoising import DenoisingSchedule
from pipeline.manifest.names import DenoiserName
from pipeline.manifest.sources import Source
from pipeline.manifest.training import TrainingOutput
from pipeline.storage import file_stem

__all__ = [
    "BenchmarkManifest",
    "BenchmarkPhotographs",
    "BenchmarkResources",
    "BenchmarkTest",
    "CandidateDenoiser",
    "Mixture",
]

RESERVED = ("real", "awgn", "noisy", "bm3d")


def _check_files(names: list[str]) -> None:
    """Refuse rows whose results would be one file, or none."""
    slashed = [name for name in names if "/" in name or "\\" in name]
    if slashed:
        raise ValueError(f"'{slashed[0]}' names files, so it can hold neither / nor \\; rename it")
    stems: dict[str, str] = {}
    for name in names:
        other = stems.setdefault(file_stem(name).lower(), name)
        if other != name:
            raise ValueError(
                f"'{other}' and '{name}' would be one file, {file_stem(name)}.json; rename one"
            )


class BenchmarkPhotographs(Model):
    """Photographs, and where patches are cut from them."""

    sources: list[Source] = Field(min_length=1, description="Where the photographs come from.")
    patches: Patches = Field(default_factory=Patches, description="Where patches are cut.")


class BenchmarkTest(BenchmarkPhotographs):
    """What every denoiser is tested on."""

    max_offset: float | None = Field(
        default=1.0,
        gt=0,
        description="Leave out places whose real |mean(noisy - clean)| exceeds this many grey "
        "levels of 255: a brightness offset is no noise, and no denoiser should remove it.",
    )


class CandidateDenoiser(Model):
    """The denoiser that is trained on each noise, always the same."""

    name: DenoiserName = Field(default="dncnn", description="Which network.")
    params: dict[str, Any] = Field(default_factory=dict, description="The network's arrangement.")
    loss: Literal["l1", "l2", "charbonnier"] = Field(
        default="l2", description="Distance to the clean image."
    )
    augmentation: Literal["none", "flips", "flips-and-rotations"] = Field(
        default="flips-and-rotations", description="How patches are turned."
    )
    patch: Annotated[int, Field(ge=8)] | None = Field(
        default=None, description="Side of training crops, pixels; whole patches if absent."
    )


class Mixture(Model):
    """A row trained on several rows' patches: does generated noise help beside the real pairs?"""

    name: Filled = Field(description="Name of the row.")
    shares: dict[str, Annotated[float, Field(gt=0)]] = Field(
        min_length=2, description="Rows by name, `real` among them or not, and the share of each."
    )


class BenchmarkResources(Resources):
    """What the run may use."""

    inline: bool = Field(
        default=True,
        description="Make the corpora in this process; false makes them on Ray, at `address` or on "
        "a local cluster.",
    )


class BenchmarkManifest(Model):
    """A ranking of noise generators by the denoisers trained on their noise."""

    kind: Literal["benchmark"] = Field(
        description="Ranks noise generators by the denoisers trained on their noise."
    )
    name: Filled = Field(default="benchmark", description="Name of the benchmark.")
    description: str = Field(default="", description="What it asks, for its page.")
    seed: int = Field(default=0, ge=0, description="Every random choice follows from it.")
    train: BenchmarkPhotographs = Field(description="What the denoisers are trained on.")
    test: BenchmarkTest = Field(description="What they are tested on.")
    real: list[GeneratorSpec] = Field(
        default=[GeneratorSpec(name="real")],
        min_length=1,
        description="What counts as real noise: the pairs' own (`real`), or a simulated camera on "
        "clean photographs; of several, each patch gets one, by weight.",
    )
    generators: list[GeneratorSpec] = Field(
        min_length=1,
        description="The candidates. White noise of each patch's own level, the real noise, the "
        "noisy input and BM3D, where it is installed, are rows of every benchmark.",
    )
    mixtures: list[Mixture] = Field(
        default_factory=list,
        description="Rows trained on several rows' patches, for as many steps as the others.",
    )
    denoiser: CandidateDenoiser = Field(
        default_factory=CandidateDenoiser, description="The denoiser that each row trains."
    )
    schedule: DenoisingSchedule = Field(description="How long and how fast each row trains.")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        default=[1, 2, 3],
        min_length=1,
        description="One training a seed and row; rows of one seed share initial weights and "
        "batches.",
    )
    curve_every: Positive | None = Field(
        default=None,
        description="Steps between points of the learning curves, measured on test places; chooses "
        "nothing, since the last weights are always taken. None if absent.",
    )
    high_iso: Positive | None = Field(
        default=None, description="Report test places of at least this ISO apart, too."
    )
    bm3d: bool | None = Field(
        default=None,
        description="Whether BM3D is a row; if absent, where it is installed and the pairs are "
        "no raw.",
    )
    intervals: Annotated[int, Field(ge=100)] = Field(
        default=2000, description="Resamples behind each 95 % interval."
    )
    resources: BenchmarkResources = Field(
        default_factory=BenchmarkResources, description="What the run may use."
    )
    output: TrainingOutput = Field(description="Where corpora, trainings and results go.")
    report: bool = Field(default=True, description="Write report.html.")

    @field_validator("generators")
    @classmethod
    def _names_are_free(cls, generators: list[GeneratorSpec]) -> list[GeneratorSpec]:
        check_labels(generators)
        keys = [spec.key for spec in generators]
        taken = sorted(set(keys) & set(RESERVED))
        if taken:
            raise ValueError(
                f"{', '.join(taken)}: the name of a row that is always there; give the generator "
                "another `label`"
            )
        _check_files([*RESERVED, *keys])
        return generators

    @field_validator("mixtures")
    @classmethod
    def _parts_are_rows(cls, mixtures: list[Mixture], info: ValidationInfo) -> list[Mixture]:
        specs = info.data.get("generators")
        if specs is None:
            return mixtures
        rows = ["real", "awgn", *(spec.key for spec in specs)]
        names = [mixture.name for mixture in mixtures]
        for mixture in mixtures:
            unknown = sorted(set(mixture.shares) - set(rows))
            if unknown:
                raise ValueError(
                    f"mixture '{mixture.name}' has a share of {', '.join(unknown)}, which is no "
                    f"row; rows are {', '.join(rows)}"
                )
            if mixture.name in (*rows, *RESERVED) or names.count(mixture.name) > 1:
                raise ValueError(f"there are two rows '{mixture.name}'; rename the mixture")
        _check_files([*RESERVED, *(spec.key for spec in specs), *names])
        return mixtures

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is named twice, which would count one training twice")
        return seeds
