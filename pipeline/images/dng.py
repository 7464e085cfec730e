"""DNG files through rawpy (LibRaw), an optional package: ``pip install 'noisemill[raw]'``.

The file says itself what a mosaic needs: colour filter array, black level of each colour, white
level. The mosaic is taken as the sensor gave it, without its masked border; it is not turned
upright, because that would change the colour filter array.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tifffile

from pipeline.errors import ImageError
from pipeline.images.mosaic import CFA
from pipeline.pixels import Pixels

__all__ = ["RAWPY_MISSING", "has_rawpy", "read_capture", "read_dng", "size_of_dng"]

RAWPY_MISSING = "DNG files are read by rawpy, which is not installed; pip install 'noisemill[raw]'."


def has_rawpy() -> bool:
    """Return True if rawpy is installed, without importing it."""
    return importlib.util.find_spec("rawpy") is not None


def size_of_dng(data: bytes) -> tuple[int, int, str]:
    """Return height, width and colour filter array of a DNG file's mosaic.

    Raises:
        ImageError: As :func:`read_dng`.
    """
    with _opened(data) as raw:
        height, width = raw.raw_image_visible.shape
        return height, width, _cfa(raw)


def read_dng(data: bytes) -> tuple[Pixels, str, tuple[float, ...], float]:
    """Read a DNG file's mosaic.

    Returns:
        ``(H, W)`` uint16 as stored, the colours of its first cell, their four levels of black in
        the order of the cell, and the level of white.

    Raises:
        ImageError: ``unsupported`` without rawpy, or if the file is no Bayer mosaic;
            ``unreadable`` if it is damaged.
    """
    with _opened(data) as raw:
        colors = raw.raw_colors_visible[:2, :2].ravel()
        levels = raw.black_level_per_channel
        black = tuple(float(levels[int(color)]) for color in colors)
        whites = raw.camera_white_level_per_channel
        white = float(min(whites)) if whites is not None and all(whites) else float(raw.white_level)
        return np.array(raw.raw_image_visible), _cfa(raw), black, white


def read_capture(data: bytes) -> tuple[str | None, int | None]:
    """Return camera and ISO speed as the file's metadata have them; None where they are absent."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            tags = tiff.pages[0].tags
            found = {code: tags[code].value for code in (272, 50708, 34855, 34665) if code in tags}
    # Only metadata: what is wrong with the file is told when its pixels are read.
    except Exception:
        return None, None
    camera = str(found.get(272) or found.get(50708) or "").strip() or None
    exif = found.get(34665)
    speed = exif.get("ISOSpeedRatings") if isinstance(exif, dict) else None
    speed = found.get(34855, speed)
    if isinstance(speed, tuple):
        speed = speed[0] if speed else None
    return camera, int(speed) if isinstance(speed, int) and speed > 0 else None


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    if not has_rawpy():
        raise ImageError("unsupported", RAWPY_MISSING)
    import rawpy

    try:
        raw = rawpy.imread(io.BytesIO(data))
    except rawpy.LibRawError as error:
        raise ImageError("unreadable", f"no raw file that LibRaw can read: {error}.") from error
    with raw:
        try:
            if raw.raw_type != rawpy.RawType.Flat or raw.raw_image_visible is None:
                raise ImageError("unsupported", "already demosaiced; expected a mosaic.")
            yield raw
        except rawpy.LibRawError as error:
            raise ImageError("unreadable", f"damaged raw file: {error}; copy it again.") from error


def _cfa(raw: Any) -> str:
    names = raw.color_desc.decode("ascii", "replace")
    pattern = raw.raw_pattern
    cell = "".join(names[int(color)] for color in raw.raw_colors_visible[:2, :2].ravel())
    if pattern is None or pattern.shape != (2, 2) or cell not in CFA:
        raise ImageError(
            "unsupported", f"its colour filter array begins {cell}; expected {', '.join(CFA)}."
        )
    return cell
