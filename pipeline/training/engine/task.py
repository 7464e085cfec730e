"""A noise model's task on its data: what the loop trains and validates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from generators.base import Domain, NoiseGenerator, NoiseRequest, NoiseSample
from generators.seeds import patch_seed
from generators.training import NoiseTask, Part, TrainingBatch, evaluating, image
from pipeline.measure.metrics import AkldMetric, KldConvention, KldMetric, NoiseBlock
from pipeline.measure.metrics.base import Array, Floats
from pipeline.measure.noise_score import distances
from pipeline.pixels import to_nhwc
from pipeline.training.data.batches import Batches

__all__ = ["DataTask", "Example", "pixels", "single_row", "unfitness"]

_CONTRAST = 0.04


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One held-out crop with its own noise and with the model's; ``(H, W, C)`` float32.

    Args:
        camera: Its camera; empty where unknown.
        iso: Its ISO; 0 where unknown.
        domain: Of the images.
        clean: The crop.
        noisy: Its noisy image.
        made_from: What the model's noisy image is a noisy version of, mostly ``clean`` itself.
        made: The model's noisy image.
    """

    camera: str
    iso: int
    domain: Domain
    clean: Array
    noisy: Array
    made_from: Array
    made: Array


class DataTask:
    """Joins a noise model's task with the data it is trained and validated on.

    Args:
        task: What is trained; its module lives on ``device``.
        data: Training batches.
        device: Where batches go.
        validation: Held-out batches; ``None`` for none.
        validation_batches: How many of them a validation takes, always the same.

    Raises:
        ValueError: If the validation holds a camera and ISO that the training lacks.
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
        self._labels = {capture: label for label, capture in enumerate(data.captures)}
        strange = (
            [capture for capture in validation.captures if capture not in data.captures]
            if validation
            else []
        )
        if strange and data.captures:
            names = ", ".join(f"{camera} at ISO {iso}" for camera, iso in strange)
            raise ValueError(
                f"validation: {names} is nowhere in the training data, so a model of these cameras "
                "and ISOs has no density there; leave it out of `validation`."
            )

    @property
    def module(self) -> nn.Module:
        """The trainable module."""
        return self.task.module

    @property
    def captures(self) -> tuple[tuple[str, int], ...]:
        """Every (camera, ISO) that the task is conditioned on."""
        return self._data.captures

    @property
    def domain(self) -> Domain:
        """Domain of the images."""
        return self.task.domain

    def parts(self) -> dict[str, Part]:
        """Return what is saved."""
        return self.task.parts()

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Take other weights; a closing fit belongs to the weights it was made with."""
        self.module.load_state_dict(state)
        self.task.finish(self.batch)

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
        with evaluating(self.task.module):
            for number in range(self._count):
                batch = self._on_device(self._relabelled(self._validation.batch(number)))
                rows.append(self.task.measure(batch, number) | self._distances(batch, number))
        names = {name for row in rows for name in row}
        return {
            name: sum(found) / len(found)
            for name in sorted(names)
            if (found := [row[name] for row in rows if name in row])
        }

    def examples(self, count: int) -> list[Example]:
        """Return held-out crops beside a sample of the model, each of another camera and ISO.

        Of each camera and ISO it is a gently textured crop among those of the validation: in a
        crop of strong edges a pair that is not quite aligned shows outlines instead of noise. Empty
        without validation data, and for a model that makes no noise.

        Args:
            count: How many at most, evenly over the sorted cameras and ISOs.
        """
        if self._validation is None or self.task.uses == "clean":
            return []
        best: dict[tuple[str, int], tuple[float, TrainingBatch, int]] = {}
        for number in range(self._count):
            batch = self._validation.batch(number)
            for row in range(len(batch.capture)):
                crop = single_row(batch, row)
                rank = unfitness(crop)
                told = batch.capture.camera[row] or "", batch.capture.iso[row] or 0
                if told not in best or rank < best[told][0]:
                    best[told] = rank, crop, number * len(batch.capture) + row
        captures, last = sorted(best), len(best) - 1
        shown = {round(i) for i in np.linspace(0, last, min(count, len(best))).tolist()}
        with evaluating(self.task.module):
            generator = self.task.generator()
            if generator is None:
                return []
            return [
                _example(generator, self._on_device(crop), seed)
                for _, crop, seed in (best[captures[i]] for i in sorted(shown))
            ]

    def _distances(self, batch: TrainingBatch, number: int) -> dict[str, float]:
        """Sample the model once for each row and compare with the row's own noise."""
        generator = self.task.generator()
        if generator is None or batch.clean is None or batch.noisy is None:
            return {}
        seeds = [patch_seed(number, "validate", str(row)) for row in range(len(batch.clean))]
        sample = _sample(generator, batch, seeds)
        convention = KldConvention.NAFLOW if generator.gives == "srgb" else KldConvention.NOISE_FLOW
        metrics = (KldMetric(convention), AkldMetric())
        rows = []
        for clean, noisy, made_from, made in zip(
            batch.clean, batch.noisy, sample.clean, sample.noisy, strict=True
        ):
            real = _noise(noisy, clean)
            fake = _noise(made.clamp(0, 1) if generator.gives == "srgb" else made, made_from)
            rows.append(distances(NoiseBlock(real=real, fakes=[fake]), metrics))
        return {m.name: sum(row[m.title] for row in rows) / len(rows) for m in metrics}

    def _relabelled(self, batch: TrainingBatch) -> TrainingBatch:
        """Return a validation batch with the training's labels, which index others."""
        if not self._labels:
            return batch
        told = zip(batch.capture.camera, batch.capture.iso, strict=True)
        labels = [self._labels[camera or "", iso or 0] for camera, iso in told]
        return replace(batch, labels=torch.tensor(labels))

    def _on_device(self, batch: TrainingBatch) -> TrainingBatch:
        moved = batch.to(self._device)
        if not self.task.channels_last:
            return moved
        images: dict[str, Tensor | None] = {
            name: None if (t := getattr(moved, name)) is None else _channels_last(t)
            for name in ("clean", "noisy", "second")
        }
        return TrainingBatch(capture=moved.capture, labels=moved.labels, **images)


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _sample(generator: NoiseGenerator, batch: TrainingBatch, seeds: Sequence[int]) -> NoiseSample:
    request = NoiseRequest.of(
        generator,
        clean=image(batch, "clean"),
        capture=batch.capture,
        seeds=seeds,
        reference=batch.noisy,
    )
    with torch.inference_mode():
        return generator.sample(request)


