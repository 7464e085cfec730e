"""Headers: what the plan must know of an image before any worker decodes it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from pipeline.errors import ImageError
from pipeline.images.mosaic import Part
from pipeline.pixels import Pixels, SampleType, sample_type

__all__ = ["Header", "header_of", "part_sha256"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """An image before its pixels.

    Args:
        height: Pixels, after the orientation is applied.
        width: Pixels, after the orientation is applied.
        channels: 1 (grey) or 3 (colour), without an alpha channel; 4 for packed raw.
        depth: Type of the samples.
        sha256: SHA-256 of the file's bytes; of shape, type and pixels for a row of a corpus or a
            block; :func:`part_sha256` for a raw file.
        bytes: Size of the file (of the row's or block's pixels).
    """

    height: int
    width: int
    channels: int
    depth: SampleType
    sha256: str
    bytes: int


def part_sha256(data: bytes, part: Part) -> str:
    """Return the SHA-256 of a raw file's own SHA-256 and of how it is read.

    Other levels of black and white are another picture, so they take part in its identity.
    """
    return hashlib.sha256(
        f"{hashlib.sha256(data).hexdigest()} {part.fragment}".encode()
    ).hexdigest()


def header_of(pixels: Pixels) -> Header:
    """Return the header of an image without a file of its own: a row of a corpus, a block."""
    try:
        depth = sample_type(pixels.dtype)
    except TypeError as error:
        raise ImageError("unsupported", str(error)) from error
    height, width, channels = pixels.shape
    digest = hashlib.sha256(f"{height}x{width}x{channels} {depth} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return Header(
        height=height,
        width=width,
        channels=channels,
        depth=depth,
        sha256=digest.hexdigest(),
        bytes=pixels.nbytes,
    )
