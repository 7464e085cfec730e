"""Trainings on data of a single camera and ISO: all but NAFlow, which compares several, take it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import generators
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.seeds import standard_normal, uniform
from generators.training import NoiseTask, TrainingBatch, TrainingSetup, image

CHANNELS = {"srgb": 3, "raw": 4}
SMALL: dict[str, dict[str, Any]] = {
    "fino": {"blocks": 1, "hidden": 8},
    "glow": {"levels": 2, "steps": 1, "hidden": 8},
    "invdn": {"blocks": [1, 1]},
    "naflow": {"levels": 2, "condition_channels": 8, "hidden": 8, "single_prior": True},
}


def setup(channels: int) -> TrainingSetup:
    return TrainingSetup(
        captures=(("X", 800),),
        seed=3,
        channels=channels,
        denoiser=lambda name, seed: nn.Conv2d(channels, channels, 3, padding=1),
    )


def batch(channels: int, step: int) -> TrainingBatch:
    """Return four rows of smooth ground under noise of a deviation of 5 %."""
    seeds = [100 * step + row for row in range(4)]
    shape = (channels, 32, 32)
    clean = uniform(seeds, (channels, 1, 1), "shade").expand(4, *shape).contiguous()
    return TrainingBatch(
        capture=CaptureMetadata.same(4, camera="X", iso=800),
        labels=torch.zeros(4, dtype=torch.int64),
        clean=clean,
        noisy=clean + 0.05 * standard_normal(seeds, shape, "first"),
        second=clean + 0.05 * standard_normal(seeds, shape, "second"),
    )


def trained(name: str) -> tuple[NoiseTask, int]:
    """Take three steps of a small training."""
    kind = generators.task(name)
    channels = CHANNELS[kind.domain]
    task = kind.create(SMALL.get(name, {}), setup(channels))
    task.initialise(batch(channels, 0))
    optimiser = torch.optim.Adam(task.module.parameters(), lr=1e-3)
    for step in range(3):
        optimiser.zero_grad()
        loss = task.loss(batch(channels, step), step)
        assert bool(torch.isfinite(loss)), step
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return task, channels


@pytest.mark.parametrize("name", generators.trainable())
def test_one_camera_and_iso_are_enough_to_train_and_to_sample(name: str) -> None:
    task, channels = trained(name)
    assert task.parts()[""].tensors
    generator = task.generator()
    if generator is None:  # a prior of images, or InvDN before its latents are fitted
        return
    one = batch(channels, 9)
    asks = "reference" in generator.needs
    request = NoiseRequest(
        context=NoiseContext(clean=image(one, "clean"), capture=one.capture),
        seeds=[1, 2, 3, 4],
        reference=one.noisy if asks else None,
        reference_clean=one.clean if asks else None,
    )
    assert bool(torch.isfinite(generator.sample(request).noisy).all())


def test_naflow_asks_whether_one_camera_and_iso_are_meant() -> None:
    params = {**SMALL["naflow"], "single_prior": False}
    with pytest.raises(ValueError, match=r"X at ISO 800.*nothing to compare.*single_prior: true"):
        generators.task("naflow").create(params, setup(3))
