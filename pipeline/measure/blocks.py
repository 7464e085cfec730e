"""The blocks of clean/noisy pairs on which noises are compared, so that numbers can be.

The protocol: a 3x3 grid of 256x256 blocks a photograph, from corner to corner.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from generators.capture import CaptureValue
from pipeline.measure.metrics.base import Array
from pipeline.measure.pair import ImagePair
from pipeline.records import ImageRecord

__all__ = ["BLOCK", "GRID", "PairBlock", "grid_blocks", "pair_blocks", "read_pair"]

BLOCK = 256
GRID = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairBlock(ImagePair):
    """One block of a pair.

    Args:
        clean: ``(H, W, C)`` uint8; packed raw also 16 bits or float32.
        noisy: Its real noisy partner, same shape.
        camera: Camera name, if known.
        iso: ISO speed, if known.
        further: Further capture metadata, by column.
        scene: Scene or file the block is from.
        y: Top of the block in the photograph, pixels.
        x: Left of the block in the photograph, pixels.
        domain: ``srgb`` or ``raw``.

    Raises:
        TypeError: If an sRGB image is not uint8.
        ValueError: If the shapes differ or are not ``(H, W, C)``.
    """

    scene: str
    y: int = 0
    x: int = 0
    camera: str | None = None
    iso: int | None = None
    further: tuple[tuple[str, CaptureValue], ...] = ()
    domain: str = "srgb"

    @property
    def capture(self) -> dict[str, CaptureValue | None]:
        """All that is known of how it was taken, by column."""
        return {"camera": self.camera, "iso": self.iso, **dict(self.further)}

    def __post_init__(self) -> None:
        where = f"block {self.scene}[y={self.y},x={self.x}]"
        eight_bits = self.clean.dtype == self.noisy.dtype == np.uint8
        if self.domain == "srgb" and not eight_bits:
            raise TypeError(
                f"{where}: evaluation is defined on 8-bit images; clean is {self.clean.dtype} and "
                f"noisy is {self.noisy.dtype}."
            )
        if self.clean.shape != self.noisy.shape or self.clean.ndim != 3:
            raise ValueError(
                f"{where}: clean and noisy must have one shape (H, W, C); they are "
                f"{self.clean.shape} and {self.noisy.shape}."
            )


def grid_blocks(
    height: int, width: int, size: int = BLOCK, grid: int = GRID
) -> list[tuple[int, int]]:
    """Return the top left corners of an even grid that reaches from edge to edge.

    Args:
        height: Height of the photograph, pixels.
        width: Width of the photograph, pixels.
        size: Side of a block.
        grid: Blocks a side of the grid.

    Returns:
        ``grid * grid`` pairs ``(y, x)``, row by row; rounded down to whole pixels. Places that
        coincide count once: a photograph of a single block's size, as SIDD's validation has them,
        gives one.

    Raises:
        ValueError: If the photograph is smaller than a block.

    Example:
        >>> grid_blocks(600, 800)[:4]
        [(0, 0), (0, 272), (0, 544), (172, 0)]
    """
    if min(height, width) < size:
        raise ValueError(f"a {height}x{width} photograph holds no block of {size}x{size} pixels.")
    rows, columns = (
        sorted({int(place) for place in np.linspace(0, length - size, grid)})
        for length in (height, width)
    )
    return list(itertools.product(rows, columns))


def pair_blocks(
    records: Iterable[ImageRecord],
    read: Callable[[str], Array],
    *,
    size: int = BLOCK,
    grid: int = GRID,
) -> Iterator[PairBlock]:
    """Cut the protocol's blocks out of pairs.

    Args:
        records: Image records with a noisy partner.
        read: Reads one image by its URI: ``(H, W, C)``.
        size: Side of a block, pixels.
        grid: Blocks a side of the grid.

    Raises:
        TypeError: If sRGB images are not of 8 bits.
        ValueError: If a record has no noisy partner, or the two sizes differ.
    """
    for record in records:
        clean, noisy = read_pair(record, read)
        for y, x in grid_blocks(clean.shape[0], clean.shape[1], size, grid):
            place = (slice(y, y + size), slice(x, x + size))
            yield PairBlock(
                clean=clean[place],
                noisy=noisy[place],
                camera=record.camera,
                iso=record.iso,
                further=record.further,
                scene=record.scene,
                y=y,
                x=x,
                domain=record.domain,
            )


def read_pair(record: ImageRecord, read: Callable[[str], Array]) -> tuple[Array, Array]:
    """Return the clean image of a record and its noisy partner, of one shape ``(H, W, C)``.

    Args:
        record: An image record with a noisy partner.
        read: Reads one image by its URI.

    Raises:
        ValueError: If there is no noisy partner, or the two sizes differ.
    """
    if record.noisy_uri is None:
        raise ValueError(f"{record.uri} has no noisy partner; evaluation needs pairs.")
    clean, noisy = read(record.uri), read(record.noisy_uri)
    if clean.shape != noisy.shape:
        raise ValueError(
            f"{record.uri} is {clean.shape} and its partner {record.noisy_uri} is "
            f"{noisy.shape}; `noisemill audit` lists such pairs."
        )
    return clean, noisy
