"""Exact log densities of the parametric noise models, in nats, summed over the pixels of a row.

Three densities, each computed in float64:

* independent normal noise with a given variance at each pixel;
* white normal noise whose level is itself drawn uniformly, the level integrated out,

      p(n) = 1 / (b - a) * integral from a to b of (2 pi s^2)^(-D/2) exp(-|n|^2 / (2 s^2)) ds;

* Poisson-Gaussian noise, the number of electrons summed out,

      p(y | x) = sum over k of Poisson(k; x / gain) * Normal(y; gain * k, read_noise^2).

The integral and the sum are truncated where what is left out is below exp(-40) of the largest term,
which is under the rounding of float64.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["normal_log_density", "poisson_gaussian_log_density", "uniform_level_log_density"]

_LOG_2PI = math.log(2.0 * math.pi)
_NODES = 96  # Gauss-Legendre nodes a side
_DEPTH = 50.0  # the integrand is followed down to exp(-_DEPTH) of its peak
_TERMS_AT_ONCE = 1_000_000  # 8 MB of float64


def normal_log_density(noise: Tensor, variance: Tensor) -> Tensor:
    """Return the log density of independent zero-mean normal noise.

    Args:
        noise: ``(B, ...)`` noisy minus clean.
        variance: Broadcasts against ``noise``; > 0 everywhere.

    Returns:
        ``(B,)`` float64.

    Raises:
        ValueError: If a variance is not positive: no density exists there.
    """
    variance = variance.double()
    if not bool((variance > 0).all()):
        raise ValueError(
            f"a density needs a variance > 0 at every pixel; the smallest is "
            f"{float(variance.min()):.4g}. Give the noise a floor that the signal does not touch."
        )
    terms = -0.5 * (noise.double().square() / variance + variance.log() + _LOG_2PI)
    return terms.flatten(1).sum(1)


def uniform_level_log_density(noise: Tensor, low: float, high: float) -> Tensor:
    """Return the log density of white normal noise with a level drawn from U[low, high].

    With t = ln s the log of the integrand is, up to a constant,

        f(t) = -(D - 1) t - |n|^2 / 2 * exp(-2 t),

    which is concave with its peak at t* = ln(|n|^2 / (D - 1)) / 2. To either side of the peak, or
    of the end of [ln low, ln high] nearest to it, Gauss-Legendre quadrature covers the part that
    can matter: at distance w the integrand has fallen by (D - 1) (w + (exp(-2 w) - 1) / 2) to the
    right and by more than (D - 1) w^2 to the left, and, being concave, by at least its tangent.

    Args:
        noise: ``(B, ...)`` noisy minus clean, at least two values a row.
        low: Smallest standard deviation, >= 0, in the unit of ``noise``.
        high: Largest standard deviation, > ``low``.

    Returns:
        ``(B,)`` float64.
    """
    flat = noise.double().flatten(1)
    size = flat.shape[1]
    if size < 2:
        raise ValueError(f"the level can only be integrated out of 2 or more pixels; got {size}.")
    energy = flat.square().sum(1).clamp_min(1e-300)
    floor, top = math.log(low) if low > 0 else -math.inf, math.log(high)
    peak = (0.5 * (energy / (size - 1)).log()).clamp(floor, top)
    slope = (energy * (-2.0 * peak).exp() - (size - 1)).abs()
    by_tangent = _DEPTH / slope.clamp_min(1e-12)
    by_curve = math.sqrt(_DEPTH / (size - 1))
    left = (peak - by_tangent.clamp_max(by_curve)).clamp_min(floor)
    right = (peak + by_tangent.clamp_max(1.2 * by_curve + _DEPTH / (size - 1))).clamp_max(top)
    below = _log_integral(left, peak, energy, size)
    above = _log_integral(peak, right, energy, size)
    constant = -0.5 * size * _LOG_2PI - math.log(high - low)
    return torch.logaddexp(below, above) + constant


def _log_integral(start: Tensor, stop: Tensor, energy: Tensor, size: int) -> Tensor:
    """Return the log of the integral of exp(f(t)) from ``start`` to ``stop``, each ``(B,)``."""
    nodes, weights = (torch.from_numpy(a)[:, None] for a in np.polynomial.legendre.leggauss(_NODES))
    half = 0.5 * (stop - start)
    t = start + half * (nodes.to(start.device) + 1.0)
    terms = -(size - 1) * t - 0.5 * energy * (-2.0 * t).exp() + weights.to(start.device).log()
    return torch.logsumexp(terms, dim=0) + half.log()


def poisson_gaussian_log_density(
    noisy: Tensor, clean: Tensor, *, gain: float, read_noise: float
) -> Tensor:
    """Return the log density of photon counting plus normal read-out.

    The terms of the sum over k are log-concave; they are added over a window around the largest,
    ten standard deviations of its curvature and twelve electrons to either side.

    Args:
        noisy: ``(B, ...)`` noisy values.
        clean: Same shape, >= 0.
        gain: White levels per electron, > 0.
        read_noise: Standard deviation of the read-out in white levels, > 0.

    Returns:
        ``(B,)`` float64.

    Raises:
        ValueError: If ``read_noise`` is 0: the noisy values are then discrete and have no density.
    """
    if not read_noise > 0:
        raise ValueError(
            f"Poisson-Gaussian noise has a density only if read_noise > 0; it is {read_noise:g}."
        )
    # In units of electrons; the change of unit divides the density by the gain.
    observed = noisy.double().flatten() / gain
    expected = clean.double().flatten() / gain
    terms = _log_mixture(observed, expected, read_noise / gain).reshape(len(noisy), -1)
    return terms.sum(1) - terms.shape[1] * math.log(gain)


def _log_mixture(observed: Tensor, expected: Tensor, spread: float) -> Tensor:
    """Return log sum_k Poisson(k; expected) Normal(observed; k, spread^2) of each pixel."""
    mode = _likeliest_count(observed, expected, spread)
    width = (1.0 / (mode + 0.5) + 1.0 / spread**2).rsqrt()
    half = math.ceil(10.0 * float(width.max()) + 12.0)
    offsets = torch.arange(-half, half + 1, device=observed.device, dtype=torch.float64)
    step = max(1, _TERMS_AT_ONCE // len(offsets))
    sums = []
    for start in range(0, len(mode), step):
        part = slice(start, start + step)
        y, m = observed[part], expected[part]
        count = mode[part].round()[:, None] + offsets
        photons = torch.special.xlogy(count, m[:, None]) - m[:, None] - torch.lgamma(count + 1.0)
        readout = -0.5 * ((y[:, None] - count) / spread).square()
        terms = (photons + readout).masked_fill(count < 0, -math.inf)
        sums.append(torch.logsumexp(terms, dim=1))
    return torch.cat(sums) - math.log(spread) - 0.5 * _LOG_2PI


def _likeliest_count(observed: Tensor, expected: Tensor, spread: float) -> Tensor:
    """Return the number of electrons that explains a pixel best, by Newton's method.

    The slope of the log posterior, ln(expected) - ln(k + 1/2) + (observed - k) / spread^2, falls
    and is convex, so from the left of its root every step stays left of it and converges; a start
    to the right is thrown to the left by the first step.
    """
    log_expected = expected.clamp_min(1e-12).log()
    count = (0.5 * (observed + expected)).clamp_min(0.0)
    for _ in range(30):
        slope = log_expected - (count + 0.5).log() + (observed - count) / spread**2
        count = (count + slope / (1.0 / (count + 0.5) + 1.0 / spread**2)).clamp_min(0.0)
    return count
