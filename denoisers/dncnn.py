"""DnCNN: a stack of 3x3 convolutions that predicts the noise.

    network(x) = conv_D . relu . norm . conv_(D-1) ... relu . norm . conv_2 . relu . conv_1
    estimate   = x - network(x)

D is the *depth* (convolutions), the *width* is the channels between them. Every project trains its
own arrangement; all of them are parameters here (``bias`` says which convolutions carry one):

    arrangement               depth  width  batch norm        bias             images
    KAIR, one level              17     64  merged into conv  all              grey
    DnCNN-PyTorch S (B)     17 (20)     64  eps 1e-5          none, clamped    grey
    Noise2NoiseFlow               9     64  eps 1e-5          first            packed raw
    Flow-sRGB                     9     32  eps 1e-5          first            colour
    NAFlow                       20     64  eps 1e-4          all              colour
    C2N S (B)               17 (20)     64  eps 1e-5          first-and-last   colour

Source: Zhang et al. 2017, "Beyond a Gaussian denoiser: residual learning of deep CNN for image
denoising", IEEE TIP 26(7).

Differs from the paper: convolutions in front of a batch norm have no bias unless asked for (the
norm subtracts it again). Initial weights are those of Noise2NoiseFlow's pretraining: orthogonal
kernels, norm weights N(0, 2 / (9 width)) clipped to 0.025; without norms, He's normal weights.

``residual_scale`` multiplies what the network predicts; the field's arrangements have 1. A network
without norms predicts values of order 1 at first and moves by the learning rate in every step, more
than mild camera noise is strong (4 of 255): it spends a short training on finding the scale. With a
scale near the noise's standard deviation it starts there. (Lim et al. 2017, "Enhanced deep residual
networks for single image super-resolution", CVPR workshops, scale each residual block.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from denoisers.base import DenoiserModule, PlainConfig
from generators.checks import check_choice
from generators.seeds import standard_normal

__all__ = ["DnCNN", "DnCNNConfig"]

Bias = Literal["all", "first", "first-and-last", "none"]
_BIASES = ("all", "first", "first-and-last", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class DnCNNConfig(PlainConfig):
    """The arrangement of a DnCNN; the defaults are Noise2NoiseFlow's.

    Args:
        channels: Of the images.
        depth: Convolutions, >= 2.
        width: Channels between them.
        batch_norm: Normalise after every convolution but the first and the last.
        bias: Which convolutions carry a bias.
        bn_eps: What the norms add to the variance.
        bn_momentum: Weight of a new batch in the norms' running statistics, as torch counts it.
        residual: The network predicts the noise; else it predicts the image.
        residual_scale: What the network's output is multiplied by, > 0; needs ``residual``.
        clamp: Clip the estimate to [0, 1].
        seed: Seed of the initial weights.

    Raises:
        ValueError: If a value is out of range.
    """

    channels: int
    depth: int = 9
    width: int = 64
    batch_norm: bool = True
    bias: Bias = "first"
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    residual: bool = True
    residual_scale: float = 1.0
    clamp: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("channels", 1), ("depth", 2), ("width", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{name} of a DnCNN must be an integer >= {low}; it is {value!r}.")
        check_choice("bias", self.bias, _BIASES)
        if not self.bn_eps > 0:
            raise ValueError(f"bn_eps must be > 0; it is {self.bn_eps!r}.")
        if not (self.residual_scale > 0 and math.isfinite(self.residual_scale)):
            raise ValueError(
                f"residual_scale must be finite and > 0; it is {self.residual_scale!r}."
            )
        if self.residual_scale != 1 and not self.residual:
            raise ValueError(
                f"residual_scale {self.residual_scale} needs residual: true; a network that "
                "predicts the image must reach white."
            )
        if not 0 < self.bn_momentum <= 1:
            raise ValueError(f"bn_momentum must be in (0, 1]; it is {self.bn_momentum!r}.")

    def has_bias(self, position: int) -> bool:
        """Return True if convolution ``position``, counted from 0, carries a bias."""
        first, last = position == 0, position == self.depth - 1
        return {
            "all": True,
            "first": first,
            "first-and-last": first or last,
            "none": False,
        }[self.bias]


class DnCNN(DenoiserModule):
    """DnCNN: a stack of 3x3 convolutions that predicts the noise.

    Images of any size keep their size.

    Args:
        config: The arrangement.

    Example:
        >>> from denoisers.dncnn import DnCNN, DnCNNConfig
        >>> sum(p.numel() for p in DnCNN(DnCNNConfig(channels=4)).parameters())
        263616
    """

    name = "dncnn"
    multiple = 1
    config_type: ClassVar = DnCNNConfig

    def __init__(self, config: DnCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        ends = [config.channels, *[config.width] * (config.depth - 1), config.channels]
        convs = [
            nn.Conv2d(ends[i], ends[i + 1], 3, padding=1, bias=config.has_bias(i))
            for i in range(config.depth)
        ]
        norms = [
            nn.BatchNorm2d(config.width, eps=config.bn_eps, momentum=config.bn_momentum)
            for _ in range(config.depth - 2 if config.batch_norm else 0)
        ]
        self.convs = cast("Sequence[nn.Conv2d]", nn.ModuleList(convs))
        self.norms = cast("Sequence[nn.BatchNorm2d]", nn.ModuleList(norms))
        self._draw()

    def _estimate(self, image: Tensor) -> Tensor:
        x: Tensor = relu(self.convs[0](image))
        for position in range(1, self.config.depth - 1):
            x = self.convs[position](x)
            if self.config.batch_norm:
                x = self.norms[position - 1](x)
            x = relu(x)
        x = self.convs[-1](x).to(image.dtype)
        if self.config.residual:
            x = torch.sub(image, x, alpha=self.config.residual_scale)
        return x.clamp(0.0, 1.0) if self.config.clamp else x

    @torch.no_grad()
    def _draw(self) -> None:
        seed = self.config.seed
        for position, conv in enumerate(self.convs):
            shape = conv.weight.shape
            weight = standard_normal([seed], shape, f"conv-{position}-weight")[0]
            if self.config.batch_norm:
                # Orthonormal rows, or columns where there are more rows than columns.
                flat = weight.flatten(1)
                tall = flat.T if flat.shape[0] < flat.shape[1] else flat
                q, r = torch.linalg.qr(tall)
                q = q * r.diagonal().sign()  # without the signs Q would not be uniform
                weight = (q.T if flat.shape[0] < flat.shape[1] else q).reshape(shape)
            else:
                weight = weight * (2.0 / shape[1:].numel()) ** 0.5
            conv.weight.copy_(weight)
            if conv.bias is not None:
                conv.bias.zero_()
        for position, norm in enumerate(self.norms):
            drawn = standard_normal([seed], norm.weight.shape, f"norm-{position}-weight")[0]
            scaled = drawn * (2.0 / (9 * self.config.width)) ** 0.5
            norm.weight.copy_(scaled.clamp(-0.025, 0.025))
