"""FINO as a denoiser: the content code of the noisy image, and a noise code that means no noise.

    estimate = flow^-1(content of noisy, z_r),   z_r: the constant 0, or N(0, code_std^2)

The network and its weights are the generator's (:mod:`generators.fino`); a weights file serves
both. It draws only if it was trained with ``code_std`` > 0, and then several draws can be averaged
(:func:`denoisers.ensembles.monte_carlo`).

Source: "FINO: Flow-based Joint Image and Noise Model", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from denoisers.base import DenoiserModule, check_draws, check_image, mirrored
from generators.fino.network import Codes, Fino, FinoConfig, load_fino
from generators.seeds import standard_normal

__all__ = ["FinoDenoiser"]


class FinoDenoiser(DenoiserModule):
    """FINO: the content code of the noisy image, and a noise code that means no noise.

    Images of other sizes are mirrored out to its multiple.

    Args:
        config: The network's arrangement.
        network: A network of that arrangement to use; a fresh one unless given.
    """

    name = "fino"
    channels = 3
    config_type: ClassVar = FinoConfig

    def __init__(self, config: FinoConfig, network: Fino | None = None) -> None:
        super().__init__()
        self.config = config
        self.multiple = config.multiple
        network = Fino(config) if network is None else network
        # In a tuple torch does not see it: the state's names are the generator's, `operations.0...`
        self._held = (network,)
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

    def forward(self, noisy: Tensor) -> Tensor:
        """Return one estimate of the clean image; a drawn noise code is the same for each row.

        Args:
            noisy: ``(B, 3, H, W)``, white level 1.

        Returns:
            Same shape and type, not clipped.

        Raises:
            ValueError: If the shape is another.
            TypeError: If ``noisy`` is not floating point.
        """
        return self.draw(noisy, [0] * len(noisy))

    def draw(self, noisy: Tensor, seeds: Sequence[int], *, draws: int = 1) -> Tensor:
        """Return the mean of the decodings of several noise codes.

        Args:
            noisy: ``(B, 3, H, W)``.
            seeds: One a row; row i depends on row i and seed i only.
            draws: How many codes, >= 1; one is taken where they are all 0.

        Returns:
            Same shape and type, not clipped.

        Raises:
            ValueError: If the shape is another, or a number is wrong.
            TypeError: If ``noisy`` is not floating point.
        """
        check_image(noisy, name=self.name, channels=self.channels)
        check_draws(noisy, seeds, draws, name=self.name)
        (network,) = self._held
        codes = network.encode(mirrored(noisy, self.multiple))
        decoded = [
            network.decode(Codes(codes.content, self._code(codes.noise, seeds, number)))
            for number in range(draws if self.stochastic else 1)
        ]
        estimate = torch.stack(decoded).mean(0).to(noisy.dtype)
        return estimate[..., : noisy.shape[2], : noisy.shape[3]]

    def _code(self, like: Tensor, seeds: Sequence[int], number: int) -> Tensor:
        """Return z_r number so and so."""
        if not self.stochastic:
            return torch.zeros_like(like)
        drawn = standard_normal(seeds, like.shape[1:], f"fino-code-{number}")
        return self.config.code_std * drawn.to(like)
