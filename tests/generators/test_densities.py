"""The three densities against plain, slow sums and integrals."""

from __future__ import annotations

import math

import pytest
import torch

from generators import densities
from generators.densities import (
    normal_log_density,
    poisson_gaussian_log_density,
    uniform_level_log_density,
)


def test_normal_density_agrees_with_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)
    variance = torch.rand(3, 2, 4, 4, generator=generator, dtype=torch.float64) + 0.1
    expected = torch.distributions.Normal(0.0, variance.sqrt()).log_prob(noise).flatten(1).sum(1)
    torch.testing.assert_close(normal_log_density(noise, variance), expected)


@pytest.mark.parametrize("size", [2, 7, 100, 12288, 196608])
@pytest.mark.parametrize("level", [0.001, 0.02, 0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("low", [0.0, 0.02])
def test_integrated_level_agrees_with_a_million_point_sum(
    size: int, level: float, low: float
) -> None:
    """Levels inside the range, at its ends and far outside it, from 2 pixels to a large patch."""
    high = 0.1
    energy = level**2 * size
    noise = torch.zeros(1, size, dtype=torch.float64)
    noise[0, 0] = math.sqrt(energy)
    # Midpoints in ln s around the peak, which at 196608 pixels is 0.2 % wide, and at an end of the
    # range that lies far from the level a ten-thousandth of that.
    top, bottom = math.log(high), math.log(low) if low > 0 else -math.inf
    peak = min(max(0.5 * math.log(energy / (size - 1)), bottom), top)
    slope = abs(energy * math.exp(-2 * peak) - size + 1) + 1e-9
    width = min(60 / math.sqrt(size) + 60 / size, 100 / slope)
    bottom, top = max(bottom, peak - width), min(top, peak + width)
    step = (top - bottom) / 1_000_000
    t = bottom + step * (torch.arange(1_000_000, dtype=torch.float64) + 0.5)
    terms = -size * t - 0.5 * energy * torch.exp(-2 * t) + t - 0.5 * size * math.log(2 * math.pi)
    expected = float(torch.logsumexp(terms, 0)) + math.log(step / (high - low))
    got = float(uniform_level_log_density(noise, low, high))
    assert abs(got - expected) < 1e-6 + 1e-12 * abs(expected)


def test_integrated_level_needs_two_pixels() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        uniform_level_log_density(torch.zeros(1, 1), 0.0, 1.0)


@pytest.mark.parametrize("spread", [0.05, 0.3, 2.0, 40.0])
@pytest.mark.parametrize("expected", [0.0, 0.3, 5.0, 400.0])
@pytest.mark.parametrize("offset", [-8.0, -1.0, 0.0, 3.0, 12.0])
def test_poisson_gaussian_density_agrees_with_the_whole_sum(
    spread: float, expected: float, offset: float
) -> None:
    """Ten thousand terms, at likely and at very unlikely values."""
    gain = 0.01
    observed = expected + offset * math.sqrt(expected + spread**2)
    k = torch.arange(10_000, dtype=torch.float64)
    mean = torch.tensor(expected, dtype=torch.float64)
    terms = torch.special.xlogy(k, mean) - mean - torch.lgamma(k + 1)
    terms = terms - 0.5 * ((observed - k) / spread) ** 2
    whole = float(torch.logsumexp(terms, 0)) - math.log(spread * gain * math.sqrt(2 * math.pi))
    got = poisson_gaussian_log_density(
        torch.tensor([[observed * gain]], dtype=torch.float64),
        torch.tensor([[expected * gain]], dtype=torch.float64),
        gain=gain,
        read_noise=spread * gain,
    )
    assert abs(float(got) - whole) < 1e-6 + 1e-9 * abs(whole)


def test_poisson_gaussian_density_of_many_pixels_is_the_sum_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More pixels than are summed at once."""
    clean = torch.linspace(0, 1, 2 * 300, dtype=torch.float64).reshape(2, 300)
    noisy = clean + 0.01 * torch.sin(torch.arange(300.0))
    whole = poisson_gaussian_log_density(noisy, clean, gain=1e-3, read_noise=5e-3)
    monkeypatch.setattr(densities, "_TERMS_AT_ONCE", 5_000)
    parts = poisson_gaussian_log_density(noisy, clean, gain=1e-3, read_noise=5e-3)
    each = [
        poisson_gaussian_log_density(noisy[:, i::3], clean[:, i::3], gain=1e-3, read_noise=5e-3)
        for i in range(3)
    ]
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(sum(each), whole, rtol=1e-10, atol=1e-6)
