"""FINO as a denoiser: the content code of the noisy image, and a noise code that means no noise.

    estimate = flow^-1(content of noisy, z_r),   z_r: the constant 0, or N(0, code_std^2)

It draws only if it was trained with ``code_std`` > 0; else a second estimate would be the first.

Source: "FINO: Flow-based Joint Image and Noise Model", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from denoisers.inverted import InvertedDenoiser
from generators.fino.network import Codes, Fino, FinoConfig, load_fino
from generators.seeds import standard_normal

__all__ = ["FinoDenoiser"]


class FinoDenoiser(InvertedDenoiser[Fino]):
    """FINO: the content code of the noisy image, and a noise code that means no noise.

    Images of other sizes are mirrored out to its multiple.

    Args:
        config: The network's arrangement.
        network: A network of that arrangement to use; a fresh one unless given.
    """

    name = "fino"
    config_type: ClassVar = FinoConfig
    config: FinoConfig

    def __init__(self, config: FinoConfig, network: Fino | None = None) -> None:
        network = Fino(config) if network is None else network
        super().__init__(config, network)
        self.multiple = config.multiple
        self.operations = network.operations

    @classmethod
    def from_weights(cls, path: Path) -> FinoDenoiser:
        """Load a weights file of family ``fino``.

        Raises:
            ValueError: If the file is damaged or of another family.
        """
        network = load_fino(path)
        return cls(network.config, network)

    @property
    def stochastic(self) -> bool:
        """Whether it draws its noise code."""
        return self.config.code_std > 0

    def _mean(self, image: Tensor, seeds: Sequence[int], draws: int) -> Tensor:
        (network,) = self._held
        codes = network.encode(image)
        decoded = [
            network.decode(Codes(codes.content, self._code(codes.noise, seeds, number)))
            for number in range(draws if self.stochastic else 1)
        ]
        return torch.stack(decoded).mean(0).to(image.dtype)

    def _code(self, like: Tensor, seeds: Sequence[int], number: int) -> Tensor:
        """Return z_r number so and so."""
        if not self.stochastic:
            return torch.zeros_like(like)
        drawn = standard_normal(seeds, like.shape[1:], f"fino-code-{number}")
        return self.config.code_std * drawn.to(like)
