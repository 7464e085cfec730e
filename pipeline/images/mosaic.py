"""Sensor mosaics: how they are read, and how a 2x2 cell becomes four channels.

A sensor has one colour a pixel, in cells of 2x2 that its *colour filter array* (CFA) names row by
row: RGGB, GRBG, GBRG or BGGR. Here raw images are *packed*: ``(H/2, W/2, 4)``, the channels being
R, the G of the red row, the G of the blue row, B, with black at 0 and white at 1.

A cell that does not begin with R can be brought to this form in two ways (``align``):

``crop``      Drop the first row, the first column, or both, until a cell begins with R, and what is
              then odd at the other end. Every cell is a true RGGB cell, as demosaicing expects it.
``reorder``   Keep every pixel and put the four colours of each cell in order. The colours of a cell
              then lie elsewhere than in an RGGB cell, by one pixel, which development would show
              as coloured fringes. For blocks of a fixed size.

How a file is to be read is part of its URI, behind a ``#``, so that a worker needs nothing else:

    shot.png#cfa=GRBG,black=64,white=1023     a mosaic in a PNG or TIFF file
    shot.dng#cfa=auto                         a DNG file, which says the rest itself
    0001_GT_RAW_010.MAT#cfa=BGGR              a matrix in [0, 1]
    ValidationGtBlocksSrgb.mat#17             block 17 of many, sRGB
    ValidationGtBlocksRaw.mat#17,cfa=GRBG     block 17 of many, raw

``black`` may hold four levels, ``64/64/65/64``, in the order of the cell. ``clip`` limits the
result to [0, 1], which is for clean images; noisy ones keep their values below black.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pipeline.errors import ImageError

__all__ = [
    "ALIGN",
    "AUTO",
    "CFA",
    "Align",
    "Cfa",
    "Part",
    "pack",
    "packed_size",
    "parse_part",
    "scale",
]

Cfa = Literal["RGGB", "GRBG", "GBRG", "BGGR"]
Align = Literal["crop", "reorder"]
CFA: tuple[Cfa, ...] = get_args(Cfa)
ALIGN: tuple[Align, ...] = get_args(Align)
AUTO = "auto"
Mosaic = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file, which block of it, and how its mosaic is read.

    Args:
        path: The file.
        block: Number of the block, for a ``.mat`` file that holds many.
        cfa: Colours of the first cell; ``auto`` for a file that says so itself; ``None`` for sRGB.
        black: Levels of black of the cell's four pixels; all the same if there is one.
        white: Level of white.
        align: How a cell becomes R, G, G, B.
        clip: Whether the result is limited to [0, 1].
    """

    path: str
    block: int | None = None
    cfa: str | None = None
    black: tuple[float, ...] = (0.0,)
    white: float = 1.0
    align: Align = "crop"
    clip: bool = False

    @property
    def fragment(self) -> str:
        """What stands behind the ``#``."""
        return ",".join(self._items())

    @property
    def uri(self) -> str:
        """The URI of this image; :func:`parse_part` reads it back."""
        return f"{self.path}#{self.fragment}"

    def _items(self) -> Iterator[str]:
        if self.block is not None:
            yield str(self.block)
        if self.cfa is None:
            return
        yield f"cfa={self.cfa}"
        if any(self.black):
            yield f"black={'/'.join(f'{level:.10g}' for level in self.black)}"
        if self.white != 1.0:
            yield f"white={self.white:.10g}"
        if self.align != "crop":
            yield f"align={self.align}"
        if self.clip:
            yield "clip"


def parse_part(uri: str) -> Part | None:
    """Split the URI of a raw image or of a block; None if it is something else.

    Example:
        >>> parse_part("a/x.png#cfa=GRBG,black=64,white=1023").white
        1023.0
        >>> parse_part("a/x.png") is None
        True
    """
    path, mark, fragment = uri.rpartition("#")
    if not mark or not path:
        return None
    first, _, rest = fragment.partition(",")
    block = None
    if first.isascii() and first.isdigit():
        if not path.lower().endswith(".mat"):
            return None
        block, fragment = int(first), rest
    try:
        read = dict(_item(text) for text in fragment.split(",")) if fragment else {}
        if "cfa" in read or (block is not None and not read):
            return Part(path=path, block=block, **read)  # type: ignore[arg-type]
    except ValueError:
        return None
    return None


