"""The power spectrum of noise: how its variance is shared out among fine and coarse grain.

    P(f) = |sum over pixels of n(x) exp(-2 pi i f x)|^2 / pixels

of the noise of one channel of one block minus its mean, averaged over rings of equal |f|, f in
cycles a pixel. White noise has P(f) = variance at all frequencies; the mean of P over all
frequencies is the variance, whatever the spectrum (Parseval). Demosaicing and denoising in the
camera take the high frequencies away. It is the Fourier transform of the correlation map, and shows
coarse grain that reaches beyond the map.

Source: Wiener-Khinchin theorem; the rings are the "radially averaged power spectrum" of the field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from pipeline.measure.metrics.base import Array, Floats, as_noise, same_convention

__all__ = ["RadialSpectrum", "Spectrum", "spectrum_distance"]

RINGS = 32
_HIGHEST = 0.5**0.5


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Power of noise against frequency.

    Args:
        frequency: ``(rings,)`` middle of each ring, cycles a pixel, up to 0.71 in the corners.
        power: ``(rings,)`` squared units of the noise; not a number in empty rings.
        samples: ``(rings,)`` how many coefficients each is a mean of.
    """

    frequency: Floats
    power: Floats
    samples: Floats


@dataclass
class RadialSpectrum:
    """The radially averaged power spectrum, pooled over blocks of any sizes.

    Args:
        rings: How many rings of equal width.
    """

    rings: int = RINGS
    sums: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros((2, self.rings))

    def update(self, noise: Array) -> None:
        """Add one block of noise, ``(H, W)`` or ``(H, W, C)``; each channel's mean is subtracted.

        The mean's own coefficient, 0 by that, is not counted.
        """
        values = as_noise(noise)
        height, width, channels = values.shape
        values = values - values.mean(axis=(0, 1))
        # Half of the plane, the other half being its mirror image; columns inside count twice.
        power = np.abs(np.fft.rfft2(values, axes=(0, 1))) ** 2
        ring, weight = _rings(height, width, self.rings)
        total = power.sum(axis=2).ravel() * weight / (height * width)
        self.sums[0] += np.bincount(ring, weights=weight, minlength=self.rings) * channels
        self.sums[1] += np.bincount(ring, weights=total, minlength=self.rings)

    def merge(self, other: RadialSpectrum) -> None:
        """Add the blocks of another with as many rings."""
        same_convention(self.rings, other.rings, "a power spectrum with rings of")
        self.sums += other.sums

    def result(self) -> Spectrum:
        """Return the spectrum."""
        count, total = self.sums
        power = np.full(self.rings, np.nan)
        np.divide(total, count, out=power, where=count > 0)
        middle = (np.arange(self.rings, dtype=np.float64) + 0.5) * (_HIGHEST / self.rings)
        return Spectrum(middle, power, count.copy())


def spectrum_distance(first: Spectrum, second: Spectrum) -> float:
    """Return how far apart two spectra are: root mean square of the difference in decibels.

    Args:
        first: A spectrum.
        second: Another with as many rings.

    Returns:
        0 for equal spectra; 3 where one has about twice the power of the other at all frequencies.
        Rings that either lacks, or where either has no power, are left out; the others
        count by the coefficients that ``first`` has in them.

    Raises:
        ValueError: If they have different rings.
    """
    if first.power.shape != second.power.shape:
        raise ValueError(
            f"the spectra have different rings: {len(first.power)} and {len(second.power)}."
        )
    both = (np.nan_to_num(first.power) > 0) & (np.nan_to_num(second.power) > 0)
    if not both.any():
        return float("nan")
    ratio = 10.0 * np.log10(first.power[both] / second.power[both])
    weight = first.samples[both] / first.samples[both].sum()
    return float(np.sqrt(np.sum(weight * ratio**2)))


@lru_cache(maxsize=8)
def _rings(height: int, width: int, rings: int) -> tuple[Array, Floats]:
    """Return the ring of each coefficient of the half plane, and how often it counts."""
    down, right = np.fft.fftfreq(height), np.fft.rfftfreq(width)
    radius = np.hypot(down[:, None], right[None, :])
    ring = np.minimum((radius / _HIGHEST * rings).astype(np.int64), rings - 1)
    weight = np.full(radius.shape, 2.0)
    weight[:, 0] = 1.0
    if width % 2 == 0:
        weight[:, -1] = 1.0
    weight[0, 0] = 0.0
    return ring.ravel(), weight.ravel()
