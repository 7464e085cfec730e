"""Glow: a normalizing flow that knows how likely a clean photograph is.

An image x is mapped to a latent z of the same number of dimensions, all of it N(0, 1):

    log p(x) = log N(z; 0, 1) + log|det dz/dx|          nats, for x in units of white = 1

L levels; each squeezes pixels into channels (C to 4 C), takes K *steps* (ActNorm, invertible 1x1
convolution, affine coupling) and, but for the last, *splits*: one half ``h1`` goes on to the next
level, the other half ``h2`` becomes latent, standardised with a mean and a deviation that a small
network learns to predict from ``h1``:

    z2 = (h2 - mean(h1)) / deviation(h1)

Counting that standardisation as part of the flow makes the whole a bijection onto plain N(0, 1),
and undoing the squeezes gives the latent the shape of the image. So sampling with a temperature is:
draw an image of N(0, T^2), and invert.

Source: Kingma and Dhariwal 2018, "Glow: Generative Flow with Invertible 1x1 Convolutions", section
3 and table 1; split and multi-scale arrangement of Dinh et al. 2017 ("Real NVP", section 3.6).

Differs from the paper: the coupling's scale (:mod:`generators.flows.affine_coupling`); ActNorm and
1x1 convolution of a step are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from generators.checks import check_whole
from generators.flows.affine_coupling import AffineCoupling, ZeroConv
from generators.flows.bijection import Bijection
from generators.flows.pointwise import ActNorm, Invertible1x1, fold, fold_inverse
from generators.flows.recompute import Memory, run_chain
from generators.seeds import standard_normal
from generators.weights_file import load_network

__all__ = ["Glow", "GlowConfig", "GlowLevel", "GlowStep", "bits_per_dimension", "load_glow"]

GREY_STEPS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class GlowConfig:
    """The arrangement of a Glow.

    The defaults suit crops of 32 to 64 pixels on a processor; the prior of flow-based denoising is
    ``levels=4, steps=32, hidden=512``.

    Args:
        levels: L; H and W must be divisible by ``2**levels``.
        steps: K, steps a level.
        hidden: Width of the couplings' networks.
        channels: Of the images: 3 sRGB, 4 packed raw.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If a number is out of range.
    """

    levels: int = 3
    steps: int = 8
    hidden: int = 64
    channels: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("levels", "steps", "hidden", "channels"):
            check_whole(f"Glow's {name}", getattr(self, name))
        if self.levels > 6:
            raise ValueError(f"Glow's levels must be 1 to 6; got {self.levels}.")

    @property
    def multiple(self) -> int:
        """What height and width must be divisible by."""
        return 1 << self.levels

    def check_image(self, image: Tensor) -> None:
        """Refuse images that the levels cannot squeeze.

        Raises:
            ValueError: If they have not :attr:`channels` channels or a side does not divide.
        """
        shape, multiple = tuple(image.shape), self.multiple
        if (
            len(shape) != 4
            or shape[1] != self.channels
            or min(shape[2:]) < multiple
            or any(side % multiple for side in shape[2:])
        ):
            raise ValueError(
                f"Glow takes images (B, {self.channels}, H, W) with H and W divisible by "
                f"{multiple}, with {self.levels} levels; got shape {shape}. Crop or pad them."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON scalars."""
        return asdict(self)


