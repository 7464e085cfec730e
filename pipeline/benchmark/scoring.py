"""What a denoiser scores on the test places, and the crops of it that the report shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from denoisers.base import takes_level
from pipeline.benchmark.patches import PatchUnderTest
from pipeline.measure.metrics.base import Array
from pipeline.measure.metrics.quality import QualityConvention, psnr, ssim
from pipeline.pixels import to_nhwc, to_unit64, to_unit_nchw

__all__ = ["CONVENTION", "Tested", "restorer", "score_noisy", "score_places", "score_told"]

CONVENTION = QualityConvention.KAIR
_FAINTEST = 1e-4  # of the white level: less is no noise, and no level
# One grey level of one sample in a picture of 128x128 is 95 dB; equal pictures have no finite PSNR,
# and one of them, e.g. of a burnt-out sky, would make every mean infinite.
_EQUAL_DB = 100.0

Restore = Callable[[PatchUnderTest], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """Scores of one denoiser, one value a place, in their order.

    Args:
        psnr: dB; 100 where estimate and clean image are equal.
        ssim: At most 1.
        shown: Estimates of the places that were asked for, by index; stored type of the place.
    """

    psnr: list[float]
    ssim: list[float]
    shown: dict[int, Array]


def score_places(
    denoiser: nn.Module,
    places: Sequence[PatchUnderTest],
    *,
    device: torch.device,
    show: Sequence[int] = (),
) -> Tested:
    """Denoise every place and compare with its clean image.

    Args:
        denoiser: Images in [0, 1] in and out, in evaluation mode on ``device``.
        places: The test places.
        device: Where the network is.
        show: Indices of the places whose estimates are kept.
    """
    return _score(restorer(denoiser, device), places, show)


def score_noisy(places: Sequence[PatchUnderTest], *, show: Sequence[int] = ()) -> Tested:
    """Return the scores of doing nothing."""
    return _score(lambda place: place.noisy, places, show)


def score_told(
    denoiser: nn.Module, places: Sequence[PatchUnderTest], *, show: Sequence[int] = ()
) -> Tested:
    """Return the scores of a denoiser that is told each place's true noise level.

    Args:
        denoiser: One that takes a level (:func:`denoisers.base.takes_level`), on the CPU.
        places: The test places.
        show: As for :func:`score_places`.

    Raises:
        TypeError: If it takes none.
    """
    if not takes_level(denoiser):
        raise TypeError(f"{type(denoiser).__name__} takes no noise level; use score_places.")
    device = torch.device("cpu")

    def restore(place: PatchUnderTest) -> Array:
        told = denoiser.with_sigma(max(float(place.noise.std()), _FAINTEST))
        return restorer(told, device)(place)

    return _score(restore, places, show)


def restorer(denoiser: Callable[[Tensor], Tensor], device: torch.device) -> Restore:
    """Return what denoises one place: float in [0, 1], clipped, ``(H, W, C)``."""

    @torch.inference_mode()
    def restore(place: PatchUnderTest) -> Array:
        rows = to_unit_nchw(place.noisy)[None]
        estimate: Tensor = denoiser(rows.to(device, memory_format=torch.channels_last))
        return to_nhwc(estimate[0].float().clamp(0.0, 1.0))

    return restore


def _score(restore: Restore, places: Sequence[PatchUnderTest], show: Sequence[int]) -> Tested:
    tested = Tested([], [], {})
    for number, place in enumerate(places):
        clean = to_unit64(place.clean)
        estimate = to_unit64(restore(place))
        tested.psnr.append(min(psnr(clean, estimate, CONVENTION), _EQUAL_DB))
        tested.ssim.append(ssim(clean, estimate, CONVENTION))
        if number in show:
            tested.shown[number] = np.rint(np.clip(estimate, 0, 1) * 255).astype(np.uint8)
    return tested
