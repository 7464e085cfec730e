"""A denoiser's task: losses by their formulas, figures by an independent one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import denoisers
from generators.seeds import uniform
from generators.training import TrainingBatch
from pipeline.measure.metrics.quality import psnr
from pipeline.training.data.pair_rows import unlabelled
from pipeline.training.engine.denoiser import DenoiserTask, LossName, distance, mean_psnr

CPU = torch.device("cpu")


class Fixed:
    """The same four rows in every step, shifted by the step."""

    captures: tuple[tuple[str, int], ...] = ()
    channels = 3

    def __init__(self) -> None:
        self.asked: list[int] = []

    def batch(self, step: int) -> TrainingBatch:
        self.asked.append(step)
        rows = list(range(4 * step, 4 * step + 4))
        clean = uniform(rows, (3, 16, 16), "clean")
        images = {"clean": clean}
        for name in ("noisy", "second"):
            images[name] = clean + 0.1 * uniform(rows, (3, 16, 16), name, low=-1.0)
        return unlabelled(images, 4)


def task(loss: LossName = "l2", **more: object) -> DenoiserTask:
    network = denoisers.create("dncnn", channels=3, seed=0, depth=3, width=4)
    return DenoiserTask(network, Fixed(), loss=loss, device=CPU, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("l1", (0.3 + 0.0 + 0.4) / 3),
        ("l2", (0.09 + 0.0 + 0.16) / 3),
        ("noise2noise", (0.09 + 0.0 + 0.16) / 3),
        ("charbonnier", (math.hypot(0.3, 0.1) + 0.1 + math.hypot(0.4, 0.1)) / 3),
    ],
)
def test_losses_are_their_formulas(loss: LossName, expected: float) -> None:
    estimate = torch.tensor([0.3, 0.5, 0.1]).reshape(1, 3, 1, 1)
    target = torch.tensor([0.0, 0.5, 0.5]).reshape(1, 3, 1, 1)
    assert float(distance(estimate, target, loss=loss, eps=0.1)) == pytest.approx(
        expected, rel=1e-6
    )


def test_noise2noise_never_looks_at_the_clean_image() -> None:
    one = task("noise2noise")
    batch = Fixed().batch(0)
    assert batch.noisy is not None
    assert batch.second is not None
    expected = (one.module(batch.noisy) - batch.second).square().mean()
    assert float(one.loss(0).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    one.close()


def test_psnr_agrees_with_the_metric_of_the_same_convention() -> None:
    clean = (uniform([1, 2], (3, 12, 12), "clean") * 255).round() / 255
    estimate = clean + 0.1 * uniform([1, 2], (3, 12, 12), "error", low=-1.0)
    pairs = zip(clean.numpy(), estimate.numpy(), strict=True)
    expected = np.mean([psnr(c.transpose(1, 2, 0), e.transpose(1, 2, 0)) for c, e in pairs])
    assert mean_psnr(clean, estimate, "srgb") == pytest.approx(float(expected), abs=1e-4)


def test_batches_come_in_order_and_each_is_made_once() -> None:
    one = task()
    for step in (5, 6, 7):
        one.loss(step)
    one.close()
    data = one._data
    assert isinstance(data, Fixed)
    assert data.asked[:3] == [5, 6, 7]
    assert len(data.asked) == len(set(data.asked))


def test_validation_leaves_the_training_as_it_was() -> None:
    one = task(validation=Fixed(), validation_batches=2)
    before = {k: v.clone() for k, v in one.module.state_dict().items()}
    figures = one.validate()
    assert set(figures) == {"loss", "psnr", "psnr_noisy"}
    assert figures == one.validate()
    assert one.module.training
    assert all(torch.equal(v, before[k]) for k, v in one.module.state_dict().items())
    examples = one.examples(3)
    assert [example.made.shape for example in examples] == [(16, 16, 3)] * 3
    one.close()
