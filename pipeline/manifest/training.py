"""The manifest of a generator's training: `kind: train-generator`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.manifest.base import Filled, Model, Positive
from pipeline.manifest.sources import Source

__all__ = ["Schedule", "TrainGeneratorManifest", "TrainingData", "TrainingOutput"]

_Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class TrainingData(Model):
    """What a generator is trained on."""

    sources: list[Source] = Field(min_length=1, description="Where clean/noisy pairs come from.")
    patch: Annotated[int, Field(ge=8)] = Field(
        default=64, description="Side of training crops, pixels."
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


class Schedule(Model):
    """How long and how fast to train."""

    steps: Positive = Field(description="Optimiser steps.")
    batch_size: Positive = Field(default=16, description="Crops a step.")
    learning_rate: float = Field(default=5e-4, gt=0, description="Learning rate after the warm-up.")
    final_learning_rate: float = Field(default=0.0, ge=0, description="End of the cosine.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Steps of linear warm-up before the cosine."
    )
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
    model: Literal["naflow"] = Field(default="naflow", description="Which model to train.")
    params: dict[str, Any] = Field(default_factory=dict, description="The model's own parameters.")
    data: TrainingData = Field(description="What the generator is trained on.")
    validation: TrainingData | None = Field(
        default=None, description="What the trained generator is measured on."
    )
    schedule: Schedule = Field(description="How long and how fast to train.")
    checkpoint_every: Positive = Field(default=500, description="Steps between checkpoints.")
    log_every: Positive = Field(default=50, description="Steps between lines of the log.")
    output: TrainingOutput = Field(description="Where the result goes.")
    license: str = Field(
        default="unspecified", description="Licence of the weights, for their card."
    )
