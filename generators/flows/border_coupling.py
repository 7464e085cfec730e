"""Affine coupling with a very small network that knows where the image ends.

The channels are split in ``x0 | x1``; the first part passes, the second is scaled and shifted:

    h      = relu(norm(3x3(x0 | condition)));  h = relu(norm(1x1(h)))
    t | r  = 3x3(h | border) * exp(3 logs)
    z1     = x1 * exp(ls) + t,   ls = factor * scale * tanh(r)          log|det| = sum of ls

``border`` is one more channel, 1 on the ring of one pixel just outside the image and 0 inside: the
network sees the difference between a dark pixel and no pixel. A convolution of a channel that never
changes is a constant image, so it is added behind the others, as :func:`border_response`.

The norms are BatchNorm: batch statistics in training mode, running ones in evaluation. Rows are
independent of each other, and the layer a bijection row by row, in evaluation mode only.

Source: Abdelhamed et al. 2019, "Noise Flow", section 4.2, and Kousha et al. 2022, "Modeling sRGB
Camera Noise with Normalizing Flows", section 4.2 (condition and factor); network and initial values
as released.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu

from generators.flows.bijection import Bijection
from generators.seeds import stream_rng

__all__ = ["BorderCoupling", "BorderNet", "border_response"]

# Standard deviation of the first two convolutions' weights. So small an output is below the root of
# BatchNorm's eps: shifts and scales start quietly, even where the last layer has learnt something.
INITIAL_STD = 4 / 512 * 0.05
# Factor on tanh, before training.
INITIAL_SCALE = 1e-4


class BorderNet(nn.Module):
    """Three convolutions with the border channel.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        width: Channels between.
        seed: Seed of the initial weights; the last layer starts at zero.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 4, seed: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 3, padding=1)
        self.enter_norm = nn.BatchNorm2d(width)
        self.middle = nn.Conv2d(width, width, 1)
        self.middle_norm = nn.BatchNorm2d(width)
        self.leave = nn.Conv2d(width + 1, outputs, 3)
        self.leave_logs = nn.Parameter(torch.zeros(outputs))
        for name, conv in (("enter", self.enter), ("middle", self.middle)):
            drawn = stream_rng(seed, f"border-{name}").standard_normal(conv.weight.shape)
            conv.weight.data = torch.from_numpy(INITIAL_STD * drawn).float()
            _bias(conv).data.zero_()
        self.leave.weight.data.zero_()
        _bias(self.leave).data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        h = relu(self.enter_norm(self.enter(x)))
        h = relu(self.middle_norm(self.middle(h)))
        weight, bias = self.leave_layer()
        inner = conv2d(h, weight[:, :-1], bias, padding=1)
        return inner + border_response(weight[:, -1:], (x.shape[2], x.shape[3]))

    def leave_layer(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(outputs, width + 1, 3, 3)`` and bias of the scaled last layer."""
        # Output and weights scale alike: exp(3 logs) in the weights saves a pass over the image.
        factor = torch.exp(3.0 * self.leave_logs)
        return self.leave.weight * factor[:, None, None, None], _bias(self.leave) * factor


class BorderCoupling(Bijection):
    """Affine coupling whose network is a :class:`BorderNet`.

    Args:
        channels: C.
        passing: Channels that pass unchanged, the first ones; 1 to C - 1.
        condition: Channels of the context that the network sees beside them; 0 ignores the context.
        width: Channels inside the network.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If ``passing`` leaves nothing to one of the two parts.
    """

    def __init__(
        self, channels: int, *, passing: int, condition: int = 0, width: int = 4, seed: int
    ) -> None:
        super().__init__()
        if not 1 <= passing < channels:
            raise ValueError(
                f"a coupling of {channels} channels passes 1 to {channels - 1} of them; "
                f"got passing={passing}."
            )
        self.passing, self.condition = passing, condition
        self.net = BorderNet(passing + condition, 2 * (channels - passing), width=width, seed=seed)
        self.scale = nn.Parameter(torch.tensor([INITIAL_SCALE]))

    def forward(
        self, x: Tensor, context: Tensor, factor: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`.

        Args:
            x: ``(B, C, H, W)``.
            context: ``(B, condition, H, W)``, or anything where ``condition`` is 0.
            factor: ``(B,)`` each row's factor on the log-scales, e.g. of its camera; 1 if absent.
        """
        x0, x1 = x[:, : self.passing], x[:, self.passing :]
        shift, log_scale = self._shift_and_log_scale(x0, context, factor)
        z = torch.cat([x0, x1 * log_scale.exp() + shift], dim=1)
        return z, log_scale.sum(dim=(1, 2, 3))

    def inverse(
        self, z: Tensor, context: Tensor, factor: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map latent to data; arguments as in :meth:`forward`."""
        z0, z1 = z[:, : self.passing], z[:, self.passing :]
        shift, log_scale = self._shift_and_log_scale(z0, context, factor)
        x = torch.cat([z0, (z1 - shift) * torch.exp(-log_scale)], dim=1)
        return x, -log_scale.sum(dim=(1, 2, 3))

    def _shift_and_log_scale(
        self, passed: Tensor, context: Tensor, factor: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        seen = torch.cat([passed, context], dim=1) if self.condition else passed
        shift, raw = self.net(seen).chunk(2, dim=1)
        log_scale = self.scale * raw.tanh()
        return shift, log_scale if factor is None else factor[:, None, None, None] * log_scale


def border_response(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Return what a 3x3 convolution makes of the border channel.

    Args:
        weight: ``(N, 1, 3, 3)``, the border channel's part of the convolution.
        size: H and W of the image.

    Returns:
        ``(1, N, H, W)``; zero but for the outermost pixels.
    """
    inside = weight.new_zeros((1, 1, *size))
    return conv2d(pad(inside, (1, 1, 1, 1), value=1.0), weight)


def _bias(conv: nn.Conv2d) -> Tensor:
    if conv.bias is None:  # pragma: no cover - every convolution here is built with one
        raise ValueError("the network's convolutions carry a bias.")
    return conv.bias
