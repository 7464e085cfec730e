"""InvDN as a denoiser: the low-resolution part of the encoding, and a z drawn anew.

    estimate = decode(low(noisy), z),   z ~ N(0, 1)

The mean of several estimates (:func:`denoisers.ensembles.monte_carlo`) is a little better than one;
the paper takes 16.

Source: Liu et al. 2021 (InvDN), sections 3.4 and 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from denoisers.inverted import InvertedDenoiser
from generators.invdn.network import InvDN, InvDNConfig
from generators.invdn.weights import load_invdn
from generators.seeds import standard_normal

__all__ = ["InvDNDenoiser"]


class InvDNDenoiser(InvertedDenoiser[InvDN]):
    """InvDN: the low-resolution part of the encoding, and a z drawn anew.

    Images of other sizes are mirrored out to its multiple.

    Args:
        config: The network's arrangement.
        network: A network of that arrangement to use; a fresh one unless given.
    """

    name = "invdn"
    stochastic = True
    config_type: ClassVar = InvDNConfig

    def __init__(self, config: InvDNConfig, network: InvDN | None = None) -> None:
        network = InvDN(config) if network is None else network
        super().__init__(config, network)
        self.multiple = config.factor
        self.layers = network.layers

    @classmethod
    def from_weights(cls, path: Path) -> InvDNDenoiser:
        """Load a weights file of family ``invdn``; its prior of noise is not needed.

        Raises:
            ValueError: If the file is damaged or of another family.
        """
        network = load_invdn(path).model
        return cls(network.config, network)

    def _mean(self, image: Tensor, seeds: Sequence[int], draws: int) -> Tensor:
        (network,) = self._held
        encoded, _ = network.encode(image)
        low, shape = encoded[:, :3], encoded[0, 3:].shape
        total = torch.zeros_like(image)
        for number in range(draws):
            z = standard_normal(seeds, shape, f"denoise-{number}").to(encoded)
            decoded, _ = network.decode(torch.cat([low, z], dim=1))
            total = total + decoded
        return (total / draws).to(image.dtype)
