"""NAFlow's conditional affine coupling: one step that sees the clean image, one that sees half.

With a condition image ``f`` and channels split in halves ``z1 | z2``, encoding divides and then
subtracts:

    z2 <- z2 / s(z1, f) - t(z1, f)        the coupling proper
    z  <- z / sF(f) - tF(f)               the injection: scale and shift from the condition alone

where every scale is ``sigmoid(raw + 2) + 0.001``, so it stays within (0.001, 1.001). Decoding runs
the two backwards. Source: Kim et al. 2024, "sRGB Real Noise Modeling via Noise-Aware Sampling with
Normalizing Flows" (NAFlow), eq. 4-6; the scale and the order are those of the released code, which
differ from the paper's exp().

The subnetworks read the condition through one 1x1 convolution each. All of them at one level read
the same image, so their first layers can be folded into one convolution, whose slices are prepared
once for both directions (:class:`Entered`). As a plain bijection a coupling enters by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from generators.flows.bijection import Bijection
from generators.seeds import stream_rng

__all__ = ["ConditionalCoupling", "ConvActNorm", "Entered", "Subnet"]

MIN_SCALE = 1e-3


class ConvActNorm(nn.Module):
    """1x1 convolution without bias followed by ActNorm, folded into one convolution.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        seed: Seed of the initial weights, N(0, 0.05^2).
    """

    def __init__(self, inputs: int, outputs: int, *, seed: int) -> None:
        super().__init__()
        weight = stream_rng(seed, "conv-actnorm").standard_normal((outputs, inputs))
        self.weight = nn.Parameter(torch.from_numpy(0.05 * weight).float())
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.logs = nn.Parameter(torch.zeros(outputs))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(out, in)`` and bias ``(out,)`` of the equivalent plain convolution."""
        scale = self.logs.exp()
        return self.weight * scale[:, None], self.bias * scale

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``(B, inputs, H, W)``."""
        weight, bias = self.folded()
        return _conv1x1(x, weight, bias)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> Tensor:
        """Normalise this layer's output on the first batch and return it."""
        y = _conv1x1(x, self.weight, None)
        self.bias.copy_(-y.mean(dim=(0, 2, 3)))
        self.logs.copy_(-torch.log(y.var(dim=(0, 2, 3), unbiased=False).sqrt() + 1e-6))
        return self.forward(x)


