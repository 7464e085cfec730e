"""FINO: an invertible network whose latent has two parts, content and noise.

Two flow blocks, each a Haar step and K invertible blocks, take an image to 48 channels at a quarter
of its size. The first 36 are the *content code* z_c, the last 12 the *noise code* z_n (3 : 1):

    (z_c, z_n) = flow(image);    image = flow^-1(z_c, z_n)

Training (:mod:`generators.fino.losses`) makes the content codes of a clean image x and its noisy
partner y alike, so the codes can be exchanged:

    denoised = flow^-1(z_c of y, z_r)            z_r: the constant 0, or N(0, code_std^2)
    transfer = flow^-1(z_c of x', z_n of y)      the noise of y on any clean image x'

Source: "FINO: Flow-based Joint Image and Noise Model", eq. 1 and 3-7; 3,961,440 parameters with 12
couplings a block, as printed (3.96M).

Differs from the paper: the factor of eq. 1, ``phi2(l)``, may be zero or change its sign, so it need
not be invertible; ours is ``exp(s)`` with s within (-1, 1), as in InvDN. Eq. 2 as printed divides
by phi1 and does not undo eq. 1; ours is the true inverse, ``l = l' - phi1(h)``. The paper leaves
open how z_r is drawn: see ``code_std``. Blocks start as the identity, so that training starts from
a plain Haar transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from generators.checks import check_whole
from generators.flows.bijection import Bijection
from generators.flows.haar import Haar
from generators.flows.invertible_block import InvertibleBlock
from generators.flows.recompute import Memory, run_chain
from generators.seeds import standard_normal
from generators.weights_file import load_network

__all__ = ["Codes", "Fino", "FinoConfig", "denoise", "load_fino"]

LEVELS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FinoConfig:
    """The arrangement of a FINO; the defaults are the paper's.

    Args:
        blocks: K, invertible blocks behind each of the two Haar steps.
        hidden: Width of their subnetworks.
        noise_channels: Channels of the noise code, of 48.
        code_std: Standard deviation of z_r, the noise code of a denoised image; 0 is a constant.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If a number is out of range.
    """

    blocks: int = 12
    hidden: int = 64
    noise_channels: int = 12
    code_std: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("blocks", "hidden", "noise_channels"):
            check_whole(f"FINO's {name}", getattr(self, name))
        if self.noise_channels >= self.latent_channels:
            raise ValueError(
                f"FINO's noise code has 1 to {self.latent_channels - 1} of the latent's "
                f"{self.latent_channels} channels; noise_channels is {self.noise_channels}."
            )
        if not 0.0 <= self.code_std < float("inf"):
            raise ValueError(f"FINO's code_std must be finite and >= 0; it is {self.code_std!r}.")

    @property
    def latent_channels(self) -> int:
        """Channels of the latent: 48."""
        return 3 << (2 * LEVELS)

    @property
    def multiple(self) -> int:
        """What height and width must be divisible by: 4."""
        return 1 << LEVELS

    def check_image(self, image: Tensor, *, name: str = "image") -> None:
        """Refuse images that two Haar steps cannot take.

        Raises:
            ValueError: If they have not 3 channels or a side does not divide by 4.
        """
        shape = tuple(image.shape)
        if len(shape) != 4 or shape[1] != 3 or any(n % self.multiple or n < 1 for n in shape[2:]):
            raise ValueError(
                f"FINO takes images of 3 channels and sides divisible by {self.multiple}; {name} "
                f"has shape {shape}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON scalars."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Codes:
    """The two parts of a latent.

    Args:
        content: ``(B, 36, H / 4, W / 4)``.
        noise: ``(B, 12, H / 4, W / 4)``.
    """

    content: Tensor
    noise: Tensor


class Fino(Bijection):
    """The flow; ignores its context.

    Args:
        config: Its arrangement.
    """

    def __init__(self, config: FinoConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[Bijection] = []
        for level in range(LEVELS):
            channels = 3 << (2 * (level + 1))
            layers.append(Haar())
            for number in range(config.blocks):
                seed = config.seed + 1000 * (level + 1) + number
                block = InvertibleBlock(channels, 3, config.hidden, seed=seed)
                block.silence()
                layers.append(block)
        self.operations = cast("Sequence[Bijection]", nn.ModuleList(layers))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, 3, H, W)`` to ``(B, 48, H / 4, W / 4)``; see :class:`Bijection`."""
        return self._run(x, "forward", "keep")

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latents to images; see :class:`Bijection`."""
        return self._run(z, "inverse", "keep")

    def encode(self, images: Tensor, *, memory: Memory = "keep") -> Codes:
        """Return the codes of ``(B, 3, H, W)`` images, white = 1.

        Args:
            images: Clean or noisy.
            memory: ``recompute`` rebuilds activations when gradients are taken.
        """
        self.config.check_image(images)
        latent, _ = self._run(images, "forward", memory)
        at = self.config.latent_channels - self.config.noise_channels
        return Codes(latent[:, :at], latent[:, at:])

    def decode(self, codes: Codes, *, memory: Memory = "keep") -> Tensor:
        """Return the images ``(B, 3, H, W)`` of codes, which may come from different images."""
        latent = torch.cat([codes.content, codes.noise], dim=1)
        return self._run(latent, "inverse", memory)[0]

    def _run(self, x: Tensor, direction: Any, memory: Memory) -> tuple[Tensor, Tensor]:
        # Measured on 16x64x16x16, one thread, float32: convolutions are a tenth to a half faster.
        x = x.contiguous(memory_format=torch.channels_last)
        return run_chain(self.operations, x, x, direction=direction, memory=memory)


@torch.no_grad()
def denoise(
    model: Fino, noisy: Tensor, *, seeds: Sequence[int] | None = None, draws: int = 1
) -> Tensor:
    """Decode the content code of noisy images with a noise code that means none.

    Args:
        model: A trained network.
        noisy: ``(B, 3, H, W)``, sides divisible by 4.
        seeds: One seed a row, for networks trained with ``code_std`` > 0.
        draws: Noise codes drawn a row; the decoded images are averaged. One pass is made where
            ``code_std`` is 0, since all draws are the same.

    Returns:
        ``(B, 3, H, W)``, not clipped.

    Raises:
        ValueError: If ``draws`` is below 1, or seeds are needed and their number is not B.
    """
    if draws < 1:
        raise ValueError(f"draws must be a whole number >= 1; it is {draws!r}.")
    codes = model.encode(noisy)
    std = model.config.code_std
    if std == 0.0:
        return model.decode(Codes(codes.content, torch.zeros_like(codes.noise)))
    if seeds is None or len(seeds) != len(noisy):
        raise ValueError(
            f"this FINO draws its noise code (code_std {std:g}): give one seed a row, {len(noisy)}."
        )
    total = torch.zeros_like(noisy)
    for draw in range(draws):
        code = std * standard_normal(seeds, codes.noise.shape[1:], f"fino-code-{draw}")
        total += model.decode(Codes(codes.content, code.to(codes.noise)))
    return total / draws


def load_fino(path: Path) -> Fino:
    """Read a trained FINO, ready for use: evaluation mode, no gradients of its own.

    Raises:
        ValueError: If the file is damaged, of another family, or its tensors do not fit.
    """
    model = load_network(path, family="fino", build=lambda config: Fino(FinoConfig(**config)))
    return model.eval().requires_grad_(False)
