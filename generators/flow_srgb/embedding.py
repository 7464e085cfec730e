"""Camera and ISO as one number: how strongly a coupling's scales follow the image.

A one-hot ISO and a one-hot camera pass a small residual network of width 5:

    h = W (iso | camera) + b
    h = h + W2 relu(norm(W1 relu(norm(h)) + b1)) + b2        three times
    e = w h + c

The norms are BatchNorm over the rows of a batch (eps 1e-3), so in training mode a row's number
depends on its neighbours; in evaluation mode it does not.

Source: Kousha et al. 2022, "Modeling sRGB Camera Noise with Normalizing Flows", section 4.2;
widths, eps and initial values as released.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, relu

from generators.seeds import uniform

__all__ = ["CaptureEmbedding", "ResidualBlock"]

WIDTH = 5
BLOCKS = 3
EPS = 1e-3
# A block's last layer starts as good as zero, so that the network starts as a linear one.
LAST_BOUND = 1e-3


class ResidualBlock(nn.Module):
    """Norm, ReLU, linear, twice, beside the input.

    Args:
        seed: Seed of the initial weights.
        stream: Name of the random stream.
    """

    def __init__(self, *, seed: int, stream: str) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH, eps=EPS) for _ in range(2))
        self.linears = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        first, last = cast("Sequence[nn.Linear]", self.linears)
        _draw(first, seed=seed, stream=f"{stream}-first", bound=WIDTH**-0.5)
        _draw(last, seed=seed, stream=f"{stream}-last", bound=LAST_BOUND)

    def forward(self, h: Tensor) -> Tensor:
        """Apply to ``(B, 5)``."""
        step = h
        for norm, linear in zip(self.norms, self.linears, strict=True):
            step = linear(relu(norm(step)))
        return h + step


class CaptureEmbedding(nn.Module):
    """One number a row, from its ISO and camera.

    Args:
        isos: How many ISO speeds there are.
        cameras: How many cameras there are.
        seed: Seed of the initial weights.
        stream: Name of the random stream.
    """

    def __init__(self, *, isos: int, cameras: int, seed: int, stream: str) -> None:
        super().__init__()
        self.isos, self.cameras = isos, cameras
        self.enter = nn.Linear(isos + cameras, WIDTH)
        self.blocks = nn.Sequential(
            *(ResidualBlock(seed=seed, stream=f"{stream}-{n}") for n in range(BLOCKS))
        )
        self.leave = nn.Linear(WIDTH, 1)
        _draw(self.enter, seed=seed, stream=f"{stream}-enter", bound=(isos + cameras) ** -0.5)
        _draw(self.leave, seed=seed, stream=f"{stream}-leave", bound=WIDTH**-0.5)

    def forward(self, iso: Tensor, camera: Tensor) -> Tensor:
        """Return each row's number.

        Args:
            iso: ``(B,)`` int64 index of each row's ISO.
            camera: ``(B,)`` int64 index of each row's camera.

        Returns:
            ``(B,)``.
        """
        hot = torch.cat([one_hot(iso, self.isos), one_hot(camera, self.cameras)], dim=1)
        h = self.enter(hot.to(self.enter.weight))
        number: Tensor = self.leave(self.blocks(h))[:, 0]
        return number


@torch.no_grad()
def _draw(linear: nn.Linear, *, seed: int, stream: str, bound: float) -> None:
    """Draw weight and bias uniformly within a bound."""
    for name, parameter in linear.named_parameters():
        drawn = uniform([seed], parameter.shape, f"{stream}-{name}", low=-bound, high=bound)
        parameter.copy_(drawn[0])
