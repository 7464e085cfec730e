"""The manifest of an evaluation: `kind: evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from generators.registry import close_match
from pipeline.kinds import METRICS
from pipeline.manifest.base import Filled, Model, Positive, Split
from pipeline.manifest.corpus import GeneratorSpec, check_labels
from pipeline.manifest.sources import Source
from pipeline.pixels import Color

__all__ = [
    "CorpusSubject",
    "CorpusTask",
    "DenoiserSpec",
    "DenoisersTask",
    "EvaluateManifest",
    "EvaluationData",
    "EvaluationMetrics",
    "EvaluationOutput",
    "EvaluationResources",
    "GeneratorsTask",
]

_Kld = Literal["naflow", "noise-flow", "noise2noiseflow", "srgb-flow", "neca"]
_Quality = Literal[
    "kair",
    "invdn",
    "sidd",
    "naflow",
    "noise2noiseflow",
    "srgb-flow",
    "dncnn-pytorch",
    "nm-flowgan",
]
# Metrics that are always measured, and where their conventions are chosen.
_OWN_KEYS = {
    "kld": "metrics.kld",
    "akld": "metrics.akld_samples",
    "nll": "metrics.nll",
    "psnr": "metrics.quality",
    "ssim": "metrics.quality",
}
_Sigma = Annotated[float, Field(gt=0, le=255)]


class CorpusSubject(Model):
    """A corpus whose noise is measured."""

    path: Filled = Field(description="Folder or URL with a corpus.json.")
    split: Split | None = Field(default=None, description="Only this split; all if absent.")
    generators: list[Filled] | None = Field(
        default=None, min_length=1, description="Only these generators, by key; all if absent."
    )
    verify: bool = Field(
        default=True, description="Hash every shard before work starts and refuse altered ones."
    )


class DenoiserSpec(Model):
    """One denoiser."""

    name: Filled = Field(
        description="Bundled weights by name, a .safetensors file, or a denoiser without weights "
        "(`bm3d`)."
    )
    label: Filled | None = Field(
        default=None, description="Name in tables; the weights' file name if absent."
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of a denoiser that is not trained to denoise."
    )
    ensemble: Literal["none", "flips", "monte-carlo"] = Field(
        default="none",
        description="Average the estimates of the 8 flipped and turned images, or of several draws "
        "of a denoiser that draws.",
    )
    draws: Positive = Field(default=16, description="Draws of `monte-carlo`.")
    sigma: _Sigma | None = Field(
        default=None,
        description="Noise level to tell a denoiser that takes one, grey levels; of `awgn` it is "
        "told the true one if absent, of other noise nothing.",
    )

    @property
    def key(self) -> str:
        """Name of its row."""
        return self.label or PurePath(self.name).stem


class EvaluationData(Model):
    """The real pairs, or clean images, that are measured on."""

    sources: list[Source] = Field(
        min_length=1,
        description="Clean/noisy pairs, or clean images where `awgn` or `noise` is given.",
    )
    awgn: list[_Sigma] | None = Field(
        default=None,
        min_length=1,
        description="For denoisers: put white Gaussian noise of these standard deviations, grey "
        "levels of 255, on the clean images instead of taking real pairs.",
    )
    noise: list[GeneratorSpec] | None = Field(
        default=None,
        min_length=1,
        description="For denoisers: put the noise of these generators on the clean images instead "
        "of taking real pairs; each is tested by itself, beside the levels of `awgn`.",
    )
    color: Color = Field(
        default="rgb",
        description="For denoisers: channels of sRGB images; packed raw keeps its four.",
    )
    block: Annotated[int, Field(ge=16)] | None = Field(
        default=None,
        description="Side of the blocks, pixels: 256 for generators if absent; whole images for "
        "denoisers; the patch size for the pairs that a corpus is held against.",
    )
    grid: Positive = Field(
        default=3, description="Blocks a side of the grid that is laid over each image."
    )

    @property
    def synthetic(self) -> bool:
        """Whether noise is put on clean images, so that nothing is taken from real pairs."""
        return bool(self.awgn or self.noise)

    @field_validator("awgn")
    @classmethod
    def _levels_once(cls, awgn: list[float] | None) -> list[float] | None:
        if awgn is not None and len(set(awgn)) != len(awgn):
            raise ValueError("a level is given twice")
        return awgn

    @field_validator("noise")
    @classmethod
    def _noise_keys(cls, noise: list[GeneratorSpec] | None) -> list[GeneratorSpec] | None:
        check_labels(noise)
        return noise


class EvaluationMetrics(Model):
    """What is measured, in which conventions."""

    kld: list[_Kld] = Field(
        default=["naflow"], min_length=1, description="Conventions of the histogram KLD."
    )
    akld_samples: Positive = Field(
        default=1,
        description="Generated noises a block that AKLD is averaged over; DANet takes 50.",
    )
    nll: Literal["dequantised", "as-stored"] = Field(
        default="dequantised", description="Convention of the likelihood of 8-bit values."
    )
    quality: list[_Quality] = Field(
        default=["kair"], min_length=1, description="Conventions of PSNR and SSIM."
    )
    also: list[Filled] = Field(
        default=[],
        description="Other metrics by name, of other packages too; `noisemill models` lists them.",
    )
    sound_offset: float = Field(
        default=1.0,
        gt=0,
        description="A block is sound if its real noise has a mean within this many grey levels.",
    )

    @field_validator("also")
    @classmethod
    def _known_once(cls, also: list[str]) -> list[str]:
        for name in also:
            if name in _OWN_KEYS:
                raise ValueError(f"'{name}' has a key of its own: {_OWN_KEYS[name]}")
            if name not in METRICS:
                known = [other for other in METRICS.names() if other not in _OWN_KEYS]
                raise ValueError(
                    f"there is no metric '{name}'; others than those with keys of their own: "
                    f"{', '.join(known) or 'none'}.{close_match(name, known)}"
                )
        if len(set(also)) != len(also):
            raise ValueError("a metric is named twice")
        return also


class EvaluationResources(Model):
    """What the evaluation may use; no figure depends on it but in its last digits."""

    inline: bool = Field(
        default=False, description="Measure a corpus in this process, without Ray."
    )
    address: str | None = Field(default=None, description="Ray address; a local cluster if absent.")
    threads: Positive = Field(default=1, description="CPU threads of generators and denoisers.")
    batch_size: Positive = Field(default=4, description="Blocks a request to a generator.")
    tile: Annotated[int, Field(ge=32)] = Field(
        default=256, description="Side of the tiles in which large images are denoised, pixels."
    )
    overlap: Annotated[int, Field(ge=0)] = Field(
        default=32, description="Pixels by which tiles overlap."
    )
    device: Filled = Field(default="cpu", description="Torch device, e.g. cpu or cuda:0.")


class EvaluationOutput(Model):
    """Where the figures go."""

    path: Filled = Field(description="Folder for evaluation.json, .csv, .md, report.html and rows.")


@dataclass(frozen=True, slots=True)
class CorpusTask:
    """The noise of a corpus, held against pairs; ``None`` for its own photographs' partners."""

    corpus: CorpusSubject
    data: EvaluationData | None


