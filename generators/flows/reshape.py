"""Squeeze: trade a factor of two in each spatial direction for a factor of four in channels.

Output channel ``4 c + 2 dy + dx`` holds the pixels at row offset dy and column offset dx of channel
c. A permutation, so its log-determinant is zero.

Source: Dinh et al. 2017, "Density estimation using Real NVP", section 3.6.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from generators.flows.bijection import Bijection

__all__ = ["Squeeze"]


class Squeeze(Bijection):
    """``(B, C, H, W)`` to ``(B, 4 C, H / 2, W / 2)``; H and W must be even."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`."""
        return pixel_unshuffle(x, 2), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`."""
        return pixel_shuffle(z, 2), z.new_zeros(z.shape[0])