def _example(generator: NoiseGenerator, crop: TrainingBatch, number: int) -> Example:
    """Sample a batch of one row."""
    sample = _sample(generator, crop, [patch_seed(number, "example")])
    made = sample.noisy[0].clamp(0, 1) if generator.gives == "srgb" else sample.noisy[0]
    return Example(
        camera=crop.capture.camera[0] or "",
        iso=crop.capture.iso[0] or 0,
        domain=generator.gives,
        clean=pixels(image(crop, "clean")[0]),
        noisy=pixels(image(crop, "noisy")[0]),
        made_from=pixels(sample.clean[0]),
        made=pixels(made),
    )


def single_row(batch: TrainingBatch, row: int) -> TrainingBatch:
    """Return one row as a batch."""
    one = slice(row, row + 1)
    return TrainingBatch(
        capture=batch.capture.select([row]),
        labels=batch.labels[one],
        clean=None if batch.clean is None else batch.clean[one],
        noisy=None if batch.noisy is None else batch.noisy[one],
    )


def unfitness(crop: TrainingBatch) -> float:
    """Return how unfit a crop is to be looked at; more than any where nearly black or white."""
    clean = image(crop, "clean")
    exposed = 0.05 < float(clean.mean()) < 0.9
    return abs(float(clean.std()) - _CONTRAST) if exposed else math.inf


def pixels(picture: Tensor) -> Array:
    """Return ``(H, W, C)`` float32 of ``(C, H, W)``."""
    return to_nhwc(picture.float())


def _noise(noisy: Tensor, clean: Tensor) -> Floats:
    return to_nhwc(noisy.double() - clean.double())