@dataclass(frozen=True, slots=True)
class GeneratorsTask:
    """The noise of generators on real pairs."""

    generators: Sequence[GeneratorSpec]
    data: EvaluationData


@dataclass(frozen=True, slots=True)
class DenoisersTask:
    """Denoisers on real pairs, or on clean images that noise is put on."""

    denoisers: Sequence[DenoiserSpec]
    data: EvaluationData


class EvaluateManifest(Model):
    """Figures of a corpus, of generators or of denoisers; give one of the three."""

    kind: Literal["evaluate"] = Field(description="Measures noise or denoisers.")
    name: Filled = Field(description="Name of the evaluation.")
    description: str = Field(default="", description="One line for the report.")
    seed: int = Field(default=0, ge=0, description="Every random choice follows from it.")
    corpus: CorpusSubject | None = Field(default=None, description="A corpus, by generator.")
    generators: list[GeneratorSpec] | None = Field(
        default=None, min_length=1, description="Generators, on real pairs, block by block."
    )
    denoisers: list[DenoiserSpec] | None = Field(
        default=None,
        min_length=1,
        validate_default=True,
        description="Denoisers, on real pairs or on clean images with white or generated noise; "
        "the noisy input is always a row too.",
    )
    data: EvaluationData | None = Field(
        default=None,
        validate_default=True,
        description="What is measured on. A corpus without it is held against the noisy partners "
        "of its own photographs.",
    )
    metrics: EvaluationMetrics = Field(
        default_factory=EvaluationMetrics, description="What is measured."
    )
    resources: EvaluationResources = Field(
        default_factory=EvaluationResources, description="What the evaluation may use."
    )
    report: bool = Field(default=True, description="Write report.html.")
    output: EvaluationOutput = Field(description="Where the figures go.")

    @property
    def task(self) -> CorpusTask | GeneratorsTask | DenoisersTask:
        """Which of the three it is, with what that one has."""
        if self.corpus is not None:
            return CorpusTask(self.corpus, self.data)
        if self.generators is not None and self.data is not None:
            return GeneratorsTask(self.generators, self.data)
        if self.denoisers is not None and self.data is not None:
            return DenoisersTask(self.denoisers, self.data)
        raise ValueError("give one of `corpus`, `generators` and `denoisers`, and `data.sources`")

    @field_validator("generators")
    @classmethod
    def _generator_keys(cls, generators: list[GeneratorSpec] | None) -> list[GeneratorSpec] | None:
        check_labels(generators)
        return generators

    @field_validator("denoisers")
    @classmethod
    def _one_subject(
        cls, denoisers: list[DenoiserSpec] | None, info: ValidationInfo
    ) -> list[DenoiserSpec] | None:
        keys = ["noisy input", *(spec.key for spec in denoisers or ())]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} names two rows; give each its own `label`")
        if {"corpus", "generators"} <= set(info.data):
            subjects = (info.data["corpus"], info.data["generators"], denoisers)
            if sum(subject is not None for subject in subjects) != 1:
                raise ValueError("give one of `corpus`, `generators` and `denoisers`")
        return denoisers

    @field_validator("data")
    @classmethod
    def _fitting_data(
        cls, data: EvaluationData | None, info: ValidationInfo
    ) -> EvaluationData | None:
        if data is None and (info.data.get("generators") or info.data.get("denoisers")):
            raise ValueError("generators and denoisers are measured on pairs; give `data.sources`")
        wrong = data is not None and data.synthetic
        if wrong and "denoisers" in info.data and info.data["denoisers"] is None:
            raise ValueError(
                "`awgn` and `noise` are for denoisers; generators are held against real noise"
            )
        return data
