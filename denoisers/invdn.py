"""InvDN as a denoiser: the low-resolution part of the encoding, and a z drawn anew.

    estimate = decode(low(noisy), z),   z ~ N(0, 1)

The network and its weights are the generator's (:mod:`generators.invdn`); a weights file serves
both. Called, it makes one estimate, with the same z each time; the mean
of several (:func:`denoisers.ensembles.monte_carlo`) is a little better; the paper takes 16.

Source: Liu et al. 2021 (InvDN), sections 3.4 and 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from denoisers.base import DenoiserModule, check_draws, check_image, mirrored
from generators.invdn.network import InvDN, InvDNConfig
from generators.invdn.weights import load_invdn
from generators.seeds import standard_normal

__all__ = ["InvDNDenoiser"]


class InvDNDenoiser(DenoiserModule):
    """InvDN: the low-resolution part of the encoding, and a z drawn anew.

    Images of other sizes are mirrored out to its multiple.

    Args:
        config: The network's arrangement.
        network: A network of that arrangement to use; a fresh one unless given.
    """

    name = "invdn"
    channels = 3
    stochastic = True
    config_type: ClassVar = InvDNConfig

    def __init__(self, config: InvDNConfig, network: InvDN | None = None) -> None:
        super().__init__()
        self.config = config
        self.multiple = config.factor
        network = InvDN(config) if network is None else network
        # In a tuple torch does not see it: the state's names are the generator's, `layers.0...`.
        self._held = (network,)
        self.layers = network.layers

    @classmethod
    def from_weights(cls, path: Path) -> InvDNDenoiser:
        """Load a weights file of family ``invdn``; its prior of noise is not needed.

        Raises:
            ValueError: If the file is damaged or of another family.
        """
        network = load_invdn(path).model
        return cls(network.config, network)

    def forward(self, noisy: Tensor) -> Tensor:
        """Return one estimate of the clean image, with the same z for each row.

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
        """Return the mean of the decodings of several z.

        Args:
            noisy: ``(B, 3, H, W)``.
            seeds: One a row; row i depends on row i and seed i only.
            draws: How many z, >= 1.

        Returns:
            Same shape and type, not clipped.

        Raises:
            ValueError: If the shape is another, or a number is wrong.
            TypeError: If ``noisy`` is not floating point.
        """
        check_image(noisy, name=self.name, channels=self.channels)
        check_draws(noisy, seeds, draws, name=self.name)
        (network,) = self._held
        image = mirrored(noisy, self.multiple)
        encoded, _ = network.encode(image)
        low, shape = encoded[:, :3], encoded[0, 3:].shape
        total = torch.zeros_like(image)
        for number in range(draws):
            z = standard_normal(seeds, shape, f"denoise-{number}").to(encoded)
            decoded, _ = network.decode(torch.cat([low, z], dim=1))
            total = total + decoded
        estimate = (total / draws).to(noisy.dtype)
        return estimate[..., : noisy.shape[2], : noisy.shape[3]]
