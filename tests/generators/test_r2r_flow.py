"""One noisy image is enough to learn the level of the noise, and the formulas say why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import generators
from generators.capture import CaptureMetadata
from generators.nlf.calibration import NoiseLevel
from generators.nlf.network import NLF
from generators.r2r_flow import R2RFlowTask
from generators.seeds import standard_normal
from generators.training import TrainingBatch, TrainingSetup

CAPTURES = (("S6", 800),)
LEVEL = 0.3
STD = 0.03


class Share(nn.Module):
    """The best linear denoiser of flat ground of known level: it keeps a share of the noise."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))

    def forward(self, noisy: Tensor) -> Tensor:
        return LEVEL + self.share * (noisy - LEVEL)


def flat_batch(step: int, *, rows: int = 2, side: int = 32) -> TrainingBatch:
    seeds = [1000 * step + i for i in range(rows)]
    noise = STD * standard_normal(seeds, (4, side, side), "noise")
    return TrainingBatch(
        capture=CaptureMetadata.same(rows, camera="S6", iso=800),
        labels=torch.zeros(rows, dtype=torch.int64),
        noisy=LEVEL + noise,
    )


def make_task(**params: Any) -> R2RFlowTask:
    setup = TrainingSetup(captures=CAPTURES, seed=5, channels=4, denoiser=lambda n, s: Share())
    made = generators.task("r2r-flow").create(params, setup)
    assert isinstance(made, R2RFlowTask)
    return made


def table(task: R2RFlowTask) -> NLF:
    model = task.module.get_submodule("noise_model")
    assert isinstance(model, NLF)
    return model


def model_variance(task: R2RFlowTask) -> float:
    level = table(task).levels()["S6_00800"]
    return level.beta1 * LEVEL + level.beta2


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("start", [0.2, 1.0, 5.0])
def test_what_the_noise_model_is_shown_has_the_predicted_variance(
    alpha: float, start: float
) -> None:
    v, w = STD**2, start * STD**2
    task = make_task(noise_model="nlf", alpha=alpha)
    table(task).set_levels({"S6_00800": NoiseLevel(w / LEVEL * 1e-6, w)})
    denoiser = task.module.get_submodule("denoiser")
    with torch.no_grad():
        denoiser.share.fill_((v - w) / (v + alpha**2 * w))  # type: ignore[union-attr, operator]
        left = task.left_over(flat_batch(1, side=64), 0)
    expected = v * w * (1 + alpha**2) / (v + alpha**2 * w)
    found = float(left.noise[0].double().square().mean())
    assert abs(found / expected - 1) < 5 * (2 / left.noise[0].numel()) ** 0.5


def test_recorrupted_images_have_uncorrelated_noise_where_the_model_is_right() -> None:
    task = make_task(noise_model="nlf", alpha=0.7)
    table(task).set_levels({"S6_00800": NoiseLevel(1e-9, STD**2)})
    denoiser = task.module.get_submodule("denoiser")
    seen: list[Tensor] = []
    denoiser.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        denoiser.share.fill_(0.0)  # type: ignore[union-attr, operator]
        left = task.left_over(flat_batch(2, side=64), 0)
    # The last image that the denoiser saw is a; what is left over of b has a level of 0.
    a, b = seen[-1].double() - LEVEL, left.noise[0].double()
    correlation = float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt())
    assert abs(correlation) < 5 / a.numel() ** 0.5


@pytest.mark.parametrize("start", [0.1, 8.0])
def test_the_level_is_learnt_from_single_images(start: float) -> None:
    task = make_task(noise_model="nlf", alpha=1.0)
    w = start * STD**2
    table(task).set_levels({"S6_00800": NoiseLevel(0.5 * w / LEVEL, 0.5 * w)})
    rates = {"denoiser": 0.05, "noise_model": 0.005}
    optimiser = torch.optim.Adam(
        [
            {"params": list(task.module.get_submodule(name).parameters()), "lr": rate}
            for name, rate in rates.items()
        ]
    )
    for step in range(120):
        optimiser.zero_grad()
        task.loss(flat_batch(step), step).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert abs(model_variance(task) / STD**2 - 1) < 0.1
    task.finish(flat_batch)
    told = task.findings()
    assert "collapse" not in told
    assert abs(told["noise_share"] - 1) < 0.1