def _item(text: str) -> tuple[str, object]:
    """Return the name and value of one item, or raise ValueError."""
    name, _, value = text.partition("=")
    if text == "clip":
        return "clip", True
    if name == "cfa" and value in (*CFA, AUTO):
        return name, value
    if name == "align" and value in ALIGN:
        return name, value
    if name == "white":
        return name, float(value)
    if name == "black":
        return name, tuple(float(level) for level in value.split("/"))
    raise ValueError(text)


def packed_size(height: int, width: int, cfa: str, align: Align) -> tuple[int, int]:
    """Return height and width of the packed image of a mosaic."""
    down, right = _first_red(cfa) if align == "crop" else (0, 0)
    return (height - down) // 2, (width - right) // 2


def pack(mosaic: Mosaic, cfa: str, align: Align) -> Mosaic:
    """Turn a mosaic into four channels.

    Args:
        mosaic: ``(H, W)``.
        cfa: Colours of its first cell, row by row.
        align: What to do with a cell that does not begin with R; see the module.

    Returns:
        ``(h, w, 4)`` R, G of the red row, G of the blue row, B; size as :func:`packed_size`.

    Example:
        >>> pack(np.arange(16, dtype=np.float32).reshape(4, 4), "BGGR", "crop")[0, 0].tolist()
        [5.0, 6.0, 9.0, 10.0]
        >>> pack(np.arange(16, dtype=np.float32).reshape(4, 4), "BGGR", "reorder")[0, 0].tolist()
        [5.0, 4.0, 1.0, 0.0]
    """
    if align == "crop":
        down, right = _first_red(cfa)
        mosaic, cfa = mosaic[down:, right:], "RGGB"
    height, width = mosaic.shape[0] // 2, mosaic.shape[1] // 2
    even = mosaic[: 2 * height, : 2 * width]
    places = [even[y::2, x::2] for y in (0, 1) for x in (0, 1)]
    red, blue = cfa.index("R"), cfa.index("B")
    # 0 1 over 2 3: the neighbour in the same row differs in the last bit.
    return np.stack([places[i] for i in (red, red ^ 1, blue ^ 1, blue)], axis=-1)


def scale(
    mosaic: npt.NDArray[np.generic], black: Sequence[float], white: float, *, clip: bool
) -> Mosaic:
    """Bring stored numbers to black at 0 and white at 1.

    Args:
        mosaic: ``(H, W)``, any type of number.
        black: One level, or four in the order of the first cell.
        white: Level of white.
        clip: Whether to limit the result to [0, 1].

    Raises:
        ImageError: If white is not above black, or the numbers do not lie between them.
    """
    if len(black) not in (1, 4) or not max(black) < white:
        raise ImageError(
            "out-of-range",
            f"black level {'/'.join(f'{level:g}' for level in black)} and white level {white:g}: "
            "expected one black level or four, all below white.",
        )
    if not np.isfinite(mosaic).all():
        raise ImageError("not-finite", "the mosaic holds NaN or infinite samples.")
    cell = np.resize(np.asarray(black, np.float32), (2, 2))
    height, width = mosaic.shape
    levels = np.tile(cell, (-(-height // 2), -(-width // 2)))[:height, :width]
    values = (mosaic.astype(np.float32) - levels) / (np.float32(white) - levels)
    mean, most = float(values.mean()), float(values.max())
    if mean > 1.0 or most <= 0.0:
        raise ImageError(
            "out-of-range",
            f"with black {black[0]:g} and white {white:g} the samples have mean {mean:.3g} and "
            f"maximum {most:.3g}; expected values from 0 to 1. Correct the levels.",
        )
    return np.clip(values, 0.0, 1.0) if clip else values


def _first_red(cfa: str) -> tuple[int, int]:
    """Return the row and column of R in the first cell."""
    row, column = divmod(cfa.index("R"), 2)
    return row, column
