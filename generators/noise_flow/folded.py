"""Noise Flow folded for sampling: the same map as the network's own, with fewer passes.

In evaluation mode each norm is part of the convolution before it, a 1x1 convolution is a 4x4 matrix
whose inverse is taken once, and a gain is a factor of the matrix beside it. Log-determinants are
left out: sampling needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.flows.border_coupling import BorderCoupling, FoldedBorderNet
from generators.flows.pointwise import Invertible1x1
from generators.flows.signal import Gain, Labels, SignalScale
from generators.noise_flow.network import CHANNELS, CLOCKWISE, NoiseFlow

__all__ = ["FoldedNoiseFlow"]

_Step = Callable[[Tensor, Tensor, Labels], Tensor]


class FoldedNoiseFlow:
    """A network's weights as sampling wants them; later changes to the network do not reach it.

    Args:
        model: The network; its device is this object's.
    """

    @torch.no_grad()
    def __init__(self, model: NoiseFlow) -> None:
        self._clockwise = model.config.packing == "clockwise"
        self._steps: list[_Step] = []
        matrix = torch.eye(CHANNELS, dtype=torch.float64, device=next(model.parameters()).device)
        plain = True  # the matrix still is the identity
        for layer in reversed(model.layers):
            if isinstance(layer, Invertible1x1):
                matrix = torch.linalg.inv(layer.affine().matrix.double()) @ matrix
                plain = False
            elif isinstance(layer, Gain):
                matrix = layer.log_scale.double().exp() * matrix
                plain = False
            else:
                if not plain:
                    self._steps.append(_Mix(matrix.float()))
                matrix, plain = torch.eye(CHANNELS).to(matrix), True
                self._steps.append(_fold(layer))
        if not plain:
            self._steps.append(_Mix(matrix.float()))

    @torch.inference_mode()
    def decode(self, z: Tensor, clean: Tensor, labels: Labels) -> Tensor:
        """Map latents to noise.

        Args:
            z: ``(B, 4, H, W)`` float32, contiguous; **written to**.
            clean: Same shape; clipped to [0, 1].
            labels: Of the B rows.

        Returns:
            ``(B, 4, H, W)`` float32.
        """
        clean = clean.clamp(0.0, 1.0)
        if self._clockwise:
            clean = clean[:, CLOCKWISE]
        for step in self._steps:
            z = step(z, clean, labels)
        return z[:, CLOCKWISE] if self._clockwise else z


@dataclass(frozen=True, slots=True)
class _Mix:
    """A 4x4 matrix at every pixel."""

    matrix: Tensor

    def __call__(self, x: Tensor, clean: Tensor, labels: Labels) -> Tensor:
        return torch.matmul(self.matrix, x.view(*x.shape[:2], -1)).view(x.shape)


@dataclass(frozen=True, slots=True)
class _Couple:
    """An affine coupling, undone in place."""

    net: FoldedBorderNet
    scale: float
    passing: int

    def __call__(self, x: Tensor, clean: Tensor, labels: Labels) -> Tensor:
        x1 = x[:, self.passing :]
        shift, log_scale = self.net(x[:, : self.passing]).chunk(2, dim=1)
        x1.sub_(shift).mul_(log_scale.tanh_().mul_(-self.scale).exp_())
        return x


@dataclass(frozen=True, slots=True)
class _Signal:
    """The expected noise at each pixel, multiplied in place."""

    layer: SignalScale

    def __call__(self, x: Tensor, clean: Tensor, labels: Labels) -> Tensor:
        return x.mul_(self.layer.std(clean, labels))


def _fold(layer: object) -> _Step:
    if isinstance(layer, SignalScale):
        return _Signal(layer)
    if isinstance(layer, BorderCoupling):
        return _Couple(layer.net.folded(), float(layer.scale), layer.passing)
    raise TypeError(f"a layer of type {type(layer).__name__} cannot be folded.")