def test_the_start_is_measured_on_the_images_themselves() -> None:
    task = make_task(noise_model="nlf")
    batch = flat_batch(0, side=64)
    assert abs(float(task.variance(batch)) / STD**2 - 1) < 0.05
    task.initialise(batch)
    assert abs(model_variance(task) / STD**2 - 1) < 0.1


def test_a_collapse_is_told() -> None:
    task = make_task(noise_model="nlf")
    table(task).set_levels({"S6_00800": NoiseLevel(1e-12, 1e-12)})
    with torch.no_grad():
        task.module.get_submodule("denoiser").share.fill_(1.0)  # type: ignore[union-attr, operator]
    task.finish(flat_batch)
    assert task.findings()["collapse"]["noise_share"] < 0.01


def test_loss_is_the_same_for_the_same_step_and_differs_between_steps() -> None:
    task, batch = make_task(noise_model="nlf"), flat_batch(1)
    task.initialise(batch)
    with torch.no_grad():
        assert float(task.loss(batch, 3)) == float(task.loss(batch, 3))
        assert float(task.loss(batch, 3)) != float(task.loss(batch, 4))


def test_pretraining_measuring_and_a_noise_flow_work_alike() -> None:
    task = make_task(pretrain_steps=1)
    task.initialise(flat_batch(0))
    for step in range(2):
        task.loss(flat_batch(step), step).backward()  # type: ignore[no-untyped-call]
    batch = flat_batch(9)
    assert set(task.measure(batch, 0)) == {"nll"}
    clean = torch.full_like(batch.noisy, LEVEL) if batch.noisy is not None else None
    known = TrainingBatch(
        capture=batch.capture, labels=batch.labels, clean=clean, noisy=batch.noisy
    )
    assert set(task.measure(known, 0)) == {"nll", "denoiser_mse"}
    assert task.parts()[""].family == "noise-flow"


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="alpha must be a finite number > 0"):
        make_task(alpha=0)
    with pytest.raises(ValueError, match="'objective'"):
        make_task(objective="crossed")
    task = make_task(noise_model="nlf")
    batch = flat_batch(1)
    with pytest.raises(ValueError, match="noisy image"):
        task.loss(TrainingBatch(capture=batch.capture, labels=batch.labels), 0)


def test_a_model_gone_wild_cannot_feed_itself_noise_without_bound() -> None:
    task = make_task(noise_model="nlf")
    table(task).set_levels({"S6_00800": NoiseLevel(1e-9, 100.0)})  # a deviation of 10 white levels
    with torch.no_grad():
        left = task.left_over(flat_batch(2), 0)
    (noise,) = left.noise
    # Six deviations, times 1 / alpha = 2, over sqrt(5), and the image's own noise besides.
    assert float(noise.abs().max()) < 8 * STD


def test_a_noise_flow_starts_with_dark_pixels_possible() -> None:
    task = make_task()
    task.initialise(flat_batch(0, rows=4))
    model = task.module.get_submodule("noise_model")
    dark = torch.zeros(1, 4, 16, 16)
    capture = CaptureMetadata.same(1, camera="S6", iso=800)
    labels = model.labels(capture)  # type: ignore[operator]
    normal = standard_normal([1], (4, 16, 16), "noise")
    with torch.no_grad():
        deviation = float(model.decode(normal, dark, labels)[0].std())  # type: ignore[operator]
    assert 0.5 * STD < deviation < STD  # half of the variance: 0.71 of the deviation
