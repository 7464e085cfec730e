"""Invertible block of InvDN: three subnetworks couple a few channels with the rest.

With channels split into ``x1 | x2`` (InvDN: 3 | rest), data to latent:

    y1 = x1 + F(x2)
    s  = 2 sigmoid(H(y1)) - 1         so that s is within (-1, 1)
    y2 = x2 exp(s) + G(y1)            log|det| = sum of s

and back: ``x2 = (y2 - G(y1)) exp(-s)``, ``x1 = y1 - F(x2)``. One block stretches or shrinks by less
than e, so rounding grows by less than e a block: float32 is enough for the round trip of 16 blocks
of a trained network, and float64 is for proofs.

Source: Liu et al. 2021, "Invertible Denoising Network" (InvDN), eq. 3-4; the subnetwork is Xiao et
al. 2020 (IRN)'s dense idea with three convolutions.

Differs from the paper: the exponent is bounded as in the released network (the paper prints a plain
``exp``). The log-determinant is each row's own; the released code reports the mean over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

from generators.flows.bijection import Bijection
from generators.flows.condition import draw_weights
from generators.flows.recompute import Direction, Rebuilt

__all__ = ["ConcatSubnet", "InvertibleBlock"]

_SLOPE = 0.2


class ConcatSubnet(nn.Module):
    """``conv3x3 -> LeakyReLU -> conv3x3 -> LeakyReLU -> conv3x3 of [input, features]``.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        hidden: Width.
        seed: Seed of the initial weights: torch's usual ones.
        stream: Name of this subnetwork among those of one seed.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, *, seed: int, stream: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.conv3 = nn.Conv2d(inputs + hidden, outputs, 3, padding=1)
        for number, conv in enumerate((self.conv1, self.conv2, self.conv3), start=1):
            draw_weights(conv, seed=seed, stream=f"{stream}-conv{number}")

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``(B, inputs, H, W)``; the result has the type of ``x``, also in autocast."""
        # In place: its backward needs the result only, which the next convolution keeps anyway, so
        # training holds half as much.
        h = leaky_relu(self.conv1(x), _SLOPE, inplace=True)
        h = leaky_relu(self.conv2(h), _SLOPE, inplace=True)
        # A convolution of [x, h] is the sum of two. Joining the images would copy both, out of the
        # channels-last order as well: a fifth of the time of denoising.
        weight, inputs = self.conv3.weight, x.shape[1]
        of_x = conv2d(x, weight[:, :inputs], self.conv3.bias, padding=1)
        of_h = conv2d(h, weight[:, inputs:], padding=1)
        return of_x.to(x.dtype) + of_h.to(x.dtype)

    @torch.no_grad()
    def silence(self) -> None:
        """Set the last convolution to zero, so that the subnetwork returns zero."""
        self.conv3.weight.zero_()
        if self.conv3.bias is not None:
            self.conv3.bias.zero_()


class InvertibleBlock(Bijection):
    """One block; ignores its context.

    Args:
        channels: C.
        split: Channels of ``x1``, 1 to C - 1; 3 in InvDN.
        hidden: Width of the subnetworks.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If ``split`` leaves one side empty.
    """

    def __init__(self, channels: int, split: int = 3, hidden: int = 64, *, seed: int) -> None:
        super().__init__()
        if not 1 <= split < channels:
            raise ValueError(
                f"an invertible block of {channels} channels splits after 1 to {channels - 1} of "
                f"them; got {split}."
            )
        self.split = split
        rest = channels - split
        self.F = ConcatSubnet(rest, split, hidden, seed=seed, stream="F")
        self.G = ConcatSubnet(split, rest, hidden, seed=seed, stream="G")
        self.H = ConcatSubnet(split, rest, hidden, seed=seed, stream="H")

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`."""
        x1, x2 = x[:, : self.split], x[:, self.split :]
        y1 = x1 + self.F(x2)
        s = self.exponent(y1)
        return torch.cat([y1, x2 * s.exp() + self.G(y1)], dim=1), s.sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`."""
        y1, y2 = z[:, : self.split], z[:, self.split :]
        s = self.exponent(y1)
        x2 = (y2 - self.G(y1)) * (-s).exp()
        return torch.cat([y1 - self.F(x2), x2], dim=1), -s.sum(dim=(1, 2, 3))

    def exponent(self, y1: Tensor) -> Tensor:
        """Return s, ``(B, C - split, H, W)``, within (-1, 1)."""
        # 2 sigmoid(h) - 1 = tanh(h / 2), which does not cancel where h is small.
        return torch.tanh(0.5 * self.H(y1))

    def rebuild(
        self, z: Tensor, context: Tensor, grad_z: Tensor, grad_ladj: Tensor, direction: Direction
    ) -> Rebuilt:
        """Rebuild the input and backpropagate, each subnetwork run once.

        See :class:`~generators.flows.recompute.RebuildsItself`.
        """
        first, rest = z[:, : self.split].detach(), z[:, self.split :].detach()
        grads = (grad_z[:, : self.split], grad_z[:, self.split :], grad_ladj.view(-1, 1, 1, 1))
        if direction == "forward":
            return self._rebuild_data(first, rest, *grads)
        return self._rebuild_latent(first, rest, *grads)

    def _rebuild_data(
        self, y1: Tensor, y2: Tensor, grad_y1: Tensor, grad_y2: Tensor, grad_ladj: Tensor
    ) -> Rebuilt:
        with torch.enable_grad():
            y1.requires_grad_()
            s, shift = self.exponent(y1), self.G(y1)
        scale = s.detach().exp()
        x2 = (y2 - shift.detach()) / scale
        grad_s = grad_y2 * (x2 * scale) + grad_ladj
        weights = [*_trainable(self.G), *_trainable(self.H)]
        through_y1, *of_gh = torch.autograd.grad([shift, s], [y1, *weights], [grad_y2, grad_s])
        grad_x1 = grad_y1 + through_y1
        with torch.enable_grad():
            x2.requires_grad_()
            added = self.F(x2)
        through_x2, *of_f = torch.autograd.grad(added, [x2, *_trainable(self.F)], grad_x1)
        x = torch.cat([y1.detach() - added.detach(), x2.detach()], dim=1)
        grad_x = torch.cat([grad_x1, grad_y2 * scale + through_x2], dim=1)
        return Rebuilt(x, grad_x, [*of_f, *of_gh])

    def _rebuild_latent(
        self, x1: Tensor, x2: Tensor, grad_x1: Tensor, grad_x2: Tensor, grad_ladj: Tensor
    ) -> Rebuilt:
        with torch.enable_grad():
            x2.requires_grad_()
            added = self.F(x2)
        through_x2, *of_f = torch.autograd.grad(added, [x2, *_trainable(self.F)], -grad_x1)
        grad_x2, x2 = grad_x2 + through_x2, x2.detach()
        with torch.enable_grad():
            y1 = (x1 + added.detach()).requires_grad_()
            s, shift = self.exponent(y1), self.G(y1)
        scale = s.detach().exp()
        grad_y2 = grad_x2 / scale
        grad_s = -(grad_x2 * x2 + grad_ladj)
        weights = [*_trainable(self.G), *_trainable(self.H)]
        through_y1, *of_gh = torch.autograd.grad([shift, s], [y1, *weights], [-grad_y2, grad_s])
        z = torch.cat([y1.detach(), x2 * scale + shift.detach()], dim=1)
        return Rebuilt(z, torch.cat([grad_x1 + through_y1, grad_y2], dim=1), [*of_f, *of_gh])

    @torch.no_grad()
    def silence(self, *, exponent: float = 0.0) -> None:
        """Make the block the identity, but for a constant exponent.

        Args:
            exponent: s of every channel and pixel, within (-1, 1).
        """
        for subnet in (self.F, self.G, self.H):
            subnet.silence()
        if self.H.conv3.bias is not None:
            self.H.conv3.bias.fill_(2 * math.atanh(exponent))


def _trainable(subnet: nn.Module) -> Sequence[nn.Parameter]:
    return [parameter for parameter in subnet.parameters() if parameter.requires_grad]
