"""A noise model's task on its data: what the loop trains and validates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from generators.base import NoiseContext, NoiseRequest
from generators.seeds import patch_seed
from generators.training import NoiseTask, TrainingBatch
from pipeline.metrics.akld import akld
from pipeline.metrics.base import Floats
from pipeline.metrics.kld import KldConvention, kld
from pipeline.training.data import Batches

__all__ = ["DataTask"]


class DataTask:
    """Joins a noise model's task with the data it is trained and validated on.

    Args:
        task: What is trained; its module lives on ``device``.
        data: Training batches.
        device: Where batches go.
        validation: Held-out batches; ``None`` for none.
        validation_batches: How many of them a validation takes, always the same.
    """

    def __init__(
        self,
        task: NoiseTask,
        data: Batches,
        *,
        device: torch.device,
        validation: Batches | None = None,
        validation_batches: int = 4,
    ) -> None:
        self.task, self._data, self._device = task, data, device
        self._validation, self._count = validation, validation_batches

    @property
    def module(self) -> nn.Module:
        """The trainable module."""
        return self.task.module

    @property
    def shots(self) -> tuple[tuple[str, int], ...]:
        """Every (camera, ISO) that the task is conditioned on."""
        return self._data.shots

    def initialise(self) -> None:
        """Prepare fresh weights from the batch of step 0."""
        self.task.initialise(self.batch(0))

    def loss(self, step: int) -> Tensor:
        """Return the scalar loss of a step."""
        return self.task.loss(self.batch(step), step)

    def batch(self, step: int) -> TrainingBatch:
        """Return the training batch of a step on the device."""
        return self._on_device(self._data.batch(step))

    def validate(self) -> dict[str, float]:
        """Measure the module as it stands on the held-out batches.

        Returns:
            Means over the batches: the task's own figures (``nll``, nats a dimension, for models
            with a density), and, for a model that makes noise, ``kld`` (convention of the domain,
            nats) and ``akld`` of one sample. Empty without validation data.
        """
        if self._validation is None:
            return {}
        rows: list[dict[str, float]] = []
        with _evaluating(self.task.module):
            for number in range(self._count):
                batch = self._on_device(self._validation.batch(number))
                rows.append(self.task.measure(batch, number) | self._distances(batch, number))
        names = {name for row in rows for name in row}
        return {
            name: sum(found) / len(found)
            for name in sorted(names)
            if (found := [row[name] for row in rows if name in row])
        }

    def _distances(self, batch: TrainingBatch, number: int) -> dict[str, float]:
        """Sample the model once for each row and compare with the row's own noise."""
        generator = self.task.generator()
        if generator is None or batch.clean is None or batch.noisy is None:
            return {}
        asks = "reference" in generator.needs
        request = NoiseRequest(
            context=NoiseContext(clean=batch.clean, shots=batch.shots),
            seeds=[patch_seed(number, "validate", str(row)) for row in range(len(batch.clean))],
            reference=batch.noisy if asks else None,
            reference_clean=batch.clean if asks else None,
        )
        with torch.inference_mode():
            sample = generator.sample(request)
        convention = KldConvention.NAFLOW if generator.gives == "srgb" else KldConvention.NOISE_FLOW
        distances = []
        for clean, noisy, made_from, made in zip(
            batch.clean, batch.noisy, sample.clean, sample.noisy, strict=True
        ):
            real = _noise(noisy, clean)
            fake = _noise(made.clamp(0, 1) if generator.gives == "srgb" else made, made_from)
            distances.append((kld(real, fake, convention), akld(real, fake)))
        return {
            "kld": sum(k for k, _ in distances) / len(distances),
            "akld": sum(a for _, a in distances) / len(distances),
        }

    def _on_device(self, batch: TrainingBatch) -> TrainingBatch:
        moved = batch.to(self._device)
        if not self.task.channels_last:
            return moved
        images: dict[str, Tensor | None] = {
            name: None if (t := getattr(moved, name)) is None else _channels_last(t)
            for name in ("clean", "noisy", "second")
        }
        return TrainingBatch(shots=moved.shots, labels=moved.labels, **images)


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _noise(noisy: Tensor, clean: Tensor) -> Floats:
    noise: Floats = (noisy.double() - clean.double()).permute(1, 2, 0).cpu().numpy()
    return noise


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)
