"""The contract of every flow layer.

The forward direction always goes from data to latent, the inverse from latent to data. Each
direction returns the log-determinant of its *own* Jacobian, one number a row, in nats, so

    z, ladj = layer(x, context);  x', back = layer.inverse(z, context)
    x' == x   and   back == -ladj   (up to rounding)

A layer guarantees: both directions accept any batch, height and width that its channels allow; row
i of the result depends on row i of the input and of the context only; nothing is assigned on
``self``. It does not check that its input is finite.

Source: Dinh et al. 2017, "Density estimation using Real NVP", eq. 2-3; the contract is tested
against autograd, not against itself (tests/contracts/test_bijections.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

__all__ = ["Bijection"]


class Bijection(nn.Module, ABC):
    """An invertible map of images, given a context image that it may ignore."""

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Args:
            x: ``(B, C, H, W)``.
            context: ``(B, K, H, W)`` condition; layers that need none ignore it.

        Returns:
            The latent and log|det dz/dx|, shape ``(B,)``, in nats.
        """

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; returns the data and log|det dx/dz|, shape ``(B,)``, in nats."""
