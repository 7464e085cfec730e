"""A denoiser that encodes with an invertible generator's network, and decodes a code drawn anew.

The network and its weights are the generator's; a weights file serves both. Called, such a denoiser
makes one estimate, with the same random numbers each time; several can be averaged
(:func:`denoisers.ensembles.monte_carlo`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from denoisers.base import DenoiserModule, check_draws

__all__ = ["InvertedDenoiser"]

Network = TypeVar("Network", bound=nn.Module)


class InvertedDenoiser(DenoiserModule, Generic[Network]):
    """What denoisers by an invertible network of sRGB images share; they set ``multiple``.

    Args:
        config: The network's arrangement.
        network: The network. A subclass names its parts as the generator does.
    """

    channels = 3

    def __init__(self, config: Any, network: Network) -> None:
        super().__init__()
        self.config = config
        # In a tuple torch does not see it: the state's names are the generator's, `layers.0...`.
        self._held = (network,)

    @abstractmethod
    def _mean(self, image: Tensor, seeds: Sequence[int], draws: int) -> Tensor:
        """Return the mean of the decodings of several codes, ``(B, 3, H, W)`` as ``image``."""

    def _estimate(self, image: Tensor) -> Tensor:
        return self._mean(image, [0] * len(image), 1)

    def draw(self, noisy: Tensor, seeds: Sequence[int], *, draws: int = 1) -> Tensor:
        """Return the mean of the decodings of several codes.

        Args:
            noisy: ``(B, 3, H, W)``.
            seeds: One a row; row i depends on row i and seed i only.
            draws: How many codes, >= 1; one is taken where none is drawn.

        Returns:
            Same shape and type, not clipped.

        Raises:
            ValueError: If the shape is another, or a number is wrong.
            TypeError: If ``noisy`` is not floating point.
        """
        image = self._padded(noisy)
        check_draws(noisy, seeds, draws, name=self.name)
        return self._mean(image, seeds, draws)[..., : noisy.shape[2], : noisy.shape[3]]
