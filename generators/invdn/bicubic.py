"""Antialiased bicubic downscaling, as MATLAB's ``imresize`` does it.

Each output pixel is a weighted mean of the 4 s input pixels around its centre, in both directions;
the weights are Keys' cubic kernel with a = -1/2, stretched by the factor s,

    k(t) = 1.5 |t|^3 - 2.5 |t|^2 + 1               |t| <= 1
         = -0.5 |t|^3 + 2.5 |t|^2 - 4 |t| + 2      1 < |t| <= 2

and borders are mirrored with the edge pixel repeated. For s = 4 pixel i sees rows 4 i - 6 to
4 i + 9, so a crop that starts at a multiple of 4 has the whole picture's values but for
:func:`border` pixels on each side.

Source: Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 15.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

__all__ = ["border", "downscale"]


def downscale(image: Tensor, factor: int) -> Tensor:
    """Shrink an image; values are neither clipped nor rounded and may leave the input's range.

    Args:
        image: ``(B, C, H, W)``; H and W divisible by the factor.
        factor: s, even.

    Returns:
        ``(B, C, H / s, W / s)``.

    Raises:
        ValueError: If the factor is odd or does not divide a side.
    """
    rows, channels, height, width = image.shape
    if factor < 2 or factor % 2:
        raise ValueError(f"the factor must be an even number from 2 on; it is {factor}.")
    if height % factor or width % factor:
        raise ValueError(
            f"both sides must be divisible by {factor}; the image's shape is {tuple(image.shape)}."
        )
    weights = _weights(factor).to(image)
    x = image.reshape(rows * channels, 1, height, width)
    x = x.index_select(2, _mirrored(height, factor).to(x.device))
    x = conv2d(x, weights.view(1, 1, -1, 1), stride=(factor, 1))
    x = x.index_select(3, _mirrored(width, factor).to(x.device))
    x = conv2d(x, weights.view(1, 1, 1, -1), stride=(1, factor))
    return x.reshape(rows, channels, height // factor, width // factor)


def border(factor: int) -> int:
    """Return how many output pixels at each side of a crop see beyond it."""
    return -(-_reach(factor) // factor)


def _reach(factor: int) -> int:
    """Return how many input pixels beyond its own ``factor`` an output pixel sees on each side."""
    return 3 * factor // 2


def _weights(factor: int) -> Tensor:
    """Return the ``4 s`` weights, which sum to 1, in float64."""
    taps = torch.arange(4 * factor, dtype=torch.float64)
    t = ((taps - 2 * factor + 0.5) / factor).abs()
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weights = torch.where(t <= 1, near, far)
    return weights / weights.sum()


def _mirrored(size: int, factor: int) -> Tensor:
    """Return the indices of a side extended on both ends, the edge repeated, however short."""
    reach = _reach(factor)
    around = torch.arange(-reach, size + reach) % (2 * size)
    return torch.where(around < size, around, 2 * size - 1 - around)
