"""The level of white noise in one image, from its finest detail.

The diagonal band of a wavelet transform of an image holds little of the picture and all of the
noise's level; its median is hardly moved by the few large values that edges leave there:

    sigma = median(|band|) / 0.6745        0.6745: the median of |N(0, 1)|

The wavelet is Daubechies' with two vanishing moments: its band is blind to constant and to sloping
parts of the picture.

Two limits. Noise that neighbouring pixels share, as in developed photographs, is weak in that
band, so its level comes out too low. Dense texture comes out as noise.

Source: Donoho and Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage", Biometrika
81(3), section 4.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from denoisers.base import mirrored

__all__ = ["estimate_sigma"]

_MEDIAN_OF_ABSOLUTE_NORMAL = 0.6744897501960817
_ROOT = math.sqrt(3.0)
_LOW = [1.0 + _ROOT, 3.0 + _ROOT, 3.0 - _ROOT, 1.0 - _ROOT]
_HIGH = [_LOW[3], -_LOW[2], _LOW[1], -_LOW[0]]


def estimate_sigma(noisy: Tensor) -> Tensor:
    """Estimate the standard deviation of white noise, the mean over channels.

    Args:
        noisy: ``(B, C, H, W)``, white level 1.

    Returns:
        ``(B,)`` white levels.

    Example:
        >>> from generators.seeds import standard_normal
        >>> noisy = 0.5 + 0.1 * standard_normal([0], (1, 256, 256), "noise")
        >>> bool((estimate_sigma(noisy) - 0.1).abs() < 0.002)
        True
    """
    high = torch.tensor(_HIGH, dtype=noisy.dtype, device=noisy.device) / (4.0 * math.sqrt(2.0))
    rows, channels = noisy.shape[:2]
    wide = mirrored(noisy.flatten(0, 1)[:, None], 4)
    band = conv2d(wide, torch.outer(high, high)[None, None], stride=2)
    level = band.abs().flatten(1).median(dim=1).values / _MEDIAN_OF_ABSOLUTE_NORMAL
    return level.reshape(rows, channels).mean(dim=1)
