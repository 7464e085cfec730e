"""Haar step: each 2x2 square of pixels becomes its mean and three differences.

With a square's pixels ``a b / c d`` the four bands of each channel are

    mean        (a + b + c + d) / 4
    horizontal  (a - b + c - d) / 4
    vertical    (a + b - c - d) / 4
    diagonal    (a - b - c + d) / 4

Channels come out band by band: all means, then all horizontal differences, and so on, so the first
C channels of the result are the image at half the size. The 4x4 matrix has determinant 1/16, so a
row of N numbers has log|det| = -(N / 4) ln 16.

Source: Liu et al. 2021, "Invertible Denoising Network" (InvDN), section 3.2; the scaling by 1/4
(an orthonormal Haar step divides by 2) is the released network's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from generators.flows.bijection import Bijection

__all__ = ["Haar"]


class Haar(Bijection):
    """``(B, C, H, W)`` to ``(B, 4 C, H / 2, W / 2)``; H and W must be even. No parameters."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`.

        Raises:
            ValueError: If a side is odd.
        """
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(
                f"a Haar step halves both sides, which must be even; got {tuple(x.shape)}."
            )
        top, bottom = x[:, :, 0::2], x[:, :, 1::2]
        # Sums of columns first: eight additions a square in place of twelve.
        left, right = (top + bottom)[..., 0::2], (top + bottom)[..., 1::2]
        falls_left, falls_right = (top - bottom)[..., 0::2], (top - bottom)[..., 1::2]
        z = torch.cat(
            [left + right, left - right, falls_left + falls_right, falls_left - falls_right], dim=1
        )
        return z * 0.25, _ladj(x)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`.

        Raises:
            ValueError: If the channels do not divide by 4.
        """
        if z.shape[1] % 4:
            raise ValueError(
                f"the inverse Haar step needs four bands a channel; got {z.shape[1]} channels."
            )
        mean, horizontal, vertical, diagonal = z.chunk(4, dim=1)
        left, right = mean + horizontal, mean - horizontal
        falls_left, falls_right = vertical + diagonal, vertical - diagonal
        corners = [left + falls_left, right + falls_right, left - falls_left, right - falls_right]
        return pixel_shuffle(torch.stack(corners, dim=2).flatten(1, 2), 2), -_ladj(z)


def _ladj(x: Tensor) -> Tensor:
    """Return the data-to-latent log-determinant of each row."""
    return x.new_full((x.shape[0],), -(x[0].numel() / 4) * math.log(16.0))
