"""Glow's affine coupling: half of the channels scale and shift the other half.

With channels split in halves ``x1 | x2`` and a small network NN,

    raw_t, raw_s = NN(x1);   s = sigmoid(raw_s + 2) + 0.001;   z = x1 | (x2 + raw_t) * s

so ``log|det| = sum(log s)``. NN is ``3x3 -> ReLU -> 1x1 -> ReLU -> 3x3``. Its two hidden layers are
followed by ActNorm; the last one starts at zero and is scaled by ``exp(3 logs)``, so a fresh
coupling multiplies by sigmoid(2) = 0.88.

Source: Kingma and Dhariwal 2018, "Glow", table 1 and section 3.3.

Differs from the paper: the scale is a bounded sigmoid, not exp(). With exp() a step that is only
slightly too long makes the inverse overflow; 0.001 keeps the inverse's factor below a thousand.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from generators.flows.bijection import Bijection
from generators.seeds import stream_rng

__all__ = ["AffineCoupling", "NormedConv", "ZeroConv"]

MIN_SCALE = 1e-3


class NormedConv(nn.Module):
    """A convolution followed by ActNorm, folded into one convolution.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Odd side of the kernel; the image keeps its size.
        seed: Seed of the initial weights, N(0, 0.05^2).
        stream: Name of their stream.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, seed: int, stream: str) -> None:
        super().__init__()
        shape = (outputs, inputs, kernel, kernel)
        weight = stream_rng(seed, stream).standard_normal(shape)
        self.weight = nn.Parameter(torch.from_numpy(0.05 * weight).float())
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.logs = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``(B, inputs, H, W)``, in the precision of ``x``."""
        scale = self.logs.exp()
        weight = self.weight * scale[:, None, None, None]
        return conv2d(x, weight.to(x), (self.bias * scale).to(x), padding="same")

    @torch.no_grad()
    def initialise(self, x: Tensor) -> Tensor:
        """Normalise the output on the first batch and return it."""
        y = conv2d(x, self.weight.to(x), padding="same").float()
        self.bias.copy_(-y.mean(dim=(0, 2, 3)))
        self.logs.copy_(-torch.log(y.var(dim=(0, 2, 3), unbiased=False).sqrt() + 1e-6))
        return self.forward(x)


class ZeroConv(nn.Module):
    """A 3x3 convolution that starts at zero, its output scaled by ``exp(3 logs)``.

    Args:
        inputs: Channels in.
        outputs: Channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.logs = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``(B, inputs, H, W)``, in the precision of ``x``."""
        scale = torch.exp(3.0 * self.logs)
        weight = self.weight * scale[:, None, None, None]
        return conv2d(x, weight.to(x), (self.bias * scale).to(x), padding=1)


class AffineCoupling(Bijection):
    """One half of the channels moved by what the other half says; needs no context.

    Args:
        channels: C, even.
        hidden: Width of the network.
        seed: Seed of the initial weights.
        precision: Of the network's convolutions; ``None`` for the image's own. The density is
            computed in the image's.

    Raises:
        ValueError: If the number of channels is odd.
    """

    def __init__(
        self, channels: int, hidden: int, *, seed: int, precision: torch.dtype | None = None
    ) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"a coupling needs an even number of channels; got {channels}.")
        self.split_at = channels // 2
        self.precision = precision
        self.enter = NormedConv(self.split_at, hidden, 3, seed=seed, stream="enter")
        self.middle = NormedConv(hidden, hidden, 1, seed=seed, stream="middle")
        self.leave = ZeroConv(hidden, channels)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`."""
        x1, x2 = x[:, : self.split_at], x[:, self.split_at :]
        shift, scale = self._shift_and_scale(x1)
        return torch.cat([x1, (x2 + shift) * scale], dim=1), scale.log().sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`."""
        z1, z2 = z[:, : self.split_at], z[:, self.split_at :]
        shift, scale = self._shift_and_scale(z1)
        return torch.cat([z1, z2 / scale - shift], dim=1), -scale.log().sum(dim=(1, 2, 3))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set the network's ActNorms from the first batch as it arrives here."""
        h = relu(self.enter.initialise(self._entering(x[:, : self.split_at])))
        self.middle.initialise(h)

    def _entering(self, half: Tensor) -> Tensor:
        return half if self.precision is None else half.to(self.precision)

    def _shift_and_scale(self, half: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network; even channels of its output shift, odd channels scale."""
        h = relu(self.middle(relu(self.enter(self._entering(half)))))
        raw = self.leave(h).to(half)
        return raw[:, 0::2], torch.sigmoid(raw[:, 1::2] + 2.0) + MIN_SCALE
