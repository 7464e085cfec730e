"""Correlation of noise between neighbouring pixels and between colour channels.

Sensor noise is nearly white; demosaicing, denoising and JPEG in the camera spread it over
neighbours and channels. White noise therefore looks finer than real noise of the same strength.

    R(dy, dx) = mean of n(y, x) * n(y + dy, x + dx) / mean of n(y, x)**2

where n is the noise of one channel of one block minus its mean: the brightness offset of a badly
matched pair is no noise and would correlate everything with everything.

Source: the noise correlation maps of Lee et al. 2022, "AP-BSN".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.measure.metrics.base import Array, Floats, as_noise, same_convention

__all__ = ["ChannelCovariance", "CorrelationMap", "lag1_correlation", "map_distance"]

REACH = 5


@dataclass
class CorrelationMap:
    """The 2-D autocorrelation of noise, pooled over blocks by their energy.

    Args:
        reach: Largest offset in pixels; the map is ``(2 * reach + 1)`` square.
    """

    reach: int = REACH
    products: Floats = field(init=False)
    pairs: Floats = field(init=False)

    def __post_init__(self) -> None:
        side = 2 * self.reach + 1
        self.products, self.pairs = np.zeros((side, side)), np.zeros((side, side))

    def update(self, noise: Array) -> None:
        """Add one block of noise, ``(H, W)`` or ``(H, W, C)``.

        Raises:
            ValueError: If the block is not larger than ``reach``.
        """
        values = as_noise(noise)
        height, width = values.shape[:2]
        if min(height, width) <= self.reach:
            raise ValueError(
                f"a correlation map of reach {self.reach} needs more than {self.reach} pixels a "
                f"side; the block is {height}x{width}."
            )
        values = values - values.mean(axis=(0, 1))
        if self.reach > 2:
            self._add_all(values)
            return
        for dy in range(self.reach + 1):
            for dx in range(-self.reach if dy else 0, self.reach + 1):
                first = values[: height - dy, max(0, -dx) : width - max(0, dx)]
                second = values[dy:, max(0, dx) : width - max(0, -dx)]
                self._add(dy, dx, float(np.vdot(first, second)), first.size)

    def _add_all(self, values: Floats) -> None:
        """Add all offsets at once, by Fourier transform: half the time for blocks of 64x64.

        The zeros that are added, at least ``reach`` to a side, keep the ends apart.
        """
        planes = np.ascontiguousarray(values.transpose(2, 0, 1))
        channels, height, width = planes.shape
        sides = [-(-(length + self.reach) // 16) * 16 for length in (height, width)]
        waves = np.fft.rfft2(planes, s=sides)
        found = np.fft.irfft2((waves.real**2 + waves.imag**2).sum(axis=0), s=sides)
        offsets = np.arange(-self.reach, self.reach + 1)
        block = found[np.ix_(offsets, offsets)]
        # The mean with its mirror image: symmetric to the last bit, as the definition is.
        self.products += (block + block[::-1, ::-1]) / 2.0
        self.pairs += np.outer(height - abs(offsets), width - abs(offsets)) * channels

    def _add(self, dy: int, dx: int, product: float, pairs: int) -> None:
        # R(-dy, -dx) = R(dy, dx): half of the map is measured and mirrored.
        for y, x in {(dy, dx), (-dy, -dx)}:
            self.products[self.reach + y, self.reach + x] += product
            self.pairs[self.reach + y, self.reach + x] += pairs

    def merge(self, other: CorrelationMap) -> None:
        """Add the blocks of another map of the same reach."""
        same_convention(self.reach, other.reach, "a correlation map of reach")
        self.products += other.products
        self.pairs += other.pairs

    def result(self) -> Floats:
        """Return the map, 1 at its centre; not a number where there was no noise at all."""
        centre = self.products[self.reach, self.reach]
        if centre == 0.0:
            return np.full_like(self.products, np.nan)
        covariance: Floats = self.products / self.pairs
        normalised: Floats = covariance / covariance[self.reach, self.reach]
        return normalised


def lag1_correlation(noise: Array) -> tuple[float, float]:
    """Return the correlation of noise with its right and with its lower neighbour.

    Args:
        noise: ``(H, W)`` or ``(H, W, C)``, at least 2 pixels a side.

    Returns:
        Horizontal and vertical correlation in [-1, 1]; not a number where there is no noise.

    Example:
        >>> stripes = np.tile([1.0, -1.0], (8, 4))
        >>> lag1_correlation(stripes)
        (-1.0, 1.0)
    """
    measured = CorrelationMap(reach=1)
    measured.update(noise)
    found = measured.result()
    return float(found[1, 2]), float(found[2, 1])


def map_distance(first: Array, second: Array) -> float:
    """Return the root mean square difference of two correlation maps, the centre left out.

    Args:
        first: A map of :class:`CorrelationMap`.
        second: Another of the same reach.

    Returns:
        0 for equal maps; the centre is 1 in every map and says nothing.

    Raises:
        ValueError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"the maps have different reach: {first.shape} and {second.shape}.")
    off_centre = np.ones(first.shape, dtype=bool)
    off_centre[first.shape[0] // 2, first.shape[1] // 2] = False
    return float(np.sqrt(np.mean((first - second)[off_centre] ** 2)))


@dataclass
class ChannelCovariance:
    """Covariance of noise between colour channels, pooled over blocks.

    Args:
        channels: C, 3 for colour.
    """

    channels: int = 3
    products: Floats = field(init=False)
    pixels: int = 0

    def __post_init__(self) -> None:
        self.products = np.zeros((self.channels, self.channels))

    def update(self, noise: Array) -> None:
        """Add one block ``(H, W, C)``; each channel's mean is subtracted.

        Raises:
            ValueError: If the block has another number of channels.
        """
        values = as_noise(noise)
        if values.shape[2] != self.channels:
            raise ValueError(f"expected {self.channels} channels; the block has {values.shape[2]}.")
        flat = (values - values.mean(axis=(0, 1))).reshape(-1, self.channels)
        self.products += flat.T @ flat
        self.pixels += len(flat)

    def merge(self, other: ChannelCovariance) -> None:
        """Add the blocks of another with as many channels."""
        same_convention(self.channels, other.channels, "channel covariance with channels of")
        self.products += other.products
        self.pixels += other.pixels

    def result(self) -> Floats:
        """Return the ``(C, C)`` covariance in squared units of the noise."""
        return self.products / max(self.pixels, 1)

    def correlation(self) -> Floats:
        """Return the ``(C, C)`` correlation; 0 beside a channel without noise."""
        spread = np.sqrt(np.diag(self.products))
        scale = np.outer(spread, spread)
        correlation: Floats = np.zeros_like(scale)
        np.divide(self.products, scale, out=correlation, where=scale > 0)
        return correlation
