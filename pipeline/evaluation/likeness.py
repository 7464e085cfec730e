"""Likeness: whether generated noise is new, or the real noise of its block again."""

from __future__ import annotations

import numpy as np

from pipeline.measure.metrics.base import Floats

__all__ = ["LIKENESS", "likeness"]

LIKENESS = "likeness (correlation)"


def likeness(real: Floats, fake: Floats) -> float:
    """Return the correlation of two noises of one block, pixel by pixel.

    Args:
        real: Real noise, ``(H, W, C)``.
        fake: Generated noise, same shape.

    Returns:
        1 for a copy of any strength, near 0 for new noise; not a number where one has no variance.
        The mean of each channel is taken off, so that a brightness offset does not count.
    """
    first, second = (noise - noise.mean(axis=(0, 1)) for noise in (real, fake))
    power = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum()) / power if power > 0 else float("nan")
