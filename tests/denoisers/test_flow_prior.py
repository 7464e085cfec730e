from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import denoisers
from denoisers.base import Denoiser, takes_level
from denoisers.flow_prior import FlowPrior, FlowPriorConfig, maximise
from denoisers.noise_terms import Gaussian, PoissonGaussian
from generators.glow.network import Glow, GlowConfig
from generators.seeds import standard_normal, uniform
from generators.weights_file import save_weights


def glow() -> Glow:
    """An untrained Glow, moved away from its start, where couplings do nothing."""
    made = Glow(GlowConfig(levels=2, steps=1, hidden=4, seed=1))
    made.initialise(uniform([9], (4, 3, 16, 16), "first", low=0.3, high=0.7)[0])
    for number, parameter in enumerate(made.parameters()):
        parameter.data += 0.02 * standard_normal([number], parameter.shape, "moved")[0]
    return made


def picture(*shape: int, seed: int = 0) -> Tensor:
    return uniform([seed], shape, "picture", low=0.2, high=0.8)[0]


class Normal(nn.Module):
    """A prior with a closed form: every pixel N(0.5, 0.1^2)."""

    config = GlowConfig(levels=1, steps=1, hidden=1)

    def log_prob(self, images: Tensor) -> Tensor:
        return -((images - 0.5) / 0.1).square().sum(dim=(1, 2, 3)) / 2


@pytest.mark.parametrize("beta", [1.0, 4.0])
@pytest.mark.parametrize("start", ["likelier", "noisy", "smooth"])
def test_the_maximum_is_the_one_of_the_closed_form(beta: float, start: Any) -> None:
    noisy = picture(2, 3, 4, 6)
    config = FlowPriorConfig(beta=beta, sigma=0.2, steps=150, learning_rate=0.02, start=start)
    prior: Any = Normal()
    found = FlowPrior(prior, config)(noisy)
    weight = beta / 0.2**2
    expected = (weight * noisy + 0.5 / 0.1**2) / (weight + 1 / 0.1**2)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


class Smooth(nn.Module):
    """A prior of smooth images: neighbours differ by 0.1."""

    config = GlowConfig(levels=1, steps=1, hidden=1)

    def log_prob(self, images: Tensor) -> Tensor:
        return -(images.diff(dim=3) / 0.1).square().sum(dim=(1, 2, 3)) / 2


def test_each_row_begins_with_the_likelier_image() -> None:
    noisy = picture(2, 3, 8, 8)
    noise = Gaussian(torch.tensor([0.5, 0.01]))  # the first may be far from what was seen
    prior: Any = Smooth()
    values: dict[str, Any] = {"steps": 1, "learning_rate": 1e-6}
    found, as_is, smooth = (
        FlowPrior(prior, FlowPriorConfig(**values, start=start), noise=noise)(noisy)
        for start in ("likelier", "noisy", "smooth")
    )
    torch.testing.assert_close(found, torch.stack([smooth[0], as_is[1]]))
    assert not torch.allclose(as_is, smooth, atol=0.01)


def test_it_is_a_denoiser_of_any_size_that_leaves_its_prior_as_it_was() -> None:
    made = FlowPrior(glow(), FlowPriorConfig(steps=2))
    assert isinstance(made, Denoiser)
    assert takes_level(made)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with torch.inference_mode():
        for size in ((1, 1), (7, 9), (16, 12)):
            noisy = picture(2, 3, *size)
            estimate = made(noisy)
            assert estimate.shape == noisy.shape
            assert not estimate.requires_grad
            assert bool(torch.isfinite(estimate).all())
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())
    with pytest.raises(ValueError, match=r"reads images \(B, 3, H, W\)"):
        made(torch.zeros(1, 1, 8, 8))


def test_rows_are_independent() -> None:
    made, noisy = FlowPrior(glow(), FlowPriorConfig(steps=5)), picture(3, 3, 8, 8)
    torch.testing.assert_close(made(noisy)[1:2], made(noisy[1:2]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [0.01, 10.0])
def test_the_objective_never_falls_below_that_of_the_start(rate: float) -> None:
    prior, noisy, noise = glow().eval().requires_grad_(False), picture(2, 3, 8, 8), Gaussian(0.1)
    values: dict[str, Any] = {"beta": 2.0, "steps": 12, "learning_rate": rate, "start": noisy}
    found = maximise(prior, noisy, noise, **values)

    def objective(image: Tensor) -> Tensor:
        return 2.0 * noise(noisy, image) + prior.log_prob(image)

    assert bool((objective(found) >= objective(noisy) - 1e-3).all())
    if rate < 1:
        assert bool((objective(found) > objective(noisy) + 1).all())


def test_a_larger_beta_stays_nearer_to_the_noisy_image() -> None:
    noisy = picture(1, 3, 8, 8)
    moved = [
        float(
            (FlowPrior(glow(), FlowPriorConfig(beta=b, sigma=0.1, steps=40))(noisy) - noisy).std()
        )
        for b in (1.0, 64.0)
    ]
    assert moved == sorted(moved, reverse=True)


def test_the_noise_model_and_the_start_can_be_given() -> None:
    noisy = picture(1, 3, 8, 8)
    config = FlowPriorConfig(sigma=0.1, steps=3)
    plain = FlowPrior(glow(), config)
    poisson = FlowPrior(glow(), config, noise=PoissonGaussian(gain=0.02, read_noise=0.01))
    assert not torch.allclose(plain(noisy), poisson(noisy))
    other = maximise(
        plain.prior,
        noisy,
        Gaussian(noisy.new_full((1,), 0.1)),
        beta=config.beta,
        steps=config.steps,
        learning_rate=config.learning_rate,
        start=torch.full_like(noisy, 0.5),
    )
    assert float((other - 0.5).abs().max()) < 0.1


def test_a_level_that_is_not_told_is_guessed() -> None:
    noisy = 0.5 + 0.1 * standard_normal([0], (3, 64, 64), "noise")
    made = FlowPrior(glow(), FlowPriorConfig(steps=4))
    told = made.with_sigma(0.1)
    torch.testing.assert_close(made(noisy), told(noisy), atol=5e-3, rtol=0)
    assert not torch.allclose(made(noisy), made.with_sigma(0.02)(noisy), atol=5e-3)


def test_a_start_without_a_density_is_told() -> None:
    noisy = picture(2, 3, 8, 8)
    noisy[1, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="row 1 is nan at the start"):
        FlowPrior(glow(), FlowPriorConfig(sigma=0.1, steps=2))(noisy)


def test_the_weights_of_a_glow_are_loaded_with_parameters(tmp_path: Path) -> None:
    made, path = glow(), tmp_path / "prior.safetensors"
    save_weights(
        path,
        family="glow",
        config=made.config.to_dict(),
        tensors=made.state_dict(),
        license="CC0-1.0",
    )
    loaded: Any = denoisers.load(path, beta=2.0, sigma=0.1, steps=3)
    noisy = picture(1, 3, 8, 8)
    config = FlowPriorConfig(beta=2.0, sigma=0.1, steps=3)
    assert loaded.config == config
    torch.testing.assert_close(loaded(noisy), FlowPrior(made, config)(noisy))
    with pytest.raises(ValueError, match=r"'flow-prior' has no parameter 'bta'.*mean 'beta'"):
        denoisers.load(path, bta=2.0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"beta": 0}, "beta must be"),
        ({"sigma": 25}, "sigma must be"),
        ({"steps": 0}, "steps must be a whole number >= 1; it is 0"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"start": "clean"}, "start must be one of likelier, noisy, smooth"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowPriorConfig.from_dict(params)
