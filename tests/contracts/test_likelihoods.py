"""The density of a model is the density of its samples, for every model that claims one.

A flat image of level x makes every pixel a draw from one distribution q(. | x). Five properties tie
q to the samples: it integrates to 1; the samples have its mean and its variance; the mean of -ln q
over the samples is its entropy; and their distribution function is its integral (a normal density
with the moments of a Poisson sum passes the first four). A density that is wrong in scale, place,
shape or dependence on the signal breaks one; ``test_a_wrong_density_is_caught`` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.base import Likelihood, NoiseContext, NoiseGenerator, NoiseRequest
from generators.capture import CaptureMetadata
from generators.nlf.calibration import NoiseLevel
from generators.nlf.network import NLF, Distribution, NLFConfig
from generators.nlf.sampling import NLFGenerator
from generators.parametric import AWGN, Heteroscedastic, PoissonGaussian

ROWS, SIDE = 8, 64
LEVELS = (0.0, 0.02, 0.3, 1.0)


def measured(level: NoiseLevel, distribution: Distribution) -> NLFGenerator:
    config = NLFConfig(configurations=("S6_00800",), domain="srgb", distribution=distribution)
    model = NLF(config)
    model.set_levels({"S6_00800": level})
    return NLFGenerator(model)


CASES: dict[str, Callable[[], NoiseGenerator]] = {
    "awgn": lambda: AWGN(sigma=20),
    "heteroscedastic": lambda: Heteroscedastic(beta1=4e-3, beta2=1e-4),
    "heteroscedastic-table": lambda: Heteroscedastic(table="sidd"),
    "nlf": lambda: measured(NoiseLevel(4e-3, 1e-4), "gaussian"),
    "nlf-poisson-gaussian": lambda: measured(NoiseLevel(1e-2, 4e-6), "poisson-gaussian"),
    # 100 electrons at white: skewed in the dark, and read noise from a tenth of an electron, where
    # the electrons show one by one, to three of them.
    "poisson-gaussian-fine": lambda: PoissonGaussian(gain=1e-2, read_noise=2e-3),
    "poisson-gaussian-coarse": lambda: PoissonGaussian(gain=1e-2, read_noise=3e-2),
}


def flat(level: float, shape: tuple[int, ...]) -> NoiseContext:
    clean = torch.full(shape, level, dtype=torch.float32)
    return NoiseContext(clean=clean, capture=CaptureMetadata.same(shape[0], camera="S6", iso=800))


def density_on_a_grid(model: Likelihood, level: float, noisy: Tensor) -> tuple[Tensor, Tensor]:
    """Return grid points well beyond the samples and ln q there."""
    low, high = float(noisy.min()), float(noisy.max())
    margin = 0.5 * (high - low)
    grid = torch.linspace(low - margin, high + margin, 8001, dtype=torch.float64)
    grid = grid.float().double()  # the points that the model is really shown
    rows = (len(grid), 1, 1, 1)
    return grid, model.log_prob(grid.float().reshape(rows), flat(level, rows))


def check_density(generator: NoiseGenerator, model: Likelihood, level: float) -> None:
    shape = (ROWS, 1, SIDE, SIDE)
    context = flat(level, shape)
    noisy = generator.sample(NoiseRequest(context=context, seeds=range(ROWS))).noisy
    grid, log_q = density_on_a_grid(model, level, noisy)
    q = log_q.exp()
    assert abs(float(torch.trapezoid(q, grid)) - 1.0) < 1e-4
    mean = float(torch.trapezoid(q * grid, grid))
    variance = float(torch.trapezoid(q * (grid - mean) ** 2, grid))
    kurtosis = float(torch.trapezoid(q * (grid - mean) ** 4, grid)) / variance**2
    entropy = -float(torch.trapezoid(torch.xlogy(q, q), grid))
    spread = float(torch.trapezoid(q * (log_q.clamp_min(-700) + entropy) ** 2, grid))
    n = noisy.numel()
    values = noisy.double().flatten()
    surprise = -float(model.log_prob(noisy, context).sum()) / n
    assert abs(float(values.mean()) - mean) < 5 * math.sqrt(variance / n)
    assert abs(float(values.var()) / variance - 1) < 5 * math.sqrt((kurtosis - 1) / n)
    assert abs(surprise - entropy) < 5 * math.sqrt(spread / n) + 1e-4
    assert largest_gap(values, grid, q) < 2.7 / math.sqrt(n)  # Kolmogorov: one in a million


def largest_gap(values: Tensor, grid: Tensor, q: Tensor) -> float:
    """Return the largest distance between the samples' distribution function and q's."""
    below = torch.cat([torch.zeros(1), torch.cumulative_trapezoid(q, grid)]).double()
    at = torch.from_numpy(np.interp(values.sort().values.numpy(), grid.numpy(), below.numpy()))
    steps = torch.arange(len(values) + 1, dtype=torch.float64) / len(values)
    return float(torch.maximum((at - steps[:-1]).abs().max(), (at - steps[1:]).abs().max()))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_samples_match_the_density(make: Callable[[], NoiseGenerator], level: float) -> None:
    generator = make()
    assert isinstance(generator, Likelihood)
    check_density(generator, generator, level)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_log_prob_has_one_value_a_row_and_adds_up_over_pixels(
    make: Callable[[], NoiseGenerator],
) -> None:
    generator = make()
    assert isinstance(generator, Likelihood)
    context = flat(0.3, (3, 3, 4, 6))
    noisy = generator.sample(NoiseRequest(context=context, seeds=[1, 2, 3])).noisy
    whole = generator.log_prob(noisy, context)
    left = generator.log_prob(noisy[..., :2], flat(0.3, (3, 3, 4, 2)))
    right = generator.log_prob(noisy[..., 2:], flat(0.3, (3, 3, 4, 4)))
    assert whole.shape == (3,)
    torch.testing.assert_close(whole, left + right, rtol=1e-10, atol=1e-9)


WRONG: dict[str, tuple[NoiseGenerator, Likelihood, float]] = {
    "level 4 % too high": (AWGN(sigma=20), AWGN(sigma=20.8), 1.0),
    "forgot that variance follows the signal": (
        Heteroscedastic(beta1=4e-3, beta2=1e-4),
        Heteroscedastic(beta1=0.0, beta2=1e-4),
        0.3,
    ),
    "slope taken for a standard deviation": (
        Heteroscedastic(beta1=4e-3, beta2=1e-4),
        Heteroscedastic(beta1=4e-3**2, beta2=1e-4),
        0.3,
    ),
    "normal instead of Poisson": (
        PoissonGaussian(gain=1e-2, read_noise=2e-3),
        Heteroscedastic(beta1=1e-2, beta2=4e-6),
        0.02,
    ),
    "gain 8 % too high": (
        PoissonGaussian(gain=1e-2, read_noise=3e-2),
        PoissonGaussian(gain=1.08e-2, read_noise=3e-2),
        1.0,
    ),
}


@pytest.mark.parametrize(("generator", "wrong", "level"), WRONG.values(), ids=WRONG)
def test_a_wrong_density_is_caught(
    generator: NoiseGenerator, wrong: Likelihood, level: float
) -> None:
    with pytest.raises(AssertionError):
        check_density(generator, wrong, level)


def test_a_level_drawn_from_a_range_is_integrated_out() -> None:
    """With two pixels the density depends on the radius alone, so its entropy is one integral."""
    model, rows = AWGN(sigma=[10, 40]), 4000
    context = flat(0.5, (rows, 1, 1, 2))
    noisy = model.sample(NoiseRequest(context=context, seeds=range(rows))).noisy
    surprise = -model.log_prob(noisy, context)

    radius = torch.linspace(1e-4, 1.5, 6001)
    points = torch.stack([radius, torch.zeros_like(radius)], -1).reshape(-1, 1, 1, 2)
    log_q = model.log_prob(points + 0.5, flat(0.5, tuple(points.shape)))
    ring = 2 * math.pi * radius.double()
    total = float(torch.trapezoid(ring * log_q.exp(), radius.double()))
    entropy = -float(torch.trapezoid(ring * log_q.exp() * log_q, radius.double()))
    assert abs(total - 1) < 1e-4
    assert abs(float(surprise.mean()) - entropy) < 5 * float(surprise.std()) / math.sqrt(rows)


def test_a_density_is_refused_where_there_is_none() -> None:
    context = flat(0.0, (1, 1, 4, 4))
    with pytest.raises(ValueError, match="variance > 0"):
        Heteroscedastic(beta1=1e-3, beta2=0.0).log_prob(context.clean, context)
    with pytest.raises(ValueError, match="read_noise > 0"):
        PoissonGaussian(gain=1e-3, read_noise=0.0).log_prob(context.clean, context)
