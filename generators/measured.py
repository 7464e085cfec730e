"""Noise read off a reference: the real noise itself, and white noise that is told the truth.

    real                     the reference's own noise, reference - reference_clean
    awgn-measured            Normal(0, s**2), s measured on the reference
    heteroscedastic-fitted   Normal(0, b1 * clean + b2), b1 and b2 fitted to the reference

``real`` makes a corpus of real pairs, the upper bound of every ranking. The other two are
baselines: a learned generator that sees a real reference must beat what can be read off it with one
number (its level) or two (a line through its variance).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators import exact
from generators.base import Domain, NoiseGenerator, NoiseRequest, NoiseSample
from generators.checks import check_choice
from generators.seeds import standard_normal

__all__ = ["FittedHeteroscedastic", "MeasuredAwgn", "RealNoise", "fit_noise_level"]

Array = NDArray[np.float64]


class RealNoise(NoiseGenerator):
    """The reference's own noise on the clean image: with real pairs, the real noisy image."""

    name = "real"
    revision = 1
    same_bits = True
    needs = frozenset({"reference"})

    def __init__(self, *, domain: Domain = "srgb") -> None:
        """Make the generator.

        Args:
            domain: ``srgb`` or ``raw``, of the images.

        Raises:
            ValueError: If the domain is neither.
        """
        check_choice("domain", domain, ("srgb", "raw"))
        self.accepts = self.gives = domain

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Add ``reference - reference_clean``; seeds play no part."""
        clean = request.context.clean
        return NoiseSample(
            clean=clean,
            noisy=clean + _real_noise(request),
            params=[{} for _ in range(len(clean))],
        )


class MeasuredAwgn(NoiseGenerator):
    """White Gaussian noise of each block's own measured level, the same in all channels."""

    name = "awgn-measured"
    revision = 2
    same_bits = True
    needs = frozenset({"reference"})

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Add white noise with the standard deviation of ``reference - reference_clean``."""
        clean, real = request.context.clean, _real_noise(request)
        levels = [float(row.std()) for row in real.double().numpy()]
        eps = standard_normal(request.seeds, clean.shape[1:], "noise")
        noisy = clean + eps * torch.tensor(levels, dtype=torch.float32)[:, None, None, None]
        return NoiseSample(clean=clean, noisy=noisy, params=[{"sigma": s} for s in levels])


class FittedHeteroscedastic(NoiseGenerator):
    """White Gaussian noise with variance ``b1 * clean + b2``, fitted to each block."""

    name = "heteroscedastic-fitted"
    revision = 2
    same_bits = True
    needs = frozenset({"reference"})

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Fit :func:`fit_noise_level` to the row's reference and sample from it."""
        clean, real = request.context.clean, _real_noise(request)
        fits = [
            fit_noise_level(c.double().numpy(), n.double().numpy())
            for c, n in zip(clean, real, strict=True)
        ]
        slope, floor = (
            torch.tensor(v, dtype=torch.float32)[:, None, None, None]
            for v in zip(*fits, strict=True)
        )
        eps = standard_normal(request.seeds, clean.shape[1:], "noise")
        noisy = clean + eps * exact.sqrt(slope * clean + floor)
        params = [{"beta1": b1, "beta2": b2} for b1, b2 in fits]
        return NoiseSample(clean=clean, noisy=noisy, params=params)


def fit_noise_level(clean: Array, noise: Array) -> tuple[float, float]:
    """Fit variance = b1 * clean + b2 with b1, b2 >= 0 by least squares on squared noise.

    Args:
        clean: Clean values in [0, 1], any shape.
        noise: Real noise in white levels, same shape; its mean is subtracted.

    Returns:
        ``(b1, b2)``.

    Example:
        >>> fit_noise_level(np.array([0.5, 0.5]), np.array([0.1, -0.1]))
        (0.0, 0.010000000000000002)
    """
    x = np.asarray(clean, dtype=np.float64).ravel()
    v = np.asarray(noise, dtype=np.float64).ravel()
    v = (v - v.mean()) ** 2
    spread = x.var()
    slope = float(np.mean((x - x.mean()) * (v - v.mean())) / spread) if spread > 1e-12 else 0.0
    floor = float(v.mean() - slope * x.mean())
    # Two variables: where the free minimum is not allowed, the best lies on the edge it left by.
    if slope < 0.0:
        return 0.0, float(v.mean())
    if floor < 0.0:
        return float(np.mean(x * v) / np.mean(x * x)), 0.0
    return slope, floor


def _real_noise(request: NoiseRequest) -> Tensor:
    reference, partner = request.pair
    return reference - partner
