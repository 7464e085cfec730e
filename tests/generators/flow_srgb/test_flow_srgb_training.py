"""Flow-sRGB's task: what it makes of the data, and that rounding its samples is unbiased."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import generators
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.flow_srgb.network import GREY_NATS, FlowSRGB
from generators.flow_srgb.training import FlowSRGBTask, dequantised
from generators.training import TrainingBatch, TrainingSetup

CAPTURES = (("A", 100), ("A", 800), ("B", 800))
LEVELS = (2.0, 6.0, 4.0)  # grey levels


def make(capture: tuple[tuple[str, int], ...] = CAPTURES, **params: Any) -> FlowSRGBTask:
    params = {"arrangement": "CL2|CAC", **params}
    return FlowSRGBTask.create(params, TrainingSetup(captures=capture, seed=3))


def batch(rows: int = 12, side: int = 12, *, step: int = 0) -> TrainingBatch:
    """Return 8-bit pairs of flat images with Gaussian noise, as read from files."""
    rng = np.random.default_rng(step)
    labels = torch.arange(rows) % len(CAPTURES)
    clean = rng.integers(60, 200, (rows, 3, 1, 1)) + np.zeros((rows, 3, side, side))
    sigma = np.array(LEVELS)[labels.numpy()][:, None, None, None]
    noisy = np.rint(clean + sigma * rng.normal(size=clean.shape))
    cameras, isos = zip(*(CAPTURES[label] for label in labels.tolist()), strict=True)
    return TrainingBatch(
        capture=CaptureMetadata(camera=cameras, iso=isos),
        labels=labels,
        clean=torch.from_numpy(clean / 255).float(),
        noisy=torch.from_numpy(noisy / 255).float(),
    )


def test_the_registry_knows_it() -> None:
    assert generators.task("flow-srgb") is FlowSRGBTask
    assert FlowSRGBTask.uses == "pairs"
    assert FlowSRGBTask.domain == "srgb"


def test_cameras_and_isos_come_from_the_data() -> None:
    config = make().module.config
    assert (config.cameras, config.isos) == (("A", "B"), (100, 800))
    assert config.configurations == ("A_00100", "A_00800", "B_00800")
    with pytest.raises(ValueError, match="'B' at ISO 100"):
        make().module.cells(CaptureMetadata.same(1, camera="B", iso=100))


def test_one_camera_and_iso_is_a_case_of_many() -> None:
    task = make(capture=CAPTURES[:1])
    data = batch()
    rows = [row for row, label in enumerate(data.labels.tolist()) if label == 0]
    own = TrainingBatch(
        capture=data.capture.select(rows),
        labels=data.labels[rows],
        clean=_rows(data.clean, rows),
        noisy=_rows(data.noisy, rows),
    )
    task.initialise(own)
    task.loss(own, 0).backward()
    assert math.isfinite(task.measure(own, 0)["nll"])


def test_the_loss_of_a_step_repeats_and_falls_with_the_first_steps() -> None:
    first, again = make(), make()
    for task in (first, again):
        task.initialise(batch())
    assert torch.equal(first.loss(batch(), 5), again.loss(batch(), 5))
    assert not torch.equal(first.loss(batch(), 5), first.loss(batch(), 6))
    optimiser = torch.optim.Adam(first.module.parameters(), lr=1e-2)
    before = first.measure(batch(step=99), 99)["nll"]
    for step in range(10):
        optimiser.zero_grad()
        first.loss(batch(step=step), step).backward()
        optimiser.step()
    assert first.measure(batch(step=99), 99)["nll"] < before + 0.02
    assert all(bool(torch.isfinite(p).all()) for p in first.module.parameters())


@pytest.mark.parametrize(("dequantisation", "extra"), [("noisy", 1 / 12), ("both", 2 / 12)])
def test_initialising_alone_fits_gaussian_noise(dequantisation: str, extra: float) -> None:
    task = make(arrangement="CL2", dequantisation=dequantisation)
    data = batch(side=48)
    task.initialise(data)
    found = task.measure(data, 0)
    # Rounding adds 1/12 to the noise, spreading each image over its level another.
    entropy = np.mean(
        [0.5 * math.log(2 * math.pi * math.e * (s**2 + 1 / 12 + extra)) for s in LEVELS]
    )
    assert abs(found["nll_grey"] - entropy) < 0.01
    assert found["nll_grey"] - found["nll"] == pytest.approx(GREY_NATS)


def test_measuring_uses_running_statistics_and_leaves_them() -> None:
    task = make()
    task.initialise(batch())
    for step in range(20):
        task.loss(batch(step=step), step)
    # Statistics over the batches stand for those of one batch: both give about the same density.
    data = batch()
    assert abs(task.measure(data, 0)["nll"] - float(task.loss(data, 0).detach())) < 0.05
    kept = {key: value.clone() for key, value in task.module.state_dict().items()}
    task.measure(data, 0)
    assert all(torch.equal(value, kept[key]) for key, value in task.module.state_dict().items())
    assert task.module.training


def test_parts_rebuild_the_network_and_the_generator() -> None:
    task = make()
    task.initialise(batch())
    part = task.parts()[""]
    assert part.family == "flow-srgb"
    config = type(task.module.config).from_dict(dict(part.config))
    assert config == task.module.config
    FlowSRGB(config).load_state_dict(dict(part.tensors), strict=True)
    data = batch(2)
    assert data.clean is not None
    context = NoiseContext(clean=data.clean, capture=data.capture)
    made = task.generator().sample(NoiseRequest(context=context, seeds=[1, 2]))
    assert made.noisy.shape == data.clean.shape
    assert task.module.training


@pytest.mark.parametrize(("dequantisation", "extra"), [("noisy", 0.0), ("both", 1 / 4)])
def test_rounding_dequantised_noise_shifts_nothing(dequantisation: str, extra: float) -> None:
    """What a perfect model samples, stored in 8 bits, has the real noise's mean.

    Its variance is the real one where the noisy image alone was spread, and the triangular
    distribution's 1/4 more where both were.
    """
    rng = np.random.default_rng(1)
    clean = np.full(400_000, 100.0)
    noise = np.rint(3.0 * rng.normal(size=clean.size) + 0.3)
    u, v = torch.from_numpy(rng.random((2, clean.size)))
    noisy = dequantised(torch.from_numpy((clean + noise) / 255), u)
    reference = torch.from_numpy(clean / 255)
    sampled = noisy - (dequantised(reference, v) if dequantisation == "both" else reference)
    stored = np.rint(((reference + sampled) * 255).numpy()) - clean
    n = math.sqrt(clean.size)
    assert abs(float((stored - noise).mean())) < 5 * math.sqrt(extra + 1e-12) / n + 1e-9
    # The two share their noise, so what differs is the spread alone.
    assert abs(stored.var() - noise.var() - extra) < 5 * math.sqrt(extra) * 7 / n + 1e-9


@pytest.mark.parametrize(("level", "rows"), [(2.0, 0), (6.0, 1)])
def test_samples_stored_in_8_bits_have_the_level_and_mean_of_the_noise(
    level: float, rows: int
) -> None:
    task = make(arrangement="CL2", dequantisation="noisy")
    task.initialise(batch(48, 32))
    clean = torch.full((4, 3, 64, 64), 120 / 255)
    capture = CaptureMetadata.same(4, camera=CAPTURES[rows][0], iso=CAPTURES[rows][1])
    request = NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=[1, 2, 3, 4])
    stored = (task.generator().sample(request).noisy * 255).round() - 120
    # Fitted to 16 rows of 3x32x32 numbers, and measured on as many: two errors of the mean.
    error = math.hypot(1, 1) * level / math.sqrt(stored.numel())
    assert abs(float(stored.mean())) < 5 * error
    # Real noise, rounded, has 1/12 more; the model 1/12 for spreading, and is rounded again.
    assert float(stored.var()) == pytest.approx(level**2 + 3 / 12, rel=0.04)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"arangement": "CL2"}, "no parameter 'arangement'.*Did you mean 'arrangement'"),
        ({"arrangement": "CL3"}, "no layer 'CL3'"),
        ({"dequantisation": "clean"}, "must be 'both' or 'noisy'"),
    ],
)
def test_a_wrong_parameter_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowSRGBTask.create(params, TrainingSetup(captures=CAPTURES, seed=1))


def test_raw_data_and_single_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="data has 4"):
        FlowSRGBTask.create({}, TrainingSetup(captures=CAPTURES, seed=1, channels=4))
    with pytest.raises(ValueError, match="batch_size to 2"):
        make().loss(batch(1), 0)
    with pytest.raises(ValueError, match="needs the clean image"):
        make().loss(
            TrainingBatch(capture=batch(2).capture, labels=batch(2).labels, noisy=batch(2).noisy), 0
        )


def _rows(image: Tensor | None, rows: list[int]) -> Tensor:
    assert image is not None
    return image[rows]
