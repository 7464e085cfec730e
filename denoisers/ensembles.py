"""Several estimates of one image, averaged: a little better than one, for as many times the work.

    flips         the image is turned in the eight ways that keep its pixels on the grid, estimated,
                  and turned back; what a network does differently to the left and to the right
                  averages out
    monte carlo   a denoiser that draws random numbers (InvDN's z) estimates several times. With
                  n draws the variance that drawing adds is divided by n

The mean is that of estimates as they are, not clipped.

Packed raw is turned plane by plane, as augmentation in training does: the planes' places in the
sensor's cell are not exchanged.

Sources: Timofte et al. 2016, "Seven ways to improve example-based single image super resolution",
section 3.6 (flips); Liu et al. 2021 (InvDN), section 4.3 (Monte Carlo, 16 draws).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from denoisers.base import Denoiser, can_draw
from generators.seeds import patch_seed

__all__ = ["DRAWS", "TURNS", "flip_ensemble", "monte_carlo", "turned", "turned_back"]

DRAWS = 16
TURNS = 8


@torch.no_grad()
def flip_ensemble(
    denoiser: Denoiser, noisy: Tensor, *, draws: int = 1, seed: int | Sequence[int] = 0
) -> Tensor:
    """Average the estimates of the eight turns of an image.

    Args:
        denoiser: Any.
        noisy: ``(B, C, H, W)``.
        draws: Estimates of each turn, for a denoiser that draws; each turn has its own.
        seed: One for all rows, or one a row; for a denoiser that draws.

    Returns:
        Same shape, not clipped.

    Raises:
        ValueError: If several draws are asked of a denoiser that does not draw.
    """
    seeds = _seeds(seed, len(noisy))
    if draws != 1:
        _check_draws(denoiser, draws)
    total = torch.zeros_like(noisy)
    for turn in range(TURNS):
        image = turned(noisy, turn)
        if can_draw(denoiser):
            own = [patch_seed(one, f"turn-{turn}") for one in seeds]
            estimate = denoiser.draw(image, own, draws=draws)
        else:
            estimate = denoiser(image)
        total += turned_back(estimate, turn)
    return total / TURNS


@torch.no_grad()
def monte_carlo(
    denoiser: Denoiser, noisy: Tensor, draws: int = DRAWS, seed: int | Sequence[int] = 0
) -> Tensor:
    """Average several estimates of a denoiser that draws random numbers.

    Args:
        denoiser: One of which :func:`denoisers.base.can_draw` holds.
        noisy: ``(B, C, H, W)``.
        draws: How many, >= 1.
        seed: One for all rows, or one a row; row i depends on row i and its seed only.

    Returns:
        Same shape, not clipped.

    Raises:
        ValueError: If the denoiser does not draw, or a number is wrong.
    """
    _check_draws(denoiser, draws)
    return denoiser.draw(noisy, _seeds(seed, len(noisy)), draws=draws)  # type: ignore[attr-defined,no-any-return]


def turned(image: Tensor, turn: int) -> Tensor:
    """Turn an image: flip columns if ``turn`` is odd, rows if bit 1 is set, transpose if bit 2 is.

    Args:
        image: ``(B, C, H, W)``.
        turn: 0 (as it is) to 7.
    """
    image = image.flip(_flipped(turn)) if turn & 3 else image
    return image.transpose(2, 3).contiguous() if turn & 4 else image


def turned_back(image: Tensor, turn: int) -> Tensor:
    """Undo :func:`turned`."""
    image = image.transpose(2, 3) if turn & 4 else image
    return image.flip(_flipped(turn)) if turn & 3 else image


def _flipped(turn: int) -> list[int]:
    return [axis for bit, axis in ((1, 3), (2, 2)) if turn & bit]


def _seeds(seed: int | Sequence[int], rows: int) -> Sequence[int]:
    seeds = [seed] * rows if isinstance(seed, int) else seed
    if len(seeds) != rows:
        raise ValueError(f"an ensemble needs one seed, or one a row; got {len(seeds)} of {rows}.")
    return seeds


def _check_draws(denoiser: Denoiser, draws: int) -> None:
    if draws < 1:
        raise ValueError(f"draws must be at least 1; it is {draws}.")
    if not can_draw(denoiser):
        raise ValueError(
            f"denoiser '{denoiser.name}' draws no random numbers, so all its estimates of an image "
            "are equal. Average over flips instead, or use a denoiser that draws, such as 'invdn'."
        )
