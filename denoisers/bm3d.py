"""BM3D: similar blocks stacked, transformed together and shrunk; the classical yardstick.

For each block of the image its likes are sought nearby and stacked; in the transform of the stack
the picture is a few large numbers and the noise many small ones, which are cut (first pass) or
weighed by what the first pass left (second pass). There is nothing to train, but the noise level
must be known: it is given, or guessed (:mod:`denoisers.noise_level`), which is right for white
noise only.

The work is done by the authors' package ``bm3d``, which does not come with noisemill:

    pip install 'noisemill[bm3d]'

**Its licence allows non-commercial use only**, and asks that results name its authors.

Sources: Dabov et al. 2007, "Image denoising by sparse 3-D transform-domain collaborative
filtering", IEEE TIP 16(8); Mäkinen et al. 2020, "Collaborative filtering of correlated noise", IEEE
TIP 29 (the package, bm3d 4.0).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from denoisers.base import DenoiserModule, PlainConfig, mirrored
from denoisers.noise_level import estimate_sigma
from generators.checks import check_choice, check_number

__all__ = ["BM3D", "BM3DConfig"]

_PROFILES = ("np", "refilter", "vn", "high")
# Measured with bm3d 4.0.3 and bm4d 4.2.5: 8x8 ends the process, 9x9 and 8x64 do not.
_SMALLEST = 16
_FAINTEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class BM3DConfig(PlainConfig):
    """What BM3D is told.

    Args:
        channels: Of the images: 1 or 3; colour goes through the package's opponent transform.
        sigma: Noise level in white levels, > 0; ``None`` guesses each image's.
        profile: The package's settings: ``np`` (normal), ``refilter``, ``vn`` (much noise) or
            ``high``.

    Raises:
        ValueError: If a value is out of range.
    """

    channels: int = 3
    sigma: float | None = None
    profile: Literal["np", "refilter", "vn", "high"] = "np"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(
                f"BM3D takes grey images (1 channel) or colour (3); channels is {self.channels!r}."
            )
        if self.sigma is not None:
            check_number("sigma", self.sigma, low=0.0, high=1.0, open_low=True)
        check_choice("profile", self.profile, _PROFILES)


class BM3D(DenoiserModule):
    """BM3D: similar blocks stacked, transformed together and shrunk; the classical yardstick.

    It works on images of any size, each row by itself, on the CPU.

    Args:
        config: Channels and noise level.

    Raises:
        ImportError: If the package is not installed.
    """

    name = "bm3d"
    multiple = 1
    config_type: ClassVar = BM3DConfig
    trainable = False
    weights_family = None

    def __init__(self, config: BM3DConfig) -> None:
        super().__init__()
        if (reason := self.absent()) is not None:
            raise ImportError(f"denoiser 'bm3d' cannot be used: {reason}.")
        self.config = config
        self.channels = config.channels

    @classmethod
    def absent(cls) -> str | None:
        """Return why BM3D cannot be used here; ``None`` if it can."""
        if importlib.util.find_spec("bm3d") is not None:
            return None
        return (
            "its package is not installed: pip install 'noisemill[bm3d]' "
            "(licence: non-commercial use only)"
        )

    def with_sigma(self, sigma: float) -> BM3D:
        """Return BM3D for noise of one standard deviation, white levels."""
        return BM3D(replace(self.config, sigma=sigma))

    def with_channels(self, channels: int) -> BM3D:
        """Return BM3D for images of 1 or 3 channels."""
        return BM3D(replace(self.config, channels=channels))

    @torch.no_grad()
    def _estimate(self, image: Tensor) -> Tensor:
        return torch.stack([self._one(row) for row in image])

    def _one(self, image: Tensor) -> Tensor:
        import bm3d

        sigma = self.config.sigma
        if sigma is None:
            sigma = float(estimate_sigma(image[None]))
        if sigma < _FAINTEST:
            return image.clone()
        wide = image[None]
        if min(image.shape[1:]) < _SMALLEST:
            wide = mirrored(wide, _SMALLEST)
        pixels = wide[0].double().cpu().permute(1, 2, 0).numpy()
        profile = self.config.profile
        if self.channels == 3 and _has_colour(pixels):
            found = bm3d.bm3d_rgb(pixels, sigma, profile=profile)
        else:
            planes = [
                bm3d.bm3d(plane, sigma, profile=profile) for plane in np.moveaxis(pixels, 2, 0)
            ]
            found = np.stack(planes, axis=2)
        estimate = torch.from_numpy(np.ascontiguousarray(found.transpose(2, 0, 1))).to(image)
        return estimate[:, : image.shape[1], : image.shape[2]]


def _has_colour(pixels: NDArray[np.float64]) -> bool:
    """Return True if the package's colour transform can be undone.

    It divides by the range of the mean and of two differences of the channels, one of which is 0
    where a grey picture was stored as colour.
    """
    red, green, blue = np.moveaxis(pixels, 2, 0)
    opponents = (red + green + blue, red - blue, red - 2 * green + blue)
    return min(float(np.ptp(plane)) for plane in opponents) > 1e-6
