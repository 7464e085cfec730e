"""How much of a noise is common to a row, generated against real."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.measure.metrics.metric import NoiseBlock, NoiseMetric

__all__ = ["RowShare"]


class RowShare(NoiseMetric):
    """Variance of the rows' means, as a share of the real noise's variance; their difference."""

    name = "row-share"
    better = "lower"
    about = "Difference in variance of the rows' means, as a share of the real noise's variance."

    def measure(self, block: NoiseBlock) -> float:
        """Return the difference of one block; not a number where the real noise is constant."""
        variance = float(np.var(block.real))
        if variance == 0:
            return float("nan")
        return abs(_of_rows(block.fakes[0]) - _of_rows(block.real)) / variance


def _of_rows(noise: NDArray[np.floating]) -> float:
    return float(np.var(noise.mean(axis=(1, 2))))
