"""Reading what a URI with a ``#`` names: a mosaic, packed, or one block of a ``.mat`` file.

See :mod:`pipeline.images.mosaic` for the URIs. Raw comes as float32 ``(h, w, 4)``; blocks of sRGB
come as they are stored.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from pipeline.errors import ImageError
from pipeline.images.dng import read_dng, size_of_dng
from pipeline.images.mat import open_mat, read_block
from pipeline.images.mosaic import AUTO, Part, pack, packed_size, scale
from pipeline.images.probe import MAX_PIXELS, MIN_SIDE, probe
from pipeline.pixels import Pixels

__all__ = ["decode_sensor_file", "is_sensor_file", "packed", "read_part_block", "size_of_part"]

# The published reading of SIDD puts 0 for samples that are not finite; a file with more of them
# than a few dead pixels is damaged.
_DEAD = 1e-3


def size_of_part(data: bytes, part: Part) -> tuple[int, int]:
    """Return height and width of a file's packed image without decoding it.

    Raises:
        ImageError: If the file is no mosaic, or too small or too large.
    """
    cfa = part.cfa or ""
    if cfa == AUTO:
        height, width, cfa = size_of_dng(data)
    elif _is_mat(part.path):
        with open_mat(data) as variable:
            if len(variable.shape) != 2:
                raise ImageError("unsupported", f"shape {variable.shape}; expected (H, W).")
            height, width = variable.shape
    else:
        found = probe(data)
        if found.channels != 1 or found.orientation != 1:
            raise ImageError(
                "unsupported",
                f"{found.channels} channels, orientation {found.orientation}; a mosaic has one "
                "channel and is stored as the sensor has it.",
            )
        height, width = found.height, found.width
    size = packed_size(height, width, cfa, part.align)
    if height * width > MAX_PIXELS:
        raise ImageError("too-large", f"{width}x{height} pixels; cut it into tiles.")
    if min(size) < MIN_SIDE:
        raise ImageError(
            "too-small",
            f"{width}x{height} pixels make {size[1]}x{size[0]} cells; the smallest patch has "
            f"{MIN_SIDE} a side.",
        )
    return size


def is_sensor_file(part: Part) -> bool:
    """Return True if the file is a DNG or a matrix; else its mosaic is in a PNG or TIFF file."""
    return part.cfa == AUTO or _is_mat(part.path)


def decode_sensor_file(data: bytes, part: Part) -> Pixels:
    """Decode a DNG or ``.mat`` file; result and errors as :func:`pixels.decode_part`."""
    if _is_mat(part.path):
        with open_mat(data) as variable:
            return _packed_mat(variable.read(), part)
    mosaic, cfa, black, white = read_dng(data)
    return packed(mosaic, replace(part, cfa=cfa, black=black, white=white))


def read_part_block(part: Part) -> Pixels:
    """Read one block: ``(H, W, 3)`` sRGB as stored, or ``(h, w, 4)`` float32 raw.

    Raises:
        ImageError: If the file or the block cannot be used.
    """
    color = "srgb" if part.cfa is None else "raw"
    block = read_block(part.path, part.block or 0, color)
    return block if part.cfa is None else _packed_mat(block, part)


def packed(values: Pixels, part: Part) -> Pixels:
    """Scale and pack a mosaic ``(H, W)`` as a part says.

    Raises:
        ImageError: If the levels of black and white are wrong.
    """
    mosaic = scale(values, part.black, part.white, clip=part.clip)
    return pack(mosaic, part.cfa or "", part.align)


def _packed_mat(values: Pixels, part: Part) -> Pixels:
    if values.dtype.kind == "f":
        dead = ~np.isfinite(values)
        if dead.mean() > _DEAD:
            raise ImageError("not-finite", f"{int(dead.sum())} samples are NaN or infinite.")
        values = np.where(dead, 0.0, values)
    return packed(values, replace(part, clip=True))


def _is_mat(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() == ".mat"
