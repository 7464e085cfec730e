"""InvDN's network: Haar steps and invertible blocks, from a noisy image to a clean small one.

    encode   noisy (3, H, W)  ->  low resolution (3, H/4, W/4)  |  z (45, H/4, W/4)
    decode   the way back, exactly

Training makes the low-resolution part that of the *clean* image, so whatever noise there was is in
z together with the picture's fine detail; and it makes decoding the low-resolution part with a
*drawn* z give the clean image. Denoising therefore draws z anew, and making noise changes z a
little, or by as much as noise changes it (:mod:`generators.invdn.sampling`).

Each level is one Haar step and a run of blocks that couple the first 3 channels with the rest.

Source: Liu et al. 2021, "Invertible Denoising Network: A Light Solution for Real Noise Removal"
(CVPR), section 3; tested against conformance vectors of the released network.

Differs from the paper: the blocks' exponent is bounded (:mod:`generators.flows.invertible_block`).
Differs from the released network: Haar kernels are code, not 240 frozen parameters, so the
arrangement of 8 + 8 blocks has 2,640,960 parameters in place of 2,641,200.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from generators.flows.bijection import Bijection
from generators.flows.haar import Haar
from generators.flows.invertible_block import InvertibleBlock
from generators.flows.recompute import Memory, run_chain

__all__ = ["InvDN", "InvDNConfig", "channels_last"]

# Fine detail and noise of a photograph deviate by some 1/50 of white; z is to deviate by 1.
_STRETCH = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InvDNConfig:
    """The arrangement of an InvDN; the defaults are the paper's.

    Args:
        blocks: Invertible blocks of each level; one to three levels.
        hidden: Width of the blocks' subnetworks.
        start: ``upsampling`` begins with a low-resolution image of plain 4x4 means, and a z that
            decodes to next to nothing; ``random`` with torch's usual weights, as released, from
            which a drawn z decodes to values of tens.
        seed: Seed of the initial weights.

    Raises:
        ValueError: If a value is out of range.
    """

    blocks: tuple[int, ...] = (8, 8)
    hidden: int = 64
    start: Literal["upsampling", "random"] = "upsampling"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.blocks) <= 3 or min(self.blocks) < 1:
            raise ValueError(
                "blocks must be one to three whole numbers from 1 on, one a level, e.g. [8, 8]; "
                f"they are {list(self.blocks)}."
            )
        if self.hidden < 1:
            raise ValueError(f"hidden must be at least 1; it is {self.hidden}.")
        if self.start not in ("upsampling", "random"):
            raise ValueError(f"start must be 'upsampling' or 'random'; it is {self.start!r}.")

    @property
    def factor(self) -> int:
        """What the low-resolution image is smaller by; both sides must be divisible by it."""
        return 1 << len(self.blocks)

    @property
    def channels(self) -> int:
        """Channels of the encoded image: 3 low-resolution ones, then z."""
        return 3 << (2 * len(self.blocks))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InvDNConfig:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**values, "blocks": tuple(values["blocks"])})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON scalars and lists."""
        return {**asdict(self), "blocks": list(self.blocks)}


class InvDN(nn.Module):
    """The network.

    Args:
        config: Its arrangement.
    """

    def __init__(self, config: InvDNConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList()
        for level, blocks in enumerate(config.blocks, start=1):
            self.layers.append(Haar())
            for number in range(blocks):
                seed = config.seed + 1000 * level + number
                block = InvertibleBlock(3 << (2 * level), 3, config.hidden, seed=seed)
                if config.start == "upsampling":
                    last = level == len(config.blocks)
                    block.silence(exponent=min(0.9, _STRETCH / blocks) if last else 0.0)
                self.layers.append(block)

    @property
    def chain(self) -> Sequence[Bijection]:
        """The layers, first to last when encoding."""
        return cast("Sequence[Bijection]", self.layers)

    def encode(self, image: Tensor, *, memory: Memory = "keep") -> tuple[Tensor, Tensor]:
        """Map an image to its low-resolution part and z.

        Args:
            image: ``(B, 3, H, W)``, white level 1.
            memory: Whether training keeps activations or rebuilds them.

        Returns:
            ``(B, channels, H / factor, W / factor)`` and log|det|, ``(B,)``, in nats.

        Raises:
            ValueError: If the image has not 3 channels or a side that the levels do not divide.
        """
        self.check_image(image)
        return run_chain(self.chain, image, _no_context(image), memory=memory)

    def decode(self, encoded: Tensor, *, memory: Memory = "keep") -> tuple[Tensor, Tensor]:
        """Map low-resolution part and z back to an image; the inverse of :meth:`encode`."""
        context = _no_context(encoded)
        return run_chain(self.chain, encoded, context, direction="inverse", memory=memory)

    def check_image(self, image: Tensor) -> None:
        """Refuse an image that the levels cannot halve.

        Raises:
            ValueError: If it has not 3 channels or a side that the levels do not divide.
        """
        factor, shape = self.config.factor, tuple(image.shape)
        if len(shape) != 4 or shape[1] != 3 or shape[2] % factor or shape[3] % factor:
            raise ValueError(
                f"InvDN takes images of 3 channels and sides divisible by {factor}, with "
                f"{len(self.config.blocks)} levels; got shape {shape}."
            )


def channels_last(model: InvDN) -> InvDN:
    """Lay a network's weights out as fast convolutions want them; returns the same network."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def _no_context(image: Tensor) -> Tensor:
    return torch.empty(0, device=image.device)
