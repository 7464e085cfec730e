"""The manifest of a denoiser's training: `kind: train-denoiser`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.manifest.base import Filled, Model, Positive, Split
from pipeline.manifest.names import DenoiserName, FormatName
from pipeline.manifest.sources import Source
from pipeline.manifest.training import Device, Schedule, TrainingOutput, Validation
from pipeline.manifest.values import parse_bytes
from pipeline.pixels import Color

__all__ = [
    "DenoisingData",
    "DenoisingInput",
    "DenoisingSchedule",
    "RealPairs",
    "TrainDenoiserManifest",
]

_KINDS = ("corpus", "pairs", "stream")
_OF_CORPUS = ("generators", "split", "format")


class RealPairs(Model):
    """Real pairs as training data, cut anew in every step."""

    sources: list[Source] = Field(
        min_length=1,
        description="Where pairs come from, or clean photographs for `simulate`.",
    )
    simulate: list[Device] = Field(
        default_factory=list,
        description="Shoot the sources' clean images with these devices, anew in every step.",
    )
    max_offset: float | None = Field(
        default=None,
        gt=0,
        description="Leave out crops whose local |mean(noisy - clean)| exceeds this many grey "
        "levels of 255.",
    )
    offset_window: Annotated[int, Field(ge=8)] = Field(
        default=128, description="Side of the window over which the offset is measured, pixels."
    )
    remove_offset: bool = Field(
        default=False,
        description="Subtract each crop's local offset from its noisy image, channel by channel.",
    )


class DenoisingInput(Model):
    """One input of a denoiser's training: a corpus, real pairs, or a corpus made on the way."""

    corpus: Filled | None = Field(
        default=None, description="A noisemill corpus: folder or URL with a corpus.json."
    )
    pairs: RealPairs | None = Field(default=None, description="Real pairs.")
    stream: Filled | None = Field(
        default=None,
        description="A corpus manifest, by name or file: its patches get new noise in every step, "
        "and nothing is written.",
    )
    generators: list[Filled] | None = Field(
        default=None,
        min_length=1,
        description="Of a corpus or stream: rows of these generators only, by key.",
    )
    split: Split | None = Field(
        default="train", description="Of a corpus or stream: rows of this split only; null for all."
    )
    format: FormatName | None = Field(
        default=None, description="Of a corpus: which format to read; HDF5 if it has both."
    )
    weight: float = Field(
        default=1.0, gt=0, description="Share of the rows, relative to the other inputs."
    )


class DenoisingData(Model):
    """What a denoiser is trained on."""

    inputs: list[DenoisingInput] = Field(
        min_length=1, description="One or several inputs, mixed row by row by weight."
    )
    domain: Literal["srgb", "raw"] = Field(default="srgb", description="Of all images.")
    color: Color = Field(default="rgb", description="Channels of sRGB images; pairs are converted.")
    patch: Annotated[int, Field(ge=8)] = Field(
        default=64, description="Side of training crops, pixels; patches of a corpus are cropped."
    )
    augmentation: Literal["none", "flips", "flips-and-rotations"] = Field(
        default="flips-and-rotations", description="How crops are turned."
    )
    memory: str | int = Field(
        default=2_000_000_000,
        description="Patches of an input that take no more than this are kept in memory; others "
        "are read as they come.",
    )
    check: Literal["checksums", "sizes"] = Field(
        default="checksums",
        description="How a corpus's shards are checked before training: read whole, or by size.",
    )

    @field_validator("inputs")
    @classmethod
    def _one_kind_each(cls, inputs: list[DenoisingInput]) -> list[DenoisingInput]:
        for number, one in enumerate(inputs):
            given = [name for name in _KINDS if getattr(one, name) is not None]
            if len(given) != 1:
                raise ValueError(
                    f"input {number} gives {' and '.join(given) or 'none of them'}; give each "
                    "exactly one of corpus, pairs, stream"
                )
            foreign = [name for name in _OF_CORPUS if name in one.model_fields_set]
            if one.pairs is not None and foreign:
                raise ValueError(
                    f"input {number}: {', '.join(foreign)} is for a corpus; pairs are chosen by "
                    "their sources' `only`"
                )
        return inputs

    @field_validator("memory")
    @classmethod
    def _bytes(cls, memory: str | int) -> int:
        return parse_bytes(memory)


class DenoisingSchedule(Schedule):
    """How long and how fast to train a denoiser."""

    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate after the warm-up.")
    betas: tuple[
        Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]
    ] = Field(default=(0.9, 0.999), description="Decays of Adam's two moments.")
    optimizer: Literal["adam", "adamw"] = Field(
        default="adam", description="AdamW shrinks weights directly instead of by an L2 penalty."
    )


class TrainDenoiserManifest(Model):
    """The training of a denoiser."""

    kind: Literal["train-denoiser"] = Field(description="Trains a denoiser.")
    name: Filled = Field(description="Name of the weights.")
    seed: int = Field(default=0, ge=0, description="Every random choice follows from it.")
    denoiser: DenoiserName = Field(default="dncnn", description="Which network.")
    params: dict[str, Any] = Field(default_factory=dict, description="The network's arrangement.")
    loss: Literal["l1", "l2", "charbonnier", "noise2noise"] = Field(
        default="l2",
        description="Distance to the clean image; noise2noise: squared distance to a second noisy "
        "shot.",
    )
    charbonnier_eps: float = Field(
        default=1e-3, gt=0, description="Where the Charbonnier loss turns from square to modulus."
    )
    data: DenoisingData = Field(description="What the denoiser is trained on.")
    validation: Validation | None = Field(
        default=None, description="Real pairs that the denoiser is measured on."
    )
    schedule: DenoisingSchedule = Field(description="How long and how fast to train.")
    workers: Positive = Field(
        default=1,
        description="Processes that share each batch; more than one run on Ray Train.",
    )
    address: str | None = Field(
        default=None, description="Ray address for several workers; a local cluster if absent."
    )
    checkpoint_every: Positive = Field(
        default=500, description="Most steps between checkpoints; one is left every minute, too."
    )
    log_every: Positive = Field(default=50, description="Steps between lines of the log.")
    tensorboard: bool = Field(
        default=False, description="Write TensorBoard events too; needs the extra `tensorboard`."
    )
    report: bool = Field(default=True, description="Write report.html: curves, figures, crops.")
    output: TrainingOutput = Field(description="Where the result goes.")
    license: str = Field(
        default="unspecified", description="Licence of the weights, for their card."
    )

    @field_validator("workers")
    @classmethod
    def _equal_shares(cls, workers: int, info: ValidationInfo) -> int:
        schedule = info.data.get("schedule")
        if schedule is not None and schedule.batch_size % workers:
            raise ValueError(
                f"{workers} workers cannot share a batch of {schedule.batch_size} rows evenly; "
                "choose a batch_size that divides by it"
            )
        return workers