class GlowStep(Bijection):
    """ActNorm, invertible 1x1 convolution and affine coupling.

    Args:
        channels: C, even.
        hidden: Width of the coupling's network.
        seed: Seed of the initial weights.
        precision: Of the coupling's convolutions.
    """

    def __init__(
        self, channels: int, hidden: int, *, seed: int, precision: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.mix = Invertible1x1(channels, seed=seed)
        self.coupling = AffineCoupling(channels, hidden, seed=seed, precision=precision)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`."""
        mix = fold([self.actnorm, self.mix])
        z, ladj = self.coupling(mix(x), context)
        return z, ladj + mix.ladj * (x.shape[2] * x.shape[3])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`."""
        mix = fold_inverse([self.actnorm, self.mix])
        x, ladj = self.coupling.inverse(z, context)
        return mix(x), ladj + mix.ladj * (x.shape[2] * x.shape[3])

    @torch.no_grad()
    def initialise(self, x: Tensor) -> Tensor:
        """Set every ActNorm from the first batch and return what leaves."""
        self.actnorm.initialise(x)
        self.coupling.initialise(fold([self.actnorm, self.mix])(x))
        z: Tensor = self(x, x)[0]
        return z


class GlowLevel(Bijection):
    """Squeeze, K steps, and what is left over becomes latent: one level and all below it.

    The latent has the shape of the data: the half that is split off, beside the latent of the
    levels below, squeezed back.

    Args:
        channels: C of the image that arrives.
        config: The whole arrangement.
        level: 0 for the first.
        precision: Of the convolutions.
        memory: Keep the steps' activations, or rebuild them from the inverse.
    """

    def __init__(
        self,
        channels: int,
        config: GlowConfig,
        level: int,
        *,
        precision: torch.dtype | None,
        memory: Memory,
    ) -> None:
        super().__init__()
        self.memory: Memory = memory
        wide = 4 * channels
        steps = nn.ModuleList(
            GlowStep(
                wide,
                config.hidden,
                seed=config.seed + 1000 * (level + 1) + step,
                precision=precision,
            )
            for step in range(config.steps)
        )
        self.steps = cast("Sequence[GlowStep]", steps)
        self.below: GlowLevel | None = None
        if level + 1 < config.levels:
            self.below = GlowLevel(wide // 2, config, level + 1, precision=precision, memory=memory)
            self.prior = ZeroConv(wide // 2, wide)
        else:
            self.top_mean = nn.Parameter(torch.zeros(wide))
            self.top_logs = nn.Parameter(torch.zeros(wide))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`."""
        h, total = run_chain(self.steps, pixel_unshuffle(x, 2), context, memory=self.memory)
        if self.below is None:
            mean, logs = self._top(h)
            return pixel_shuffle((h - mean) * torch.exp(-logs), 2), total - _summed(logs)
        h1, h2 = h.chunk(2, dim=1)
        mean, logs = self._split(h1)
        deep, ladj = self.below(h1, context)
        z = torch.cat([(h2 - mean) * torch.exp(-logs), deep], dim=1)
        return pixel_shuffle(z, 2), total + ladj - _summed(logs)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`."""
        h = pixel_unshuffle(z, 2)
        if self.below is None:
            mean, logs = self._top(h)
            h, total = h * torch.exp(logs) + mean, _summed(logs)
        else:
            z2, deep = h.chunk(2, dim=1)
            h1, total = self.below.inverse(deep, context)
            mean, logs = self._split(h1)
            h = torch.cat([h1, z2 * torch.exp(logs) + mean], dim=1)
            total = total + _summed(logs)
        h, ladj = run_chain(self.steps, h, context, direction="inverse", memory=self.memory)
        return pixel_shuffle(h, 2), total + ladj

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set every ActNorm of this level and those below from the first batch."""
        h = pixel_unshuffle(x, 2)
        for step in self.steps:
            h = step.initialise(h)
        if self.below is not None:
            self.below.initialise(h.chunk(2, dim=1)[0])

    def _split(self, h1: Tensor) -> tuple[Tensor, Tensor]:
        """Predict mean and log-deviation of the half that is split off."""
        raw = self.prior(h1)
        return raw[:, 0::2], raw[:, 1::2]

    def _top(self, h: Tensor) -> tuple[Tensor, Tensor]:
        logs = self.top_logs[:, None, None].expand_as(h)
        return self.top_mean[:, None, None], logs


class Glow(Bijection):
    """The flow: images in, latents of the same shape out; N(0, 1) where the image is likely.

    Args:
        config: Its arrangement.
        precision: Of the couplings' convolutions, e.g. ``torch.bfloat16``; ``None`` for the
            image's own. The flow's path and the density stay in the image's.
        memory: ``recompute`` rebuilds activations from the inverse when gradients are taken.
    """

    def __init__(
        self,
        config: GlowConfig,
        *,
        precision: torch.dtype | None = None,
        memory: Memory = "keep",
    ) -> None:
        super().__init__()
        self.config = config
        self.flow = GlowLevel(config.channels, config, 0, precision=precision, memory=memory)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map images ``(B, C, H, W)`` to latents of the same shape; ignores the context."""
        self.config.check_image(x)
        centred = (x - 0.5).contiguous(memory_format=torch.channels_last)
        z, ladj = self.flow(centred, context)
        return z, ladj

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latents ``(B, C, H, W)`` to images; ignores the context."""
        self.config.check_image(z)
        x, ladj = self.flow.inverse(z, context)
        return x + 0.5, ladj

    def log_prob(self, images: Tensor) -> Tensor:
        """Return the log-density of each image; differentiable in the image.

        Args:
            images: ``(B, C, H, W)``, white = 1.

        Returns:
            ``(B,)`` nats, of the density over images in these units.
        """
        z, ladj = self(images, images.detach())
        dimensions = z[0].numel()
        quadratic = z.square().sum(dim=(1, 2, 3))
        log_prob: Tensor = ladj - 0.5 * (quadratic + dimensions * math.log(2 * math.pi))
        return log_prob

    @torch.no_grad()
    def sample(
        self, seeds: Sequence[int], *, height: int, width: int, temperature: float = 1.0
    ) -> Tensor:
        """Draw images, one a seed.

        Args:
            seeds: One seed a row.
            height: H, divisible by the config's ``multiple``.
            width: W, likewise.
            temperature: Factor on the latent's deviation; 0.7 gives smoother pictures.

        Returns:
            ``(B, C, H, W)``, not clipped.
        """
        shape = (self.config.channels, height, width)
        z = standard_normal(seeds, shape, "glow") * temperature
        parameter = next(self.parameters())
        return self.inverse(z.to(parameter), z)[0]

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Set every ActNorm from the first training batch ``(B, C, H, W)``."""
        self.config.check_image(images)
        self.flow.initialise(images - 0.5)


def bits_per_dimension(log_prob: Tensor, dimensions: int) -> Tensor:
    """Turn a log-density of images in [0, 1] into bits a dimension of their 8-bit values.

    Args:
        log_prob: ``(B,)`` nats, of images spread evenly over their bin (:mod:`training
            <generators.glow.training>`).
        dimensions: Numbers of one image, C H W.

    Returns:
        ``(B,)`` bits; 8-bit values cost 8 where nothing is known.

    Example:
        >>> bits_per_dimension(torch.zeros(1), 12).round(decimals=2)
        tensor([7.9900])
    """
    return (math.log(GREY_STEPS) - log_prob / dimensions) / math.log(2)


def load_glow(path: Path, *, precision: torch.dtype | None = None) -> Glow:
    """Read a trained Glow, ready for use: evaluation mode, no gradients of its own.

    Args:
        path: Weights of family ``glow``.
        precision: As in :class:`Glow`.

    Raises:
        ValueError: If the file is damaged, of another family, or its tensors do not fit.
    """
    model = load_network(
        path,
        family="glow",
        build=lambda config: Glow(GlowConfig(**config), precision=precision),
    )
    return model.eval().requires_grad_(False)


def _summed(logs: Tensor) -> Tensor:
    return logs.sum(dim=(1, 2, 3))
