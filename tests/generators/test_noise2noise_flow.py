"""A noise model and a denoiser train each other on two noisy shots, and a collapse is told."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

import generators
from generators.capture import CaptureMetadata
from generators.joint_training import JointConfig
from generators.nlf.calibration import NoiseLevel
from generators.nlf.network import NLF, NLFConfig
from generators.nlf.sampling import NLFGenerator
from generators.noise2noise_flow import Noise2NoiseFlowTask
from generators.noise_flow.network import NoiseFlow
from generators.seeds import standard_normal, uniform
from generators.training import TrainingBatch, TrainingSetup

CAPTURES = (("S6", 100), ("S6", 800))
TRUE = NoiseLevel(4e-3, 1e-4)


class Stub(nn.Module):
    """A denoiser of one weight: the share of a pixel that is kept; the rest is the mean of 3x3."""

    def __init__(self, *, keep: float = 0.0) -> None:
        super().__init__()
        self.keep = nn.Parameter(torch.tensor(keep))

    def forward(self, noisy: Tensor) -> Tensor:
        around = avg_pool2d(pad(noisy, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
        return around + self.keep * (noisy - around)


def noisy_batch(step: int, *, rows: int = 4, side: int = 32, level: NoiseLevel = TRUE) -> Any:
    """Return two shots of smooth ground; the clean image stays with the caller."""
    seeds = [1000 * step + i for i in range(rows)]
    shade = uniform(seeds, (4, 1, 1), "shade").pow(2).mul(0.9)
    clean = shade.expand(rows, 4, side, side).contiguous()
    spread = (level.beta1 * clean + level.beta2).sqrt()
    first, second = (
        clean + spread * standard_normal(seeds, clean.shape[1:], name) for name in ("1", "2")
    )
    batch = TrainingBatch(
        capture=CaptureMetadata.same(rows, camera="S6", iso=800),
        labels=torch.ones(rows, dtype=torch.int64),
        noisy=first,
        second=second,
    )
    return batch, clean


def setup(**more: Any) -> TrainingSetup:
    return TrainingSetup(
        captures=CAPTURES,
        seed=5,
        channels=4,
        denoiser=lambda name, seed, keep=0.0: Stub(keep=keep),
        **more,
    )


def make_task(**params: Any) -> Noise2NoiseFlowTask:
    made = generators.task("noise2noise-flow").create(params, setup())
    assert isinstance(made, Noise2NoiseFlowTask)
    return made


def nlf_task(*, keep: float = 0.0, **more: Any) -> Noise2NoiseFlowTask:
    objective = more.pop("objective", "crossed")
    model = NLF(NLFConfig(configurations=("S6_00100", "S6_00800")))
    model.set_levels({"S6_00800": TRUE})
    config = JointConfig(noise_model="nlf", **more)
    return Noise2NoiseFlowTask(model, Stub(keep=keep), config, objective=objective)


def train(task: Noise2NoiseFlowTask, steps: int, *, denoiser: float, model: float) -> None:
    rates = {"denoiser": denoiser, "noise_model": model}
    optimiser = torch.optim.Adam(
        [
            {"params": list(task.module.get_submodule(name).parameters()), "lr": rate}
            for name, rate in rates.items()
        ]
    )
    for step in range(steps):
        optimiser.zero_grad()
        task.loss(noisy_batch(step)[0], step).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@pytest.mark.parametrize("objective", ["crossed", "self", "balanced", "difference"])
@torch.no_grad()
def test_the_loss_is_the_published_sum(objective: Any) -> None:
    task = nlf_task(objective=objective)
    batch, _ = noisy_batch(1)
    assert batch.noisy is not None
    assert batch.second is not None
    one, two = task.denoise(batch.noisy), task.denoise(batch.second)
    mse = ((one - batch.second).square().mean() + (two - batch.noisy).square().mean()) / 2
    c1, c2 = one.clamp(0, 1), two.clamp(0, 1)
    model = task.module.get_submodule("noise_model")
    assert isinstance(model, NLF)
    first, second, capture = batch.noisy, batch.second, batch.capture
    crossed = model.nll(first - c2, c2, capture).mean() + model.nll(second - c1, c1, capture).mean()
    own = model.nll(first - c1, c1, capture).mean() + model.nll(second - c2, c2, capture).mean()
    apart = model.nll((first - second) / math.sqrt(2), (c1 + c2) / 2, capture).mean()
    nll = {
        "crossed": crossed / 2,
        "self": own / 2,
        "balanced": (crossed + own) / 4,
        "difference": apart,
    }[objective]
    torch.testing.assert_close(task.loss(batch, 0), nll + 2**18 * mse)


def test_gradients_reach_both_networks_and_pretraining_spares_the_noise_model() -> None:
    task = nlf_task(pretrain_steps=3)
    batch, _ = noisy_batch(1)
    for step, reached in ((2, False), (3, True)):
        task.module.zero_grad(set_to_none=True)
        task.loss(batch, step).backward()  # type: ignore[no-untyped-call]
        for name, parameter in task.module.named_parameters():
            expected = reached or name.startswith("denoiser")
            assert (parameter.grad is not None) == expected, name


def test_the_noise_model_and_the_denoiser_get_better_without_a_clean_image() -> None:
    task = make_task(noise_model="nlf")
    task.initialise(noisy_batch(0)[0])
    held_out, clean = noisy_batch(999)
    with_clean = TrainingBatch(
        capture=held_out.capture, labels=held_out.labels, noisy=held_out.noisy, clean=clean
    )
    before = task.measure(with_clean, 0)
    train(task, 60, denoiser=1e-3, model=0.005)
    after = task.measure(with_clean, 0)
    assert after["nll"] < before["nll"]
    assert after["denoiser_mse"] < 1.05 * before["denoiser_mse"]
    found = task.module.get_submodule("noise_model")
    assert isinstance(found, NLF)
    variance = found.levels()["S6_00800"].beta1 * 0.3 + found.levels()["S6_00800"].beta2
    # A mean over nine leaves a ninth of the noise: the crossed noise has 10/9 of its variance.
    assert abs(variance / (TRUE.beta1 * 0.3 + TRUE.beta2) - 10 / 9) < 0.15
    task.finish(lambda step: noisy_batch(step)[0])
    told = task.findings()
    assert "collapse" not in told
    assert abs(told["noise_share"] - 10 / 9) < 0.05


def test_the_denoisers_error_adds_to_crossed_noise_lacks_in_self_and_cancels() -> None:
    """A mean over nine is the best of its kind on flat ground: its error is v / 9."""
    for objective, expected in (("crossed", 10 / 9), ("self", 8 / 9), ("balanced", 1.0)):
        task = nlf_task(objective=objective)
        task.finish(lambda step: noisy_batch(step, rows=16)[0])
        assert abs(task.findings()["noise_share"] - expected) < 0.02


@torch.no_grad()
def test_the_difference_has_the_noise_of_one_shot_whatever_the_denoiser_leaves() -> None:
    batch, clean = noisy_batch(3, rows=16)
    assert batch.noisy is not None
    variance = TRUE.beta1 * clean + TRUE.beta2
    for keep in (0.0, 0.5, 0.99):
        left = nlf_task(objective="difference", keep=keep).left_over(batch, 0)
        (noise,), (estimate,) = left.noise, left.clean
        # 65,536 squares of standard normal numbers, whose variance is 2: five standard errors.
        assert abs(float((noise.square() / variance).mean()) - 1) < 5 * (2 / noise.numel()) ** 0.5
        assert float(estimate.min()) >= 0
        # The estimate tells of brightness only: here it is the clean image's, row by row.
        off = (estimate.clamp(0, 1) - clean).mean(dim=(1, 2, 3))
        assert float(off.abs().max()) < 0.005
    # The noise leaves white noise white, and what two shots share leaves nothing at all.
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()
    assert abs(float(neighbours)) < 5 / noise.numel() ** 0.5
    same = TrainingBatch(
        capture=batch.capture, labels=batch.labels, noisy=batch.noisy, second=batch.noisy
    )
    assert bool((nlf_task(objective="difference").left_over(same, 0).noise[0] == 0).all())


def test_the_difference_finds_the_level_of_the_noise_with_a_poor_denoiser() -> None:
    """Crossed, a mean over nine gives 10 / 9 of the variance; the difference gives it whole."""
    task = nlf_task(objective="difference")
    model = task.module.get_submodule("noise_model")
    assert isinstance(model, NLF)
    model.set_levels({"S6_00800": NoiseLevel(2 * TRUE.beta1, 2 * TRUE.beta2)})
    train(task, 120, denoiser=0.0, model=0.02)
    found = model.levels()["S6_00800"]
    ratio = (found.beta1 * 0.3 + found.beta2) / (TRUE.beta1 * 0.3 + TRUE.beta2)
    assert abs(ratio - 1) < 0.03


def test_the_difference_cannot_collapse_by_leaving_noise_in_the_estimate() -> None:
    task = nlf_task(objective="difference", lambda_=1.0, keep=0.1)
    train(task, 60, denoiser=0.02, model=0.01)
    task.finish(lambda step: noisy_batch(step)[0])
    told = task.findings()
    assert "collapse" not in told
    assert abs(told["noise_share"] - 1) < 1e-4  # what it is compared with is the same difference


def test_the_denoisers_arrangement_is_a_parameter() -> None:
    task = make_task(denoiser_params={"keep": 0.25})
    assert task.parts()["-denoiser"].tensors["keep"] == 0.25
    # With the denoisers of this project, too, and a mistake in it is told by name.
    import denoisers

    real = TrainingSetup(
        captures=CAPTURES,
        seed=5,
        channels=4,
        denoiser=lambda name, seed, **params: denoisers.create(
            name, channels=4, seed=seed, **params
        ),
    )
    made = Noise2NoiseFlowTask.create({"denoiser_params": {"depth": 3, "width": 8}}, real)
    assert made.parts()["-denoiser"].config["width"] == 8
    with pytest.raises(ValueError, match=r"'dncnn' has no parameter 'widht'.*mean 'width'"):
        Noise2NoiseFlowTask.create({"denoiser_params": {"widht": 8}}, real)
    for wrong in ({"seed": 3}, {"channels": 3}):
        with pytest.raises(ValueError, match="denoiser_params cannot set"):
            Noise2NoiseFlowTask.create({"denoiser_params": wrong}, real)
    with pytest.raises(ValueError, match="denoiser_params must map names to values"):
        make_task(denoiser_params=[8])


def test_images_of_srgb_are_taken_with_a_noise_level_function() -> None:
    three = TrainingSetup(
        captures=CAPTURES,
        seed=5,
        channels=3,
        denoiser=lambda name, seed: nn.Conv2d(3, 3, 3, padding=1),
    )
    made = Noise2NoiseFlowTask.create({"noise_model": "nlf"}, three)
    assert made.domain == "srgb"
    assert make_task(noise_model="nlf").domain == make_task().domain == "raw"
    with pytest.raises(ValueError, match="packed raw of 4 channels; the data has 3"):
        Noise2NoiseFlowTask.create({}, three)


def test_a_denoiser_that_returns_its_input_is_told_as_a_collapse() -> None:
    collapsed = nlf_task(keep=0.99, objective="self")
    collapsed.finish(lambda step: noisy_batch(step)[0])
    told = collapsed.findings()
    json.dumps(told)
    assert told["collapse"]["noise_share"] < 0.01
    # Crossed, the same denoiser only hands the other shot's noise over: nothing to be gained.
    crossed = nlf_task(keep=0.99)
    crossed.finish(lambda step: noisy_batch(step)[0])
    assert abs(crossed.findings()["noise_share"] - 2.0) < 0.1
    assert nlf_task().findings() == {}


def test_the_self_objective_collapses_when_nothing_holds_it_and_the_crossed_does_not() -> None:
    shares = {}
    for objective in ("crossed", "self"):
        task = nlf_task(objective=objective, lambda_=1.0, keep=0.1)
        train(task, 60, denoiser=0.02, model=0.01)
        task.finish(lambda step: noisy_batch(step)[0])
        shares[objective] = task.findings()
    assert "collapse" in shares["self"]
    assert "collapse" not in shares["crossed"]


def test_a_loss_that_is_not_finite_is_told_too() -> None:
    task = nlf_task()
    with torch.no_grad():
        for parameter in task.module.get_submodule("denoiser").parameters():
            parameter.fill_(math.nan)
    task.finish(lambda step: noisy_batch(step)[0])
    told = task.findings()
    assert told["collapse"]["noise_share"] is None
    json.dumps(told)


def test_a_noise_flow_is_trained_the_same_way() -> None:
    task = make_task()
    model = task.module.get_submodule("noise_model")
    assert isinstance(model, NoiseFlow)
    task.initialise(noisy_batch(0)[0])
    batch, clean = noisy_batch(7)
    blind = task.measure(batch, 0)
    assert set(blind) == {"nll"}
    train(task, 3, denoiser=1e-3, model=1e-3)
    parts = task.parts()
    assert parts[""].family == "noise-flow"
    assert parts["-denoiser"].family == "dncnn"
    assert set(parts[""].tensors) == set(model.state_dict())
    generator = task.generator()
    assert generator is not None
    assert generator.name == "noise-flow"
    assert clean.shape == (4, 4, 32, 32)


def test_an_nlf_comes_out_as_weights_and_as_a_generator_of_its_own() -> None:
    task = nlf_task()
    generator = task.generator()
    assert isinstance(generator, NLFGenerator)
    assert task.parts()[""].family == "nlf"
    assert task.parts()[""].config["configurations"] == ["S6_00100", "S6_00800"]
    assert all(p.requires_grad for p in task.module.parameters())


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"'lambda'.*Did you mean 'lambda_'"):
        make_task(**{"lambda": 3})
    with pytest.raises(ValueError, match="noise_model must be one of"):
        make_task(noise_model="naflow")
    with pytest.raises(ValueError, match="objective must be one of"):
        make_task(objective="both")
    with pytest.raises(ValueError, match="pretrain_steps must be a whole number"):
        make_task(pretrain_steps=-1)
    with pytest.raises(ValueError, match="arrangement is of noise_model"):
        make_task(noise_model="nlf", arrangement="sdn")
    with pytest.raises(ValueError, match="setup makes none"):
        Noise2NoiseFlowTask.create({}, TrainingSetup(captures=CAPTURES, seed=0, channels=4))
    with pytest.raises(ValueError, match="the data has 3"):
        Noise2NoiseFlowTask.create(
            {}, TrainingSetup(captures=CAPTURES, seed=0, channels=3, denoiser=lambda n, s: Stub())
        )
    with pytest.raises(TypeError, match="lacks `nll`"):
        Noise2NoiseFlowTask(Stub(), Stub(), JointConfig())
    batch, clean = noisy_batch(1)
    known = TrainingBatch(
        capture=batch.capture, labels=batch.labels, clean=clean, noisy=batch.noisy
    )
    with pytest.raises(ValueError, match="second image"):
        nlf_task().loss(known, 0)
