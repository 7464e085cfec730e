"""AKLD: how far the local strength of generated noise is from that of real noise.

Both noises are taken for zero-mean Gaussians whose variance changes from pixel to pixel. With the
local variances V_r (real) and V_f (generated) and r = V_f / V_r,

    AKLD = mean over pixels and channels of (ln(1/r) + r - 1) / 2    = KL(generated || real), nats

The local variance is a 7x7 weighted mean of squared noise around the pixel. It has some 25
effective samples, so even two draws from one white Gaussian are not at 0 but near 0.04, and noise
with spatial correlation, which has fewer, is further away: compare generators with each other, and
with a second real shot where there is one.

Source: Yue et al. 2020, "Dual Adversarial Network" (DANet). The window is the fixed table
of DANet's program, not the sampled Gaussian of its text; r is clamped to [0.1, 10] as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.measure.metrics.base import Array, Floats, as_noise
from pipeline.measure.metrics.metric import NoiseBlock, NoiseMetric

__all__ = ["AkldMetric", "akld", "local_variance"]

WINDOW = np.array([1.0, 3.5, 7.0, 9.0, 7.0, 3.5, 1.0]) / 32.0
VARIANCE_FLOOR = 1e-10
RATIO_LIMITS = (0.1, 10.0)


def local_variance(noise: Array) -> Floats:
    """Return the weighted mean of squared noise around each pixel, floored at 1e-10.

    Args:
        noise: ``(H, W)`` or ``(H, W, C)`` in white levels; no mean is subtracted.

    Returns:
        ``(H, W, C)`` in squared white levels.

    Raises:
        ValueError: If the image is narrower than the 4 pixels that reflection needs.
    """
    squared = as_noise(noise) ** 2
    reach = len(WINDOW) // 2
    if min(squared.shape[:2]) <= reach:
        raise ValueError(f"AKLD needs at least {reach + 1} pixels a side; got {noise.shape}.")
    for axis in (0, 1):
        squared = _weighted_mean(squared, axis, reach)
    floored: Floats = np.maximum(squared, VARIANCE_FLOOR)
    return floored


def akld(real_noise: Array, fake_noise: Array) -> float:
    """Return the AKLD of one generated noise of one block, in nats.

    Args:
        real_noise: ``(H, W)`` or ``(H, W, C)`` in white levels.
        fake_noise: Generated noise of the same clean image, same shape.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> noise = np.ones((8, 8, 3)) * 0.02
        >>> akld(noise, noise), round(akld(noise, 0 * noise), 4)
        (0.0, 0.7013)
    """
    if real_noise.shape != fake_noise.shape:
        raise ValueError(
            f"AKLD compares pixel by pixel; real_noise is {real_noise.shape} and fake_noise is "
            f"{fake_noise.shape}."
        )
    return _divergence(local_variance(real_noise), local_variance(fake_noise))


@dataclass(frozen=True, slots=True)
class AkldMetric(NoiseMetric):
    """AKLD of each block, averaged over several generated noises.

    Args:
        samples: Generated noises a block; DANet takes 50, NAFlow 1.
    """

    samples: int = 1

    name = "akld"
    better = "lower"
    unit = "nats"
    skewed = True
    about = "7x7 local variances, ratio clamped to [0.1, 10], nats"

    @property
    def title(self) -> str:
        """See :class:`Metric`."""
        return f"akld (danet, {self.samples} sample{'s' if self.samples > 1 else ''})"

    def measure(self, block: NoiseBlock) -> float:
        """See :class:`NoiseMetric`.

        Raises:
            ValueError: If there are more or fewer noises than ``samples``.
        """
        if len(block.fakes) != self.samples:
            raise ValueError(
                f"each block needs {self.samples} generated noises; got {len(block.fakes)}."
            )
        return float(np.mean([akld(block.real, fake) for fake in block.fakes]))


def _weighted_mean(values: Floats, axis: int, reach: int) -> Floats:
    pads = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
    padded = np.moveaxis(np.pad(values, pads, mode="reflect"), axis, 0)
    length = values.shape[axis]
    total = sum(w * padded[i : i + length] for i, w in enumerate(WINDOW.tolist()))
    return np.moveaxis(np.asarray(total), 0, axis)


def _divergence(real: Floats, fake: Floats) -> float:
    ratio = np.clip(fake / real, *RATIO_LIMITS)
    return float(0.5 * np.mean(np.log(1.0 / ratio) + ratio - 1.0))
