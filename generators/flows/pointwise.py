"""Channel maps that act on every pixel alike: ActNorm and the invertible 1x1 convolution.

Both are affine in the channels of one pixel, ``z = W x + b``. A run of them is one matrix, so they
are *folded* before use: the released NAFlow passes its image through ten such maps one by one, ours
through four products. Log-determinants are exact for any height and width (the released Noise Flow
code multiplies by the squared width).

Notation: ``W = P L U`` with ``L`` unit lower triangular, ``U`` upper triangular with diagonal
``sign_s * exp(log_s)``; so ``log|det W| = sum(log_s)``.

Source: Kingma and Dhariwal 2018, "Glow", sections 3.1-3.2 and eq. 10-11.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from generators.flows.bijection import Bijection
from generators.seeds import stream_rng

__all__ = [
    "ActNorm",
    "AffineMap",
    "Invertible1x1",
    "Pointwise",
    "PointwiseRun",
    "fold",
    "fold_inverse",
]


@dataclass(frozen=True, slots=True)
class AffineMap:
    """One channel map ``W x + b`` with ``log|det W|`` of a single pixel, in nats.

    Args:
        matrix: ``(C, C)``.
        offset: ``(C,)``.
        ladj: Scalar tensor.
    """

    matrix: Tensor
    offset: Tensor
    ladj: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the map to ``(B, C, H, W)``."""
        return nn.functional.conv2d(x, self.matrix[:, :, None, None], self.offset)

    def after(self, first: AffineMap) -> AffineMap:
        """Return the map that applies ``first``, then this one."""
        return AffineMap(
            self.matrix @ first.matrix,
            self.matrix @ first.offset + self.offset,
            self.ladj + first.ladj,
        )

    def inverse(self) -> AffineMap:
        """Return the inverse, computed in float64: float32 LU loses three digits at C = 192."""
        wide = self.to(torch.float64)
        matrix = torch.linalg.inv(wide.matrix)
        return AffineMap(matrix, -(matrix @ wide.offset), -wide.ladj).to(self.matrix.dtype)

    def to(self, dtype: torch.dtype) -> AffineMap:
        """Return the map in another floating-point type."""
        return AffineMap(self.matrix.to(dtype), self.offset.to(dtype), self.ladj.to(dtype))


class Pointwise(Bijection):
    """A bijection that is one affine channel map at every pixel."""

    @abstractmethod
    def affine(self) -> AffineMap:
        """Return the data-to-latent map."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`."""
        return _apply(self.affine(), x)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`."""
        return _apply(self.affine().inverse(), z)


class ActNorm(Pointwise):
    """Per-channel shift and scale, ``z = (x + bias) * exp(logs)``.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.logs = nn.Parameter(torch.zeros(channels))

    def affine(self) -> AffineMap:
        """Return the diagonal map."""
        scale = self.logs.exp()
        return AffineMap(torch.diag(scale), self.bias * scale, self.logs.sum())

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set bias and scale so that this batch leaves with mean 0 and variance 1 a channel.

        Args:
            x: ``(B, C, H, W)``; the first training batch as it arrives at this layer.
        """
        mean = x.mean(dim=(0, 2, 3))
        variance = x.var(dim=(0, 2, 3), unbiased=False)
        self.bias.copy_(-mean)
        self.logs.copy_(-torch.log(variance.sqrt() + 1e-6))


class Invertible1x1(Pointwise):
    """Invertible 1x1 convolution, kept as its LU decomposition.

    Args:
        channels: C.
        seed: Seed of the random rotation it starts from.
    """

    permutation: Tensor
    sign_s: Tensor

    def __init__(self, channels: int, *, seed: int) -> None:
        super().__init__()
        gaussian = stream_rng(seed, "rotation").standard_normal((channels, channels))
        rotation = np.linalg.qr(gaussian)[0]
        p, lower, upper = torch.linalg.lu(torch.from_numpy(rotation))
        diagonal = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_s = nn.Parameter(diagonal.abs().log().float())
        self.register_buffer("permutation", p.float())
        self.register_buffer("sign_s", diagonal.sign().float())

    def affine(self) -> AffineMap:
        """Return ``P L U`` as a map without offset."""
        lower = self.lower.tril(-1) + torch.eye(len(self.log_s)).to(self.lower)
        upper = self.upper.triu(1) + torch.diag(self.sign_s * self.log_s.exp())
        matrix = self.permutation @ lower @ upper
        return AffineMap(matrix, torch.zeros_like(self.log_s), self.log_s.sum())


class PointwiseRun(Pointwise):
    """A run of pointwise layers as one layer: one product, however many there are.

    Args:
        layers: First to last; shared, not copied.
    """

    def __init__(self, layers: Sequence[Pointwise]) -> None:
        super().__init__()
        self.layers = cast("Sequence[Pointwise]", nn.ModuleList(layers))

    def affine(self) -> AffineMap:
        """Return the folded map."""
        return fold(self.layers)


def fold(layers: Sequence[Pointwise]) -> AffineMap:
    """Fold a run of pointwise layers, first to last, into one data-to-latent map.

    The product is taken in float64: matrices are small, and rounding it once keeps the folded map
    as close to the unfolded chain as one layer is.
    """
    maps = [layer.affine().to(torch.float64) for layer in layers]
    dtype = next(layers[0].parameters()).dtype
    return reduce(lambda first, then: then.after(first), maps).to(dtype)


def fold_inverse(layers: Sequence[Pointwise]) -> AffineMap:
    """Fold a run of pointwise layers into one latent-to-data map."""
    maps = [layer.affine().to(torch.float64) for layer in layers]
    dtype = next(layers[0].parameters()).dtype
    return reduce(lambda first, then: then.after(first), maps).inverse().to(dtype)


def _apply(affine: AffineMap, x: Tensor) -> tuple[Tensor, Tensor]:
    pixels = x.shape[2] * x.shape[3]
    return affine(x), (affine.ladj * pixels).expand(x.shape[0])
