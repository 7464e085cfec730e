"""A task on its data: the same held-out batches every time, and distances that tell right noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import generators
from generators.base import Domain, NoiseGenerator, NoiseRequest, NoiseSample
from generators.capture import CaptureMetadata
from generators.training import DataUse, NoiseTask, Part, TrainingBatch, TrainingSetup
from pipeline.training.engine.task import DataTask

CPU = torch.device("cpu")
SIGMA = 10.0
CAPTURES = (("a", 100), ("a", 200), ("b", 100))


class Held:
    """Two rows a batch, AWGN of 10 grey levels; of six batches the contrast grows."""

    captures, channels = CAPTURES, 3

    def __init__(self) -> None:
        self.asked: list[int] = []

    def batch(self, step: int) -> TrainingBatch:
        self.asked.append(step)
        rng = np.random.default_rng(step)
        ramp = np.linspace(-1, 1, 16) * 0.05 * (1 + step % 6)
        clean = np.broadcast_to(0.5 + ramp, (2, 3, 16, 16)).astype(np.float32).copy()
        noise = rng.normal(0, SIGMA / 255, clean.shape).astype(np.float32)
        rows = [CAPTURES[(2 * step + row) % 3] for row in range(2)]
        return TrainingBatch(
            capture=CaptureMetadata(
                camera=tuple(c for c, _ in rows), iso=tuple(i for _, i in rows)
            ),
            labels=torch.tensor([CAPTURES.index(row) for row in rows]),
            clean=torch.from_numpy(clean),
            noisy=torch.from_numpy(clean + noise),
        )


class Copying:
    """Returns its reference, and so shows what it was given."""

    name, revision = "copying", 1
    accepts: Domain = "srgb"
    gives: Domain = "srgb"
    needs = frozenset({"reference"})

    def sample(self, request: NoiseRequest) -> NoiseSample:
        assert request.reference is not None
        assert request.reference_clean is not None
        assert torch.equal(request.reference_clean, request.context.clean)
        return NoiseSample(clean=request.context.clean, noisy=request.reference)


class Stub(NoiseTask):
    uses: ClassVar[DataUse] = "pairs"
    domain: Domain = "srgb"

    def __init__(self, generator: NoiseGenerator | None = None) -> None:
        self.module: nn.Module = nn.Linear(1, 1)
        self._generator = generator

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> Stub:
        return cls()

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        assert batch.noisy is not None
        return batch.noisy.mean() + step

    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        assert not self.module.training
        return {"nll": float(step)} | ({"first": 1.0} if step == 0 else {})

    def parts(self) -> dict[str, Part]:
        return {}

    def generator(self) -> NoiseGenerator | None:
        return self._generator


class Prior(Stub):
    uses: ClassVar[DataUse] = "clean"


class LastChannel(Stub):
    channels_last: ClassVar[bool] = True


def awgn(sigma: float) -> NoiseGenerator:
    return generators.create("awgn", params={"sigma": sigma})


def joined(task: NoiseTask, validation: Held | None = None, batches: int = 4) -> DataTask:
    return DataTask(task, Held(), device=CPU, validation=validation, validation_batches=batches)


def test_without_validation_nothing_is_measured() -> None:
    task = joined(Stub(awgn(SIGMA)))
    assert task.validate() == {}
    assert task.examples(3) == []


def test_a_validation_is_the_mean_over_the_same_batches_every_time() -> None:
    held = Held()
    task = joined(Stub(), held)
    task.module.train()
    first = task.validate()
    assert first == {"first": 1.0, "nll": 1.5} == task.validate()
    assert held.asked == [0, 1, 2, 3] * 2
    assert task.module.training


def test_distances_tell_the_right_strength_of_noise() -> None:
    right, wrong = (joined(Stub(awgn(sigma)), Held()).validate() for sigma in (SIGMA, 2 * SIGMA))
    assert {"nll", "kld", "akld"} <= right.keys()
    assert right["kld"] < wrong["kld"]
    assert right["akld"] < wrong["akld"]


def test_a_generator_with_a_reference_gets_the_row_s_own_pair() -> None:
    found = joined(Stub(Copying()), Held()).validate()
    assert found["kld"] == pytest.approx(0.0, abs=1e-9)


def test_examples_are_gently_textured_crops_one_of_each_camera_and_iso() -> None:
    task = joined(Stub(Copying()), Held(), batches=6)
    found = task.examples(9)
    assert [(e.camera, e.iso) for e in found] == list(CAPTURES)
    for example in found:
        assert example.clean.shape == (16, 16, 3)
        assert example.domain == "srgb"
        np.testing.assert_array_equal(example.made, example.noisy.clip(0, 1))
    # Contrast is 0.03 times the batch's number from 1: the first and the second are nearest 0.04,
    # and between them hold each camera and ISO.
    assert max(float(e.clean.std()) for e in found) < 0.07
    assert [(e.camera, e.iso) for e in task.examples(2)] == [CAPTURES[0], CAPTURES[2]]


def test_a_model_that_makes_no_noise_has_no_examples() -> None:
    assert joined(Stub(), Held()).examples(3) == []
    assert joined(Prior(awgn(SIGMA)), Held()).examples(3) == []


def test_batches_are_of_the_step_and_in_the_memory_order_the_task_asks_for() -> None:
    plain, last = joined(Stub()), joined(LastChannel())
    assert torch.equal(plain.batch(3).noisy, Held().batch(3).noisy)
    for task, order in ((plain, torch.contiguous_format), (last, torch.channels_last)):
        batch = task.batch(0)
        assert batch.clean.is_contiguous(memory_format=order)
        assert batch.second is None
    assert float(last.loss(3)) == pytest.approx(float(plain.loss(3)))
    assert plain.captures == CAPTURES
