"""The values of noise one by one: histogram, moments, and variance against brightness.

Photon noise grows with the light: the variance against the clean value is a line (raw images) or a
curve bent by gamma and tone curve (sRGB). White Gaussian noise is flat there. Skewness and excess
kurtosis are 0 for a Gaussian; clipping at black and white makes noise skewed, and denoising inside
the camera makes its tails heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.measure.metrics.base import Array, Floats, as_noise, same_convention

__all__ = ["MomentValues", "Moments", "NoiseHistogram", "VarianceByIntensity", "VarianceCurve"]


@dataclass
class NoiseHistogram:
    """A histogram of noise values with fixed edges.

    Args:
        edges: Increasing bin edges, in the noise's unit; the last bin includes its right edge.
    """

    edges: tuple[float, ...]
    counts: Floats = field(init=False)
    samples: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros(len(self.edges) - 1)

    def update(self, noise: Array) -> None:
        """Add one block; values outside the edges count as samples only."""
        values = as_noise(noise)
        self.counts += np.histogram(values, bins=np.array(self.edges))[0]
        self.samples += values.size

    def merge(self, other: NoiseHistogram) -> None:
        """Add the samples of another with the same edges."""
        same_convention(self.edges, other.edges, "a histogram with edges")
        self.counts += other.counts
        self.samples += other.samples

    def result(self) -> Floats:
        """Return the density per unit of noise; it integrates to the fraction inside the edges."""
        density: Floats = self.counts / np.diff(self.edges) / max(self.samples, 1)
        return density


@dataclass(frozen=True, slots=True)
class MomentValues:
    """Moments of noise; ``mean`` and ``std`` in the noise's unit, the others have none."""

    samples: int
    mean: float
    std: float
    skewness: float
    excess_kurtosis: float


@dataclass
class Moments:
    """Mean, standard deviation, skewness and excess kurtosis from sums of powers."""

    sums: Floats = field(default_factory=lambda: np.zeros(5))

    def update(self, noise: Array) -> None:
        """Add one block of noise."""
        values = as_noise(noise).ravel()
        square = values * values
        self.sums += np.array(
            [
                values.size,
                values.sum(),
                square.sum(),
                (square * values).sum(),
                (square * square).sum(),
            ]
        )

    def merge(self, other: Moments) -> None:
        """Add the samples of another."""
        self.sums += other.sums

    def result(self) -> MomentValues:
        """Return the moments; skewness and kurtosis are not numbers where the variance is 0."""
        count = self.sums[0]
        if count == 0:
            return MomentValues(0, *([float("nan")] * 4))
        m1, m2, m3, m4 = (self.sums[1:] / count).tolist()
        variance = max(m2 - m1**2, 0.0)
        third = m3 - 3 * m1 * m2 + 2 * m1**3
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        if variance <= 1e-30:
            return MomentValues(int(count), m1, 0.0, float("nan"), float("nan"))
        return MomentValues(
            int(count), m1, variance**0.5, third / variance**1.5, fourth / variance**2 - 3
        )


@dataclass(frozen=True, slots=True)
class VarianceCurve:
    """Variance of noise against the clean value.

    Args:
        intensity: ``(bins,)`` centres, white levels.
        variance: ``(bins,)`` squared units of the noise; not a number in empty bins.
        samples: ``(bins,)`` how many values each bin has.
    """

    intensity: Floats
    variance: Floats
    samples: Floats


@dataclass
class VarianceByIntensity:
    """Variance of noise in equal bins of the clean value over [0, 1].

    The mean of each bin is subtracted, so a pair's brightness offset adds nothing.
    """

    bins: int = 32
    sums: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros((3, self.bins))

    def update(self, noise: Array, clean: Array) -> None:
        """Add one block.

        Args:
            noise: ``(H, W)`` or ``(H, W, C)``.
            clean: The clean image in [0, 1], same shape.

        Raises:
            ValueError: If the shapes differ.
        """
        if noise.shape != clean.shape:
            raise ValueError(f"noise is {noise.shape} and clean is {clean.shape}.")
        values = as_noise(noise).ravel()
        level = np.clip(np.asarray(clean, dtype=np.float64).ravel(), 0.0, 1.0)
        place = np.minimum((level * self.bins).astype(np.int64), self.bins - 1)
        for row, weights in enumerate((np.ones_like(values), values, values * values)):
            self.sums[row] += np.bincount(place, weights=weights, minlength=self.bins)

    def merge(self, other: VarianceByIntensity) -> None:
        """Add the samples of another with as many bins."""
        same_convention(self.bins, other.bins, "variance by intensity with bins of")
        self.sums += other.sums

    def result(self) -> VarianceCurve:
        """Return the curve."""
        count, total, square = self.sums
        filled = count > 1
        safe = np.where(filled, count, 1.0)
        variance = np.where(filled, square / safe - (total / safe) ** 2, np.nan)
        centres = (np.arange(self.bins) + 0.5) / self.bins
        return VarianceCurve(centres, variance, count)
