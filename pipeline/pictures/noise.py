"""Noise on one picture of any size.

A picture is taken whole by parametric generators. A network gets it in tiles with a margin, and
sides padded by reflection to what it divides: its memory grows with the area, and the latents of
different tiles are independent anyway.

No Ray, no file formats: worker processes of somebody's data loader import this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from generators.base import NoiseGenerator, NoiseRequest
from generators.capture import CaptureMetadata
from generators.sample_check import checked_sample
from generators.seeds import patch_seed
from pipeline.pixels import quantise, sample_type, to_nchw, to_nhwc, to_unit

__all__ = ["Tile", "add_noise", "add_noise_to_floats", "tiles"]

TILE, MARGIN = 512, 16
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a picture: its core, and the larger window that is given to the generator."""

    core: tuple[slice, slice]
    window: tuple[slice, slice]
    inside: tuple[slice, slice]


def add_noise(
    generator: NoiseGenerator,
    picture: NDArray[Any],
    *,
    seed: int,
    camera: str | None = None,
    iso: int | None = None,
    reference: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> NDArray[Any]:
    """Put noise on one picture.

    Args:
        generator: What makes the noise.
        picture: ``(H, W, C)`` uint8, uint16 or float32.
        seed: Equal seeds give equal noise on equal pictures.
        camera: Camera of the photograph, for generators that need it.
        iso: ISO of the photograph, likewise.
        reference: Clean and noisy image of a real pair, for generators that follow one.

    Returns:
        The noisy picture in the type of the picture, clipped; of another size and channels where
        the generator gives raw.
    """
    content = hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
    _, noisy = add_noise_to_floats(
        generator,
        to_unit(picture),
        seed=seed,
        key=content,
        capture=CaptureMetadata.same(1, camera=camera, iso=iso),
        reference=reference,
    )
    return quantise(noisy, sample_type(picture.dtype))


@torch.inference_mode()
def add_noise_to_floats(
    generator: NoiseGenerator,
    clean: Floats,
    *,
    seed: int,
    key: str,
    capture: CaptureMetadata,
    reference: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> tuple[Floats, Floats]:
    """Put noise on one picture, neither clipped nor rounded.

    Args:
        generator: What makes the noise.
        clean: ``(H, W, C)`` with the white level at 1.
        seed: Equal seeds and keys give equal noise.
        key: Names the picture.
        capture: Capture metadata of the one picture.
        reference: As for :func:`add_noise`.

    Returns:
        The clean image that the noisy one is a noisy version of, and the noisy one; for most
        generators the first is ``clean`` itself.
    """
    network = generator.multiple > 2
    example = None if reference is None else [_centre(to_unit(r), generator) for r in reference]
    whole: tuple[Floats, Floats] | None = None
    for tile in tiles(*clean.shape[:2], size=TILE if network else max(clean.shape)):
        padded, crop = _pad(clean[tile.window], generator.multiple)
        place = f"{tile.core[0].start}:{tile.core[1].start}"
        request = NoiseRequest.of(
            generator,
            clean=to_nchw(padded)[None],
            capture=capture,
            seeds=[patch_seed(seed, key, place, generator.name)],
            reference=None if example is None else to_nchw(example[1])[None],
            reference_clean=None if example is None else to_nchw(example[0])[None],
        )
        part = f"the part at y {tile.window[0].start}, x {tile.window[1].start}"
        sample = checked_sample(generator, request, where=[part].__getitem__)
        made = to_nhwc(sample.clean[0]), to_nhwc(sample.noisy[0])
        if generator.gives != generator.accepts:
            return made
        if whole is None:
            empty = np.empty((*clean.shape[:2], made[1].shape[2]), np.float32)
            whole = empty, empty.copy()
        for side, image in zip(whole, made, strict=True):
            side[tile.core] = image[crop][tile.inside]
    if whole is None:
        raise ValueError(f"the picture is empty: {clean.shape}.")
    return whole


def tiles(height: int, width: int, *, size: int) -> Iterator[Tile]:
    """Cut a picture into tiles whose windows overlap by a margin.

    Args:
        height: Pixels.
        width: Pixels.
        size: Largest side of a core, pixels.
    """
    for top in range(0, height, size):
        for left in range(0, width, size):
            bottom, right = min(top + size, height), min(left + size, width)
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            window = (
                slice(y, min(bottom + MARGIN, height)),
                slice(x, min(right + MARGIN, width)),
            )
            inside = (slice(top - y, bottom - y), slice(left - x, right - x))
            yield Tile((slice(top, bottom), slice(left, right)), window, inside)


def _pad(image: Floats, multiple: int) -> tuple[Floats, tuple[slice, slice]]:
    """Pad bottom and right by reflection until the sides divide; returns the crop back."""
    height, width = image.shape[:2]
    down, right = -height % multiple, -width % multiple
    mode = "reflect" if height > down and width > right else "edge"
    padded = np.pad(image, ((0, down), (0, right), (0, 0)), mode=mode)  # type: ignore[call-overload]
    return padded, (slice(0, height), slice(0, width))


def _centre(image: Floats, generator: NoiseGenerator) -> Floats:
    """Return the largest centred part of a reference that a network should be given."""
    multiple = generator.multiple
    height = min(image.shape[0], TILE) // multiple * multiple
    width = min(image.shape[1], TILE) // multiple * multiple
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[y : y + height, x : x + width]
