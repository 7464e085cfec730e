from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import generators
from denoisers.noise_terms import Density, Gaussian, Model, NoiseTerm, PoissonGaussian
from generators.capture import CaptureMetadata
from generators.seeds import standard_normal, uniform
from generators.sensor import photon_counts


def picture(*shape: int, seed: int = 0) -> Tensor:
    return uniform([seed], shape, "picture", low=0.2, high=0.8)[0]


class LinearNoise:
    """A noise density with variance 0.01 * clean + 0.001."""

    def nll(self, noise: Tensor, clean: Tensor, capture: CaptureMetadata) -> Tensor:
        variance = 0.01 * clean + 0.001
        terms = 0.5 * (noise.square() / variance + variance.log())
        return terms.mean(dim=(1, 2, 3))


def heteroscedastic() -> Any:
    return generators.create("heteroscedastic", params={"beta1": 0.01, "beta2": 0.001})


TERMS: dict[str, NoiseTerm] = {
    "gaussian": Gaussian(0.1),
    "by-row": Gaussian(torch.tensor([0.1, 0.2])),
    "poisson": PoissonGaussian(gain=0.01, read_noise=0.01),
    "density": Density(heteroscedastic()),
    "model": Model(LinearNoise()),
}


@pytest.mark.parametrize("name", TERMS)
def test_terms_are_one_number_a_row_and_their_gradient_points_to_the_noisy_image(name: str) -> None:
    noisy = picture(2, 3, 6, 5)
    candidate = (noisy + 0.3 * standard_normal([1], noisy.shape, "away")[0]).clamp(0.05, 0.95)
    candidate.requires_grad_()
    term = TERMS[name](noisy, candidate)
    assert term.shape == (2,)
    (slope,) = torch.autograd.grad(term.sum(), candidate)
    assert bool((slope * (noisy - candidate)).mean() > 0)
    step = candidate + 1e-4 * slope / slope.abs().max()
    assert bool((TERMS[name](noisy, step) > term).all())


def test_the_gaussian_term_is_the_log_density_but_for_a_constant() -> None:
    noisy, first, second = (picture(2, 1, 4, 4, seed=s) for s in range(3))
    awgn: Any = generators.create("awgn", params={"sigma": 25.5})
    exact, ours = Density(awgn), Gaussian(0.1)
    torch.testing.assert_close(
        ours(noisy, first) - ours(noisy, second), exact(noisy, first) - exact(noisy, second)
    )


def test_a_models_nats_a_dimension_become_nats_an_image() -> None:
    noisy, first, second = (picture(2, 3, 4, 4, seed=s) for s in range(3))
    exact, ours = Density(heteroscedastic()), Model(LinearNoise())
    torch.testing.assert_close(
        ours(noisy, first) - ours(noisy, second),
        exact(noisy, first) - exact(noisy, second),
        rtol=1e-4,
        atol=1e-3,
    )


@pytest.mark.parametrize("level", [0.1, 0.4, 0.9])
def test_stabilised_noise_has_deviation_one_at_every_brightness(level: float) -> None:
    term = PoissonGaussian(gain=0.01, read_noise=0.02)
    electrons = photon_counts(torch.full((1, 200, 200), level / 0.01).double(), [0], "photons")
    noisy = electrons.float() * 0.01 + 0.02 * standard_normal([1], (200, 200), "read")
    # 40,000 numbers tell a deviation to 0.35 %; the transform itself is good to some percent.
    assert float(term.stabilised(noisy).std()) == pytest.approx(1.0, abs=0.03)


def test_values_below_black_have_a_gradient() -> None:
    term = PoissonGaussian(gain=0.01)
    candidate = torch.full((1, 1, 2, 2), -0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(term(torch.zeros(1, 1, 2, 2), candidate).sum(), candidate)
    assert bool(torch.isfinite(slope).all())


def test_one_shot_serves_all_rows() -> None:
    capture = CaptureMetadata.same(1, camera="a", iso=100)
    seen: list[CaptureMetadata] = []

    class Spy(LinearNoise):
        def nll(self, noise: Tensor, clean: Tensor, capture: CaptureMetadata) -> Tensor:
            seen.append(capture)
            return super().nll(noise, clean, capture)

    Model(Spy(), capture)(picture(3, 1, 2, 2), picture(3, 1, 2, 2, seed=1))
    assert seen[0].camera == ("a",) * 3


def test_wrong_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="sigma must be > 0 white levels; it is 0"):
        Gaussian(0.0)
    with pytest.raises(ValueError, match="gain"):
        PoissonGaussian(gain=0.0)
