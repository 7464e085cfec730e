"""What training a noise model is: batches in, a loss out, weights at the end.

A *task* holds the module to be trained and turns a batch into a scalar loss. It knows nothing of
files, schedules or optimisers (:mod:`pipeline.training.engine.loop` does), and draws all its
randomness from the number of the step, so that an interrupted training goes on as if it had not
been.

What a task may see of the data is declared by ``uses`` and enforced by whoever draws the batches:
a task for ``noisy-pairs`` gets no clean image, however much of it the source has.

    pairs          clean, noisy
    noisy-pairs    noisy, second: two shots of one scene with independent noise
    single-noisy   noisy
    clean          clean
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from generators.base import Domain, NoiseGenerator
from generators.capture import CaptureMetadata

__all__ = ["DataUse", "NoiseTask", "Part", "TrainingBatch", "TrainingSetup", "evaluating", "image"]

DataUse = Literal["pairs", "noisy-pairs", "single-noisy", "clean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBatch:
    """One training batch; images are float32 with the white level at 1, in the task's domain.

    Args:
        capture: Camera and ISO of the B rows.
        labels: ``(B,)`` int64 index of each row's (camera, ISO) in :attr:`TrainingSetup.captures`.
        clean: ``(B, C, H, W)``; ``None`` where the task must not see it.
        noisy: Same shape, not clipped.
        second: Same shape: the same scene with independent noise.
    """

    capture: CaptureMetadata
    labels: Tensor
    clean: Tensor | None = None
    noisy: Tensor | None = None
    second: Tensor | None = None

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on another device."""
        moved = (None if t is None else t.to(device) for t in (self.clean, self.noisy, self.second))
        clean, noisy, second = moved
        return TrainingBatch(
            capture=self.capture,
            labels=self.labels.to(device),
            clean=clean,
            noisy=noisy,
            second=second,
        )


def image(batch: TrainingBatch, name: Literal["clean", "noisy", "second"]) -> Tensor:
    """Return one of a batch's images.

    Raises:
        ValueError: If the batch does not carry it.
    """
    found: Tensor | None = getattr(batch, name)
    if found is None:
        raise ValueError(f"this training needs the {name} image of each row; the data gives none.")
    return found


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and back into its own at the end."""
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """What a task is made for.

    Args:
        captures: Every (camera, ISO) of the data, sorted; labels index it.
        seed: Seed of the initial weights and of everything that is drawn.
        dtype: Precision of convolutions; densities stay float32.
        channels: Of the images: 3 sRGB, 4 packed raw.
        denoiser: Makes a denoiser by name (``dncnn``) and seed, for objectives that train
            one along; images in, images out, ``(B, channels, H, W)``.
    """

    captures: tuple[tuple[str, int], ...]
    seed: int
    dtype: torch.dtype = torch.float32
    channels: int = 3
    denoiser: Callable[..., nn.Module] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One weights file of a finished training.

    Args:
        family: Registry name of what the weights belong to.
        config: JSON values from which the module is rebuilt.
        tensors: Its state.
    """

    family: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class NoiseTask(ABC):
    """The training of one noise model.

    Attributes:
        uses: What a batch must carry.
        family: Registry name of what :attr:`module` is saved as.
        domain: Domain of the batch's images.
        either_domain: Whether the data decides: a task made for them then has their ``domain``.
        channels_last: Whether batches come in channels-last memory order.
    """

    uses: ClassVar[DataUse]
    family: ClassVar[str]
    domain: Domain
    either_domain: ClassVar[bool] = False
    channels_last: ClassVar[bool] = False
    module: nn.Module

    @classmethod
    @abstractmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> NoiseTask:
        """Make the task from a manifest's ``params``.

        Raises:
            ValueError: If a parameter is unknown or wrong, or the data does not suit the model
                (one configuration only where several are compared, ...).
        """

    @abstractmethod
    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the scalar loss; equal for equal weights, batch and step."""

    def parts(self) -> dict[str, Part]:
        """Return what is saved: ``""`` is the noise model, other keys are file name suffixes.

        By default that is :attr:`module`, made from its ``config``, as weights of :attr:`family`.
        """
        module: Any = self.module
        config, tensors = module.config.to_dict(), module.state_dict()
        return {"": Part(family=self.family, config=config, tensors=tensors)}

    def initialise(self, batch: TrainingBatch) -> None:  # noqa: B027
        """Prepare fresh weights from the batch of step 0, e.g. ActNorm."""

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return validation figures of one batch, means over its rows.

        Models with a density return ``nll``: nats a dimension. Models without return ``loss``.
        """
        with evaluating(self.module):
            return {"loss": float(self.loss(batch, step))}

    def finish(self, batches: Callable[[int], TrainingBatch]) -> None:
        """Fit what is fitted once, after the last step, e.g. a prior of the latents."""
        del batches

    def findings(self) -> dict[str, Any]:
        """Return what belongs on the card beside the metrics, JSON values, e.g. a collapse."""
        return {}

    def generator(self) -> NoiseGenerator | None:
        """Return a copy of the model as it stands as a generator; ``None`` if it makes no noise."""
        return None
