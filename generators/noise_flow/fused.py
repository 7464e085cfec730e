"""Noise Flow folded for sampling: the same map as the network's own, with fewer passes.

In evaluation mode each norm is part of the convolution before it, a 1x1 convolution is a 4x4 matrix
whose inverse is taken once, and a gain is a factor of the matrix beside it. Log-determinants are
left out: sampling needs none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from generators.flows.border_coupling import BorderCoupling
from generators.flows.fused_border import FoldedBorderNet, fold_border_net
from generators.flows.pointwise import Invertible1x1
from generators.flows.signal import Gain, Labels, SignalScale
from generators.noise_flow.network import CHANNELS, CLOCKWISE, NoiseFlow

__all__ = ["FoldedNoiseFlow"]

_Decoder = Callable[[Tensor, Tensor, Labels], Tensor]


class FoldedNoiseFlow:
    """A network's weights as sampling wants them; later changes to the network do not reach it.

    Args:
        model: The network; its device is this object's.
    """

    @torch.no_grad()
    def __init__(self, model: NoiseFlow) -> None:
        self._clockwise = model.config.packing == "clockwise"
        self._steps: list[_Step] = []
        pending: Tensor | None = None  # pointwise layers seen since the last other one
        for layer in reversed(model.layers):
            matrix = _matrix(layer)
            if matrix is not None:
                pending = matrix if pending is None else matrix @ pending
                continue
            if pending is not None:
                self._steps.append(_Mix(pending.float()))
            self._steps.append(_step(layer))
            pending = None
        if pending is not None:
            self._steps.append(_Mix(pending.float()))

    @torch.inference_mode()
    def at(self, size: tuple[int, int]) -> _Decoder:
        """Return the map from latents to noise for images of H and W.

        It takes latents ``(B, 4, H, W)`` float32, contiguous, and **writes to** them; clean images
        of the same shape, clipped to [0, 1]; and the labels of the B rows.
        """
        steps = [step.at(size) if isinstance(step, _Couple) else step for step in self._steps]

        @torch.inference_mode()
        def decode(z: Tensor, clean: Tensor, labels: Labels) -> Tensor:
            clean = clean.clamp(0.0, 1.0)
            if self._clockwise:
                clean = clean[:, CLOCKWISE]
            for step in steps:
                z = step(z, clean, labels)
            return z[:, CLOCKWISE] if self._clockwise else z

        return decode


@dataclass(frozen=True, slots=True)
class _Mix:
    """A 4x4 matrix at every pixel."""

    matrix: Tensor

    def __call__(self, x: Tensor, clean: Tensor, labels: Labels) -> Tensor:
        matrix = self.matrix.expand(len(x), -1, -1)
        return torch.bmm(matrix, x.view(*x.shape[:2], -1)).view(x.shape)


@dataclass(frozen=True, slots=True)
class _Couple:
    """An affine coupling, undone in place."""

    net: FoldedBorderNet
    scale: float
    passing: int
    outline: Tensor

    def at(self, size: tuple[int, int]) -> _Couple:
        return replace(self, outline=self.net.outline(size))

    def __call__(self, x: Tensor, clean: Tensor, labels: Labels) -> Tensor:
        x1 = x[:, self.passing :]
        shift, half = self.net(x[:, : self.passing], self.outline).chunk(2, dim=1)
        # The network gives 2 r: tanh(r) = 2 sigmoid(2 r) - 1 takes a third of tanh's time.
        log_scale = half.sigmoid_().mul_(-2.0 * self.scale).add_(self.scale)
        x1.sub_(shift).mul_(log_scale.exp_())
        return x


@dataclass(frozen=True, slots=True)
class _Signal:
    """The expected noise at each pixel, multiplied in place."""

    layer: SignalScale

    def __call__(self, x: Tensor, clean: Tensor, labels: Labels) -> Tensor:
        return x.mul_(self.layer.std(clean, labels))


_Step = _Mix | _Couple | _Signal


def _matrix(layer: object) -> Tensor | None:
    """Return the latent-to-data matrix of a layer that has one, float64."""
    if isinstance(layer, Invertible1x1):
        return layer.affine().to(torch.float64).inverse().matrix
    if isinstance(layer, Gain):
        scale = layer.log_scale.double().exp()
        return scale * torch.eye(CHANNELS, dtype=torch.float64, device=scale.device)
    return None


def _step(layer: object) -> _Couple | _Signal:
    if isinstance(layer, SignalScale):
        return _Signal(copy.deepcopy(layer))
    if not isinstance(layer, BorderCoupling):  # pragma: no cover - the network has no other layers
        raise TypeError(f"a layer of type {type(layer).__name__} cannot be folded.")
    net = fold_border_net(layer.net)
    kept = net.leave.shape[1] // 2
    for doubled in (net.leave[:, kept:], net.leave_bias[:, kept:], net.border[kept:]):
        doubled.mul_(2.0)
    return _Couple(net, float(layer.scale), layer.passing, net.leave_bias)
