"""A clean and a noisy image, and the noise between them: what every measurement begins with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.measure.metrics.base import Array, Floats
from pipeline.pixels import to_unit64, white_level

__all__ = ["ImagePair"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePair:
    """A clean and a noisy image.

    Args:
        clean: ``(H, W, C)`` uint8, uint16 or float32 in the range of its type.
        noisy: Same shape; same or another type.
    """

    clean: Array
    noisy: Array

    @property
    def noise(self) -> Floats:
        """``noisy - clean``, ``(H, W, C)`` float64 in white levels."""
        if self.clean.dtype != self.noisy.dtype:
            return to_unit64(self.noisy) - to_unit64(self.clean)
        # Whole grey levels are subtracted first, so that a stored difference is exact.
        noise: Floats = (self.noisy.astype(np.float64) - self.clean) / white_level(self.clean.dtype)
        return noise
