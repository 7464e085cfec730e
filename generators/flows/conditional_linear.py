"""A scale and a bias a channel, of the row's own cell (camera and ISO).

For a row of cell k and channel c, at every pixel:

    z_c = x_c * exp(log_scale[k, c]) + bias[k, c]        log|det| = H W sum_c log_scale[k, c]

Alone, this layer makes noise Gaussian and independent, with one level a camera, ISO and channel; in
front of couplings it brings all cameras to one level, so that what follows is shared. With one
scale for all channels it is the isotropic baseline.

Source: Kousha et al. 2022, "Modeling sRGB Camera Noise with Normalizing Flows", section 4.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from generators.flows.bijection import Bijection

__all__ = ["ConditionalLinear"]


class ConditionalLinear(Bijection):
    """Per-channel scale and bias looked up by the row's cell.

    Args:
        cells: How many cells there are.
        channels: C.
        shared: One scale and bias for all channels of a cell.
    """

    def __init__(self, cells: int, channels: int, *, shared: bool = False) -> None:
        super().__init__()
        self.channels = channels
        shape = (cells, 1 if shared else channels)
        self.log_scale = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`.

        Args:
            x: ``(B, C, H, W)``.
            context: ``(B,)`` int64, the cell of each row.
        """
        log_scale, bias = self._of(context)
        z = x * log_scale.exp()[:, :, None, None] + bias[:, :, None, None]
        return z, _sum(log_scale, x)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; arguments as in :meth:`forward`."""
        log_scale, bias = self._of(context)
        x = (z - bias[:, :, None, None]) * torch.exp(-log_scale)[:, :, None, None]
        return x, -_sum(log_scale, z)

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor) -> None:
        """Bring the first batch to mean 0 and variance 1, each cell by itself.

        Cells that the batch does not hold start from the whole batch's mean and variance.

        Args:
            x: ``(B, C, H, W)``, the first training batch as it arrives at this layer.
            context: ``(B,)`` the cell of each row.
        """
        for cell in range(len(self.log_scale)):
            mine = x[context == cell]
            rows = mine if len(mine) else x
            dims = (0, 2, 3) if self.log_scale.shape[1] > 1 else (0, 1, 2, 3)
            mean, variance = rows.mean(dim=dims), rows.var(dim=dims, unbiased=False)
            scale = 1.0 / (variance.sqrt() + 1e-6)
            self.log_scale[cell] = scale.log()
            self.bias[cell] = -mean * scale

    def _of(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-scale and bias of each row, ``(B, C)``."""
        wide = (len(cells), self.channels)
        return self.log_scale[cells].expand(wide), self.bias[cells].expand(wide)


def _sum(log_scale: Tensor, image: Tensor) -> Tensor:
    return log_scale.sum(dim=1) * (image.shape[2] * image.shape[3])
