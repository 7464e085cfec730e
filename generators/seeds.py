"""Randomness: the only file of the project that makes a random generator.

Noise must not depend on who makes it. Each patch has a 64-bit seed derived from the manifest's
seed, the patch's content id and the generator; from it every named *stream* of random numbers of
that patch follows, whatever the batch, the actor, the number of workers or the device. Numbers are
always drawn on the CPU by numpy and then moved, so a GPU sees the same base noise.

Philox, not ``torch.Generator``: torch's CPU generator keeps 32 bits of its seed, so among a million
patches about a hundred pairs would carry the same noise (tests/generators/test_seeds.py).

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["batch_rng", "patch_seed", "standard_normal", "stream_rng", "uniform"]


def patch_seed(seed: int, *parts: str) -> int:
    """Derive the 64-bit seed of one patch.

    Args:
        seed: The manifest's seed, any integer.
        parts: What makes this patch's noise its own: patch id, generator key.

    Returns:
        An integer in [0, 2**64).

    Example:
        >>> patch_seed(1, "a", "awgn") == patch_seed(1, "a", "awgn")
        True
        >>> patch_seed(1, "a", "awgn") == patch_seed(1, "aawgn")
        False
    """
    # The length of each part goes in too, so ("ab", "c") and ("a", "bc") differ.
    text = "\x1f".join([str(seed), *(f"{len(part)}:{part}" for part in parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def stream_rng(seed: int, stream: str) -> np.random.Generator:
    """Return the generator of one named stream of one seed.

    Args:
        seed: A patch seed or a training seed.
        stream: What the numbers are for, e.g. ``"latent"``, ``"sigma"``.

    Returns:
        A fresh counter-based generator; two calls with equal arguments give equal numbers.
    """
    digest = hashlib.blake2b(f"{seed}\x1f{stream}".encode(), digest_size=16).digest()
    key = np.frombuffer(digest, dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def standard_normal(seeds: Sequence[int], shape: Sequence[int], stream: str) -> Tensor:
    """Draw N(0, 1) numbers, one independent block a seed.

    Args:
        seeds: One seed a row, B of them.
        shape: Shape of one row, e.g. ``(C, H, W)``.
        stream: Name of the stream.

    Returns:
        ``(B, *shape)`` float32 on the CPU; row i depends on seed i only.
    """
    rows = [stream_rng(s, stream).standard_normal(tuple(shape), dtype=np.float32) for s in seeds]
    return torch.from_numpy(np.stack(rows))


def uniform(
    seeds: Sequence[int], shape: Sequence[int], stream: str, *, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Draw U[low, high) numbers, one independent block a seed.

    Args:
        seeds: One seed a row, B of them.
        shape: Shape of one row; ``()`` for one number a row.
        stream: Name of the stream.
        low: Lower end, included.
        high: Upper end, excluded.

    Returns:
        ``(B, *shape)`` float32 on the CPU; row i depends on seed i only.
    """
    rows = [stream_rng(s, stream).random(tuple(shape), dtype=np.float32) for s in seeds]
    return torch.from_numpy(np.stack(rows)) * (high - low) + low


def batch_rng(seed: int, step: int, stream: str) -> np.random.Generator:
    """Return the generator of one training step, so that a resumed run draws the same numbers."""
    return stream_rng(patch_seed(seed, str(step)), stream)
