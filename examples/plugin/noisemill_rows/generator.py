"""Row noise: every row of the picture is lifted or lowered as a whole.

    y(i, j) = x(i, j) + sigma * z(i)

with x clean, z(i) a standard normal number of row i, and sigma in grey levels of 255.
"""

from __future__ import annotations

from generators.base import NoiseGenerator, NoiseRequest, NoiseSample
from generators.checks import check_number
from generators.seeds import standard_normal

__all__ = ["RowNoise"]


class RowNoise(NoiseGenerator):
    """One normal offset a row, as a read-out amplifier leaves.

    Args:
        sigma: Standard deviation of the offsets, grey levels of 255, > 0.

    Raises:
        ValueError: If ``sigma`` is out of range.
    """

    name = "rows"
    revision = 1

    def __init__(self, *, sigma: float) -> None:
        self._sigma = check_number("sigma", sigma, low=0.0, open_low=True)

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        clean = request.context.clean
        offsets = standard_normal(request.seeds, (1, clean.shape[2], 1), "rows")
        noisy = clean + (self._sigma / 255) * offsets
        return NoiseSample(
            clean=clean, noisy=noisy, params=[{"sigma": self._sigma}] * len(request.seeds)
        )
