"""The unit of speed of the networks: one convolution, so that figures of machines compare.

One float32 contiguous ``conv2d`` of 64 to 64 channels, 3x3, padding 1, on 32x64x64x64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from generators.seeds import standard_normal

__all__ = ["unit"]


def unit(share: float) -> Callable[[], Tensor]:
    """Return one convolution, on a share of its rows."""
    image = standard_normal(range(max(1, round(32 * share))), (64, 64, 64), "unit")
    weight = 0.05 * standard_normal(range(64), (64, 3, 3), "unit-weight")
    bias = torch.zeros(64)

    def convolve() -> Tensor:
        with torch.inference_mode():
            return torch.conv2d(image, weight, bias, padding=1)

    return convolve
