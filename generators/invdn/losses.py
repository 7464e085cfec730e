"""InvDN's objective: the small image must be clean, and so must the image decoded from it.

With batch means over b and sums over a row's elements,

    forward     mean_b sum (lr - lr_target)^2                       lr_target: bicubic of the clean
    backward    mean_b sum sqrt((x - x_hat)^2 + 0.001)              x_hat: decoded with a drawn z
    gradient    mean |Sobel(x) - Sobel(x_hat)|, both directions added
    structure   mean of clamp((1 - SSIM) / 2, 0, 1), SSIM over 3x3 windows
    total       16 forward + backward + 0.1 gradient + structure

Source: Liu et al. 2021 (InvDN), eq. 5-7.

Differs from the paper, as the released code does: the last two terms exist (the paper found that
others "do not improve"); being means beside sums they hardly weigh. The backward term's 0.001 makes
it a square below a residual of 0.03, eight grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

__all__ = [
    "LossWeights",
    "backward_loss",
    "forward_loss",
    "gradient_loss",
    "structure_loss",
]

_ROUNDING = 1e-3
_C1, _C2 = 1e-4, 9e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of the four terms; the defaults are the released configuration's."""

    forward: float = 16.0
    backward: float = 1.0
    gradient: float = 0.1
    structure: float = 1.0


def forward_loss(low: Tensor, target: Tensor) -> Tensor:
    """Return the squared distance of two ``(B, C, h, w)`` images, summed over a row."""
    return (low - target).square().sum(dim=(1, 2, 3)).mean()


def backward_loss(clean: Tensor, decoded: Tensor) -> Tensor:
    """Return the rounded absolute distance of two ``(B, C, H, W)`` images, summed over a row."""
    return ((clean - decoded).square() + _ROUNDING).sqrt().sum(dim=(1, 2, 3)).mean()


def gradient_loss(clean: Tensor, decoded: Tensor) -> Tensor:
    """Return the mean distance of the images' Sobel derivatives, zeros beyond the border."""
    difference = clean - decoded
    rows, channels, height, width = difference.shape
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([across, across.T])[:, None].to(difference)
    # Sobel is linear: the derivative of the difference, in one pass.
    planes = difference.reshape(rows * channels, 1, height, width)
    derivatives = conv2d(planes, kernels, padding=1).abs()
    return derivatives.mean(dim=(0, 2, 3)).sum()


def structure_loss(clean: Tensor, decoded: Tensor) -> Tensor:
    """Return half of what SSIM lacks to 1, over 3x3 windows, mirrored beyond the border."""
    x, y = (pad(image, (1, 1, 1, 1), mode="reflect") for image in (clean, decoded))
    mean_x, mean_y = _windows(x), _windows(y)
    variance_x = _windows(x.square()) - mean_x.square()
    variance_y = _windows(y.square()) - mean_y.square()
    covariance = _windows(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    below = (mean_x.square() + mean_y.square() + _C1) * (variance_x + variance_y + _C2)
    return ((1 - above / below) / 2).clamp(0, 1).mean()


def _windows(image: Tensor) -> Tensor:
    return avg_pool2d(image, 3, stride=1)
