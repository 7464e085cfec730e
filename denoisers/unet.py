"""The U-Net of Noise2Noise with shared blocks, as Noise2NoiseFlow trains it.

All kernels are 3x3. The image is halved five times; on the way up each level is joined with what
the way down had at that size. ``down`` and ``rise`` are one set of weights each, used again at
every level (four and three times), so 28 tensors make a network of 22 convolutions:

    enter    conv C -> 48, conv 48 -> 48, halve                  -> level 1
    down     conv 48 -> 48, halve                    4 times     -> levels 2, 3, 4, 5
    bottom   conv 48 -> 48, double                               + level 4: 96 channels
    up       conv 96 -> 96, conv 96 -> 96, double                + level 3: 144 channels
    rise     conv 144 -> 96, conv 96 -> 96, double   3 times     + levels 2, 1, the image
    leave    conv 96 + C -> 64, conv 64 -> 32, conv 32 -> C

ReLU follows each convolution, LeakyReLU(0.1) the last; "halve" is a maximum over 2x2, "double" a
transposed convolution of stride 2 without activation. The network gives the image itself.

Source: Lehtinen et al. 2018, "Noise2Noise: learning image restoration without clean data" (ICML),
table 2 of the appendix.

Differs from the paper: shared blocks, and transposed convolutions in place of nearest-neighbour
doubling, both as in Noise2NoiseFlow's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from denoisers.base import DenoiserModule, PlainConfig
from generators.seeds import standard_normal

__all__ = ["UNet", "UNetConfig"]

_WIDTH = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig(PlainConfig):
    """The arrangement of a U-Net.

    Args:
        channels: Of the images.
        seed: Seed of the initial weights (He's normal; biases 0).

    Raises:
        ValueError: If ``channels`` is no positive integer.
    """

    channels: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.channels, int) or self.channels < 1:
            raise ValueError(f"channels of a U-Net must be an integer >= 1; got {self.channels!r}.")


class UNet(DenoiserModule):
    """The U-Net of Noise2Noise with shared blocks, as Noise2NoiseFlow trains it.

    It works on sides divisible by 32 and mirrors other images out to that.

    Args:
        config: The arrangement.

    Example:
        >>> from denoisers.unet import UNet, UNetConfig
        >>> sum(p.numel() for p in UNet(UNetConfig(channels=4)).parameters())
        701908
    """

    name = "unet"
    multiple = 32
    config_type: ClassVar = UNetConfig

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        c, w = config.channels, _WIDTH
        self.enter = nn.Sequential(*_conv(c, w), *_conv(w, w), nn.MaxPool2d(2))
        self.down = nn.Sequential(*_conv(w, w), nn.MaxPool2d(2))
        self.bottom = nn.Sequential(*_conv(w, w), _double(w))
        self.up = nn.Sequential(*_conv(2 * w, 2 * w), *_conv(2 * w, 2 * w), _double(2 * w))
        self.rise = nn.Sequential(*_conv(3 * w, 2 * w), *_conv(2 * w, 2 * w), _double(2 * w))
        last = nn.Conv2d(32, c, 3, padding=1)
        self.leave = nn.Sequential(*_conv(2 * w + c, 64), *_conv(64, 32), last, nn.LeakyReLU(0.1))
        self._draw()

    def _estimate(self, image: Tensor) -> Tensor:
        level1 = self.enter(image)
        level2 = self.down(level1)
        level3 = self.down(level2)
        level4 = self.down(level3)
        x = torch.cat([self.bottom(self.down(level4)), level4], dim=1)
        x = torch.cat([self.up(x), level3], dim=1)
        x = torch.cat([self.rise(x), level2], dim=1)
        x = torch.cat([self.rise(x), level1], dim=1)
        x = torch.cat([self.rise(x), image.to(x.dtype)], dim=1)
        estimate: Tensor = self.leave(x).to(image.dtype)
        return estimate

    @torch.no_grad()
    def _draw(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                parameter.zero_()
                continue
            drawn = standard_normal([self.config.seed], parameter.shape, name)[0]
            parameter.copy_(drawn * (2.0 / parameter[0].numel()) ** 0.5)


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()


def _double(width: int) -> nn.Module:
    return nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1)
