"""Noise Flow's training task: its loss, its start, what it saves, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import generators
from generators.capture import CaptureMetadata
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from generators.noise_flow.training import NoiseFlowTask
from generators.training import TrainingBatch, TrainingSetup

CAPTURES = (("A", 400), ("A", 800), ("B", 800))


def setup(**values: Any) -> TrainingSetup:
    return TrainingSetup(**{"captures": CAPTURES, "seed": 3, "channels": 4, **values})


def batch(rows: int = 6, *, seed: int = 0) -> TrainingBatch:
    """Return pairs whose noise has a variance of 1e-3 x + 1e-5 at ISO 800."""
    rng = np.random.default_rng(seed)
    clean = torch.from_numpy(rng.uniform(0, 1, (rows, 4, 12, 12)).astype(np.float32))
    labels = np.arange(rows) % 3
    iso = torch.tensor([CAPTURES[label][1] / 800 for label in labels])[:, None, None, None]
    normal = torch.from_numpy(rng.standard_normal(clean.shape).astype(np.float32))
    noisy = clean + (1e-3 * iso * clean + 1e-5 * iso**2).sqrt() * normal
    capture = CaptureMetadata(
        camera=tuple(CAPTURES[i][0] for i in labels), iso=tuple(CAPTURES[i][1] for i in labels)
    )
    return TrainingBatch(capture=capture, labels=torch.from_numpy(labels), clean=clean, noisy=noisy)


def make(**params: Any) -> NoiseFlowTask:
    return NoiseFlowTask.create({"arrangement": "sdn|unc|gain|unc", **params}, setup())


def test_the_registry_knows_it() -> None:
    assert generators.task("noise-flow") is NoiseFlowTask
    assert (NoiseFlowTask.uses, NoiseFlowTask.domain) == ("pairs", "raw")


def test_cameras_and_isos_are_those_of_the_data() -> None:
    config = make().module.config
    assert (config.cameras, config.isos, config.seed) == (("A", "B"), (400, 800), 3)


def test_the_loss_falls_and_repeats() -> None:
    def steps() -> list[float]:
        task = make()
        task.initialise(batch())
        optimiser = torch.optim.Adam(task.module.parameters(), lr=5e-3)
        losses = []
        for step in range(4):
            loss = task.loss(batch(), step)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            losses.append(float(loss.detach()))
        return losses

    first = steps()
    assert first[-1] < first[0]
    assert first == steps()


def test_it_starts_near_the_noise_it_is_shown_or_as_released() -> None:
    fitted, released = make(), make(start="released")
    for task in (fitted, released):
        task.initialise(batch())
    near, far = (task.measure(batch(seed=1), 0)["nll"] for task in (fitted, released))
    # Normal noise of a deviation of 0.02 has -2.5 nats; as released the first layer takes 1.
    assert near < -2.2
    assert far > 0.5


def test_measuring_leaves_the_mode_and_the_norms_alone() -> None:
    task = make()
    before = {name: value.clone() for name, value in task.module.state_dict().items()}
    task.module.train()
    nll = task.measure(batch(), 0)["nll"]
    assert task.module.training
    assert all(torch.equal(before[name], v) for name, v in task.module.state_dict().items())
    again = task.measure(batch(), 5)["nll"]
    assert nll == again


def test_what_is_saved_makes_the_same_model() -> None:
    task = make()
    part = task.parts()[""]
    model = NoiseFlow(NoiseFlowConfig.from_dict(part.config)).eval()
    model.load_state_dict(dict(part.tensors), strict=True)
    data = batch()
    assert data.clean is not None
    assert data.noisy is not None
    with torch.no_grad():
        nll = model.nll(data.noisy - data.clean, data.clean, data.capture).mean()
    assert part.family == "noise-flow"
    assert float(nll) == pytest.approx(task.measure(data, 0)["nll"])


def test_a_generator_is_a_copy() -> None:
    task = make()
    generator = task.generator()
    assert generator.name == "noise-flow"
    assert all(parameter.requires_grad for parameter in task.module.parameters())


@pytest.mark.parametrize(
    ("params", "values", "message"),
    [
        ({"arangement": "sdn"}, {}, "no parameter 'arangement'.*mean 'arrangement'"),
        ({"arrangement": "sdn|xyz"}, {}, "joined by"),
        ({"start": "warm"}, {}, "start must be one of fitted, released"),
        ({}, {"channels": 3}, "packed raw of 4 channels; the data has 3"),
    ],
)
def test_wrong_parameters_are_refused(
    params: dict[str, Any], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NoiseFlowTask.create(params, setup(**values))
