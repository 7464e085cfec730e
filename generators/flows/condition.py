"""NAFlow's encoder of the clean image: linear, one feature image a level.

A 1x1 convolution lifts the clean image; each level then takes a 1x1 convolution and a squeeze. With
nothing but linear maps in between, every feature is one matrix away from the clean pixels it
covers, and :meth:`ConditionNet.folded` gives that matrix.

Source: Kim et al. 2024 (NAFlow), section 4.2; widths as released.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from generators.flows.pointwise import AffineMap
from generators.seeds import uniform

__all__ = ["ConditionNet", "draw_weights"]


class ConditionNet(nn.Module):
    """The clean image at every level: a 1x1 convolution, then (1x1, squeeze) a level, all linear.

    Args:
        channels: Width at each level.
        levels: L.
        seed: Seed of the initial weights.
    """

    def __init__(self, channels: int, levels: int, *, seed: int = 0) -> None:
        super().__init__()
        self.lift = nn.Conv2d(3, channels, 1)
        down = nn.ModuleList(nn.Conv2d(channels, channels // 4, 1) for _ in range(levels))
        self.down = cast("Sequence[nn.Conv2d]", down)
        for number, conv in enumerate([self.lift, *self.down]):
            draw_weights(conv, seed=seed, stream=f"condition-{number}")

    def forward(self, clean: Tensor) -> list[Tensor]:
        """Return one ``(B, channels, H / 2^l, W / 2^l)`` feature image a level, l = 1 .. L."""
        features: list[Tensor] = []
        # The lifted image (128 channels at full resolution) is only an intermediate of linear maps:
        # multiplying the two weight matrices first saves four fifths of this network's time.
        step = _affine(self.down[0]).after(_affine(self.lift))
        x = clean
        for level, conv in enumerate(self.down):
            if level:
                step = _affine(conv)
            x = pixel_unshuffle(step.to(x.dtype)(x), 2)
            features.append(x)
        return features

    def folded(self) -> list[AffineMap]:
        """Return the map from squeezed clean pixels to each level's features, in float64.

        Returns:
            Map l takes the ``3 * 4^l`` numbers of a pixel of the clean image squeezed l times to
            the ``channels`` features there. It is no bijection: its ``ladj`` means nothing.
        """
        maps: list[AffineMap] = []
        below = _affine(self.lift).to(torch.float64)
        for conv in self.down:
            below = _squeezed(_affine(conv).to(torch.float64).after(below))
            maps.append(below)
        return maps


@torch.no_grad()
def draw_weights(conv: nn.Conv2d, *, seed: int, stream: str) -> None:
    """Give a convolution torch's usual initial weights, drawn from a seed.

    Weight and bias are uniform within one over the root of the inputs, as torch draws them, but
    torch takes them from a global generator, and a training could not be made again.

    Args:
        conv: The convolution; written to.
        seed: The network's seed.
        stream: Name of the stream, one for each layer.
    """
    bound = conv.weight[0].numel() ** -0.5
    for name, parameter in conv.named_parameters():
        drawn = uniform([seed], parameter.shape, f"{stream}-{name}", low=-bound, high=bound)
        parameter.copy_(drawn[0])


def _squeezed(affine: AffineMap) -> AffineMap:
    """Return what a pixel's map is between squeezed images: itself, at each of four offsets."""
    matrix = torch.kron(affine.matrix, torch.eye(4).to(affine.matrix))
    return AffineMap(matrix, affine.offset.repeat_interleave(4), affine.ladj)


def _affine(conv: nn.Conv2d) -> AffineMap:
    if conv.bias is None:  # pragma: no cover - every convolution here is built with one
        raise ValueError("the condition network's convolutions carry a bias.")
    return AffineMap(conv.weight[:, :, 0, 0], conv.bias, conv.bias.sum())