class Subnet(nn.Module):
    """The small network that predicts raw scales and shifts.

    ``1x1 -> ReLU -> x + [3x3 -> ReLU -> 1x1] -> 1x1``; the last layer starts at zero.

    Args:
        inputs: Channels in; the condition's come last.
        outputs: Channels out.
        hidden: Width.
        seed: Seed of the initial weights.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, *, seed: int) -> None:
        super().__init__()
        self.enter = ConvActNorm(inputs, hidden, seed=seed)
        self.spread = nn.Conv2d(hidden, hidden, 3, padding=1)
        spread = stream_rng(seed, "spread").standard_normal(self.spread.weight.shape)
        bound = (2.0 / (9 * hidden)) ** 0.5
        self.spread.weight.data = torch.from_numpy(bound * spread).float()
        _bias(self.spread).data.zero_()
        self.middle = ConvActNorm(hidden, hidden, seed=seed + 1)
        self.leave = nn.Conv2d(hidden, outputs, 1)
        self.leave.weight.data.zero_()
        _bias(self.leave).data.zero_()
        self.leave_logs = nn.Parameter(torch.zeros(outputs))

    def after_enter(self, entered: Tensor) -> Tensor:
        """Run everything behind the first convolution; ``entered`` is its output."""
        h = relu(entered)
        h = h + self.middle(relu(self._spread(h)))
        return self._leave(h)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``(B, inputs, H, W)``; returns ``(B, outputs, H, W)``."""
        return self.after_enter(self.enter(x))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> Tensor:
        """Initialise both ActNorms on the first batch and return the output."""
        h = relu(self.enter.initialise(x))
        h = h + self.middle.initialise(relu(self._spread(h)))
        return self._leave(h)

    def leave_layer(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(out, hidden)`` and bias ``(out,)`` of the scaled last layer."""
        # Output and weights scale alike: folding exp(3 logs) into the weights saves a pass over the
        # image.
        scale = torch.exp(3.0 * self.leave_logs)
        return self.leave.weight[:, :, 0, 0] * scale[:, None], _bias(self.leave) * scale

    def spread_layer(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(hidden, hidden, 3, 3)`` and bias of the 3x3 layer."""
        return self.spread.weight, _bias(self.spread)

    def _spread(self, h: Tensor) -> Tensor:
        weight, bias = self.spread_layer()
        return conv2d(h, weight.to(h), bias.to(h), padding=1)

    def _leave(self, h: Tensor) -> Tensor:
        # The result enters the density: bfloat16 ends here.
        y = _conv1x1(h, *self.leave_layer())
        return y.float() if y.dtype == torch.bfloat16 else y


@dataclass(frozen=True, slots=True)
class Entered:
    """What one coupling needs of the condition, computed once for both directions.

    Args:
        injected: ``(B, 2 C, H, W)`` output of the injection's subnetwork.
        beside: ``(B, hidden, H, W)`` the condition's part of the coupling's first convolution.
    """

    injected: Tensor
    beside: Tensor


class ConditionalCoupling(Bijection):
    """Affine coupling and affine injection, both conditioned on an image.

    :meth:`encode` and :meth:`decode` take a prepared condition, the bijection's own directions the
    condition image itself. The subnetworks run in the condition's precision.

    Args:
        channels: C, even.
        condition: Channels of the condition image.
        hidden: Width of the subnetworks.
        seed: Seed of the initial weights.
    """

    def __init__(self, channels: int, condition: int, hidden: int, *, seed: int) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"a coupling needs an even number of channels; got {channels}.")
        self.split_at = channels // 2
        self.couple = Subnet(self.split_at + condition, channels, hidden, seed=seed)
        self.inject = Subnet(condition, 2 * channels, hidden, seed=seed + 10)

    def enter_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias that take the condition into both subnetworks at once."""
        inject_weight, inject_bias = self.inject.enter.folded()
        couple_weight, couple_bias = self.couple.enter.folded()
        weight = torch.cat([inject_weight, couple_weight[:, self.split_at :]])
        return weight, torch.cat([inject_bias, couple_bias])

    def prepare(self, entered: Tensor) -> Entered:
        """Take this coupling's slice of the folded first convolution, ``(B, 2 hidden, H, W)``."""
        into, beside = entered.chunk(2, dim=1)
        return Entered(self.inject.after_enter(into), beside)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`."""
        return self.encode(x, self.enter(context))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`."""
        return self.decode(z, self.enter(context))

    def enter(self, condition: Tensor) -> Entered:
        """Take a condition image ``(B, condition, H, W)`` into both subnetworks."""
        return self.prepare(_conv1x1(condition, *self.enter_weights()))

    def encode(self, x: Tensor, entered: Entered) -> tuple[Tensor, Tensor]:
        """Encode ``(B, C, H, W)``; returns the result and log|det|, shape ``(B,)``, in nats."""
        x1, x2 = x[:, : self.split_at], x[:, self.split_at :]
        shift, scale = self._couple(x1, entered)
        z = torch.cat([x1, x2 / scale - shift], dim=1)
        shift_all, scale_all = _shift_and_scale(entered.injected)
        ladj = -(scale.log().sum(dim=(1, 2, 3)) + scale_all.log().sum(dim=(1, 2, 3)))
        return z / scale_all - shift_all, ladj

    def decode(self, z: Tensor, entered: Entered) -> tuple[Tensor, Tensor]:
        """Decode ``(B, C, H, W)``; returns the result and log|det|, shape ``(B,)``, in nats."""
        shift_all, scale_all = _shift_and_scale(entered.injected)
        z = (z + shift_all) * scale_all
        z1, z2 = z[:, : self.split_at], z[:, self.split_at :]
        shift, scale = self._couple(z1, entered)
        ladj = scale.log().sum(dim=(1, 2, 3)) + scale_all.log().sum(dim=(1, 2, 3))
        return torch.cat([z1, (z2 + shift) * scale], dim=1), ladj

    @torch.no_grad()
    def initialise(self, x: Tensor, condition: Tensor) -> Tensor:
        """Initialise all ActNorms on the first batch and return the encoded result."""
        self.couple.initialise(torch.cat([x[:, : self.split_at], condition], dim=1))
        self.inject.initialise(condition)
        return self.forward(x, condition)[0]

    def _couple(self, half: Tensor, entered: Entered) -> tuple[Tensor, Tensor]:
        weight, _ = self.couple.enter.folded()
        from_half = _conv1x1(half.to(entered.beside.dtype), weight[:, : self.split_at], None)
        return _shift_and_scale(self.couple.after_enter(from_half + entered.beside))


def _shift_and_scale(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Split a subnetwork's output: even channels shift, odd channels scale."""
    return raw[:, 0::2], torch.sigmoid(raw[:, 1::2] + 2.0) + MIN_SCALE


def _conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return conv2d(x, weight[:, :, None, None].to(x), None if bias is None else bias.to(x))


def _bias(conv: nn.Conv2d) -> Tensor:
    if conv.bias is None:  # pragma: no cover - every convolution here is built with one
        raise ValueError("a subnetwork's convolutions carry a bias.")
    return conv.bias
