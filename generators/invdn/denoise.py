"""Denoising with InvDN: keep the low-resolution part, draw z anew, decode.

Three estimates, each built on the one before:

    draws=1                one z
    draws=n                the mean of n decodings, each with its own z (the paper's Monte Carlo:
                           16)
    self_ensemble=True     the mean over the eight flips and transpositions of the image, each
                           turned back; what the released test configuration does

The result is not clipped; the published figures are of clipped and rounded images.

Source: Liu et al. 2021 (InvDN), sections 3.4 and 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from generators.invdn.network import InvDN
from generators.seeds import standard_normal

__all__ = ["Latents", "decode_with", "denoise", "ensemble_with"]

# Returns draw number k of N(0, 1) latents for an encoded image of a shape (channels, h, w).
Latents = Callable[[int, tuple[int, int, int]], Tensor]


@torch.no_grad()
def denoise(
    model: InvDN,
    noisy: Tensor,
    *,
    seeds: Sequence[int],
    draws: int = 1,
    self_ensemble: bool = False,
) -> Tensor:
    """Estimate the clean images.

    Args:
        model: The trained network; wrap the call in ``torch.autocast`` to run it in bfloat16.
        noisy: ``(B, 3, H, W)`` float32, sides divisible by the network's factor.
        seeds: One seed a row, from which its z follow.
        draws: How many z are averaged (for each turn of the image), at least 1.
        self_ensemble: Whether to average over the eight turns of the image as well.

    Returns:
        ``(B, 3, H, W)`` float32, not clipped.

    Raises:
        ValueError: If the image or the number of draws is wrong.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1; it is {draws}.")

    def latents(number: int, shape: tuple[int, int, int]) -> Tensor:
        return standard_normal(seeds, shape, f"denoise-{number}").to(noisy.device)

    if self_ensemble:
        return ensemble_with(model, noisy, latents, draws=draws)
    return decode_with(model, noisy, latents, range(draws))


def decode_with(model: InvDN, noisy: Tensor, latents: Latents, numbers: Sequence[int]) -> Tensor:
    """Average the decodings with the z of these numbers."""
    encoded, _ = model.encode(noisy)
    low, z = encoded[:, :3], encoded[:, 3:]
    shape = (z.shape[1], z.shape[2], z.shape[3])
    total = torch.zeros_like(noisy)
    for number in numbers:
        decoded, _ = model.decode(torch.cat([low, latents(number, shape)], dim=1))
        total += decoded
    return total / len(numbers)


def ensemble_with(model: InvDN, noisy: Tensor, latents: Latents, *, draws: int = 1) -> Tensor:
    """Average over the eight turns of the image, ``draws`` latents each.

    Turn i flips columns if i is odd, rows if bit 1 is set, and transposes if bit 2 is.
    """
    total = torch.zeros_like(noisy)
    for turn in range(8):
        axes = [axis for bit, axis in ((1, 3), (2, 2)) if turn & bit]
        turned = noisy.flip(axes)
        turned = turned.transpose(2, 3) if turn & 4 else turned
        numbers = range(turn * draws, (turn + 1) * draws)
        estimate = decode_with(model, turned.contiguous(), latents, numbers)
        estimate = estimate.transpose(2, 3) if turn & 4 else estimate
        total += estimate.flip(axes)
    return total / 8
