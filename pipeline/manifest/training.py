"""The manifest of a generator's training: `kind: train-generator`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.manifest.base import Filled, Model, Positive
from pipeline.manifest.names import GeneratorName, TrainingName
from pipeline.manifest.sources import Source

__all__ = [
    "Device",
    "Schedule",
    "TrainGeneratorManifest",
    "TrainingData",
    "TrainingOutput",
    "Validation",
]

_Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class Device(Model):
    """A generator in the role of a camera: it shoots the clean photographs while training."""

    camera: Filled = Field(description="The camera's name in the trained model.")
    isos: list[Positive] = Field(min_length=1, description="The ISO speeds it shoots at.")
    generator: GeneratorName = Field(
        default="camera", description="Registry name of the generator."
    )
    weights: Filled | None = Field(
        default=None, description="Bundled weights by name, or a .safetensors file."
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="The generator's own parameters; `iso: shot` makes the simulated camera follow "
        "`isos`.",
    )


class TrainingData(Model):
    """What a generator is trained on."""

    sources: list[Source] = Field(
        min_length=1,
        description="Where pairs come from, or clean photographs for `simulate` and image priors.",
    )
    simulate: list[Device] = Field(
        default_factory=list,
        description="Shoot the sources' clean images with these devices, anew in every step.",
    )
    patch: Annotated[int, Field(ge=8)] = Field(
        default=64,
        description="Side of training crops, pixels of the source's images; raw ones are packed, "
        "so a crop of a mosaic is twice as many photosites wide.",
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
    augmentation: Literal["none", "flips", "flips-and-rotations"] = Field(
        default="flips",
        description="How crops are turned. In-camera processing treats rows and columns unlike, so "
        "rotations blur what is to be learnt.",
    )
    remove_offset: bool = Field(
        default=False,
        description="Subtract each crop's local offset from its noisy image, channel by channel.",
    )


class Validation(TrainingData):
    """What the generator is measured on, while and after it is trained."""

    every: Positive | None = Field(
        default=None, description="Steps between validations; at the end only if absent."
    )
    batches: Positive = Field(default=4, description="Batches a validation takes.")


class Schedule(Model):
    """How long and how fast to train."""

    steps: Positive = Field(description="Optimiser steps.")
    batch_size: Positive = Field(default=16, description="Crops a step.")
    learning_rate: float = Field(default=5e-4, gt=0, description="Learning rate after the warm-up.")
    final_learning_rate: float = Field(default=0.0, ge=0, description="End of the cosine.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Steps of linear warm-up before the cosine."
    )
    decay: Literal["cosine", "constant", "milestones"] = Field(
        default="cosine", description="How the learning rate goes on after the warm-up."
    )
    milestones: list[Positive] = Field(
        default_factory=list, description="Steps at which the rate is multiplied by `factor`."
    )
    factor: float = Field(default=0.5, gt=0, lt=1, description="See `milestones`.")
    weight_decay: float = Field(default=0.0, ge=0, description="Adam's L2 penalty.")
    betas: tuple[_Decay, _Decay] = Field(
        default=(0.9, 0.99), description="Decays of Adam's two moments."
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of a step's gradient; no clipping if absent."
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="Decay of the averaged weights."
    )
    bf16: bool = Field(default=False, description="Autocast to bfloat16.")
    threads: Positive | None = Field(
        default=None, description="CPU threads; as many as torch takes if absent."
    )
    device: Filled = Field(default="cpu", description="Torch device, e.g. cpu or cuda:0.")

    @field_validator("warmup_steps")
    @classmethod
    def _warmup_ends(cls, warmup_steps: int, info: ValidationInfo) -> int:
        steps = info.data.get("steps", warmup_steps)
        if warmup_steps > steps:
            raise ValueError(f"{warmup_steps} warm-up steps do not fit in {steps} steps")
        return warmup_steps


class TrainingOutput(Model):
    """Where a training keeps its state and its result."""

    path: Filled = Field(description="Folder for checkpoints, log, weights and card.")


class TrainGeneratorManifest(Model):
    """The training of a noise generator."""

    kind: Literal["train-generator"] = Field(description="Trains a noise generator.")
    name: Filled = Field(description="Name of the weights.")
    seed: int = Field(default=0, ge=0, description="Every random choice follows from it.")
    model: TrainingName = Field(default="naflow", description="Which model, by which objective.")
    params: dict[str, Any] = Field(default_factory=dict, description="The model's own parameters.")
    data: TrainingData = Field(description="What the generator is trained on.")
    validation: Validation | None = Field(
        default=None, description="What the generator is measured on."
    )
    schedule: Schedule = Field(description="How long and how fast to train.")
    checkpoint_every: Positive = Field(
        default=500, description="Most steps between checkpoints; one is left every minute, too."
    )
    log_every: Positive = Field(default=50, description="Steps between lines of the log.")
    tensorboard: bool = Field(
        default=False, description="Write TensorBoard events too; needs the extra `tensorboard`."
    )
    report: bool = Field(
        default=True, description="Write report.html: curves, figures, held-out crops."
    )
    output: TrainingOutput = Field(description="Where the result goes.")
    license: str = Field(
        default="unspecified", description="Licence of the weights, for their card."
    )
