r"""Pictures of any size, tile by tile: memory that does not grow with the picture.

The picture is divided into *cells*. A *tile* is a cell and `overlap` pixels around it, where there
are any. Estimates of neighbouring tiles are blended across the border of their cells, over half of
the overlap to either side, with weights that add up to 1:

    tile A   ......overlap......|====cell A====|...overlap...
    tile B                      ...overlap...|====cell B====|......
    weight of A                  1  1  1 \  |
                                          \ |  linear, over `overlap` pixels
    weight of B                           / \|

A pixel of a tile is exact if everything the network looks at for it lies in the tile, so all
blended pixels are exact where the network looks `overlap` / 2 pixels far: with an overlap of at
least the receptive field the result is that of the whole picture, but for rounding. A network that
looks farther (U-Net, InvDN) gives a little less, and the blending leaves no seam.

Tiles begin at multiples of what the network halves its images by, so the inner padding of a tile
falls where that of the whole picture would fall.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoisers.base import Denoiser, DenoiserConfig, can_draw
from generators.seeds import patch_seed

__all__ = ["Tiled", "count_tiles", "denoise_tiled"]

TILE, OVERLAP = 256, 32


def denoise_tiled(
    denoiser: Denoiser, noisy: Tensor, *, tile: int = TILE, overlap: int = OVERLAP
) -> Tensor:
    """Estimate clean images tile by tile.

    Args:
        denoiser: What is used on each tile; tiles go to the device that its weights are on.
        noisy: ``(B, C, H, W)``.
        tile: Longest side of a tile, pixels.
        overlap: How far a tile reaches beyond its cell, pixels; rounded up to the denoiser's
            multiple. Receptive field or more makes the result that of the whole image.

    Returns:
        Same shape, on the device of ``noisy``, without gradient.

    Raises:
        ValueError: If a tile has no room beside its overlaps.
    """
    return Tiled(denoiser, tile=tile, overlap=overlap)(noisy)


def count_tiles(denoiser: Denoiser, height: int, width: int, *, tile: int, overlap: int) -> int:
    """Return how many tiles an image of a size takes."""
    tiled = Tiled(denoiser, tile=tile, overlap=overlap)
    return len(tiled.spans(height)) * len(tiled.spans(width))


class Span(NamedTuple):
    """One tile along one side: the cell and the window around it, pixels."""

    start: int
    stop: int
    low: int
    high: int


class Tiled:
    """A denoiser that works tile by tile; a denoiser itself, so ensembles can be made of it.

    Args:
        denoiser: What is used on each tile.
        tile: Longest side of a tile, pixels.
        overlap: How far a tile reaches beyond its cell, pixels.
        after_tile: Called after each tile, for progress.

    Raises:
        ValueError: If a tile has no room beside its overlaps.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        tile: int = TILE,
        overlap: int = OVERLAP,
        after_tile: Callable[[], None] | None = None,
    ) -> None:
        multiple = denoiser.multiple
        if overlap < 0:
            raise ValueError(f"overlap must be >= 0 pixels; it is {overlap}.")
        margin = -(-overlap // multiple) * multiple
        cell = (tile - 2 * margin) // multiple * multiple
        # Half of the overlap beyond each border of a cell is blended, so a cell spans one overlap.
        if cell < max(1, margin):
            raise ValueError(
                f"tiles of {tile} pixels have no room for an overlap of {margin} on both sides and "
                f"as much between; take tiles of {3 * margin + multiple} or more, or less overlap."
            )
        self._cell, self._overlap = cell, margin
        self._denoiser, self._after = denoiser, after_tile
        self.name, self.channels, self.multiple = denoiser.name, denoiser.channels, multiple

    @property
    def config(self) -> DenoiserConfig:
        """The denoiser's arrangement."""
        return self._denoiser.config

    @property
    def stochastic(self) -> bool:
        """Whether the denoiser draws."""
        return can_draw(self._denoiser)

    def __call__(self, noisy: Tensor) -> Tensor:
        """Return the estimate of the clean image."""
        return self._blend(noisy, lambda tile, place: self._denoiser(tile))

    def draw(self, noisy: Tensor, seeds: Sequence[int], *, draws: int = 1) -> Tensor:
        """Return the mean of several estimates; each tile has random numbers of its own.

        Raises:
            ValueError: If the denoiser does not draw.
        """
        inner = self._denoiser
        if not can_draw(inner):
            raise ValueError(f"denoiser '{self.name}' draws nothing: its estimates are all equal.")

        def one(tile: Tensor, place: str) -> Tensor:
            return inner.draw(tile, [patch_seed(seed, place) for seed in seeds], draws=draws)

        return self._blend(noisy, one)

    def spans(self, length: int) -> list[Span]:
        """Divide one side of an image.

        Args:
            length: Pixels.
        """
        multiple, overlap = self.multiple, self._overlap
        number = -(-length // self._cell)
        if length <= self._cell + 2 * overlap:
            number = 1
        # Cells of about one size: a last one of a few pixels would cost a tile all the same.
        cell = max(overlap, -(-length // (number * multiple)) * multiple)
        found = []
        for start in range(0, length, cell):
            stop = min(start + cell, length)
            found.append(Span(start, stop, max(0, start - overlap), min(length, stop + overlap)))
        return found

    @torch.no_grad()
    def _blend(self, noisy: Tensor, estimate: Callable[[Tensor, str], Tensor]) -> Tensor:
        result = torch.zeros_like(noisy)
        device = _device_of(self._denoiser, noisy)
        for rows, columns in self._places(noisy):
            window = (..., slice(rows.low, rows.high), slice(columns.low, columns.high))
            part = estimate(noisy[window].contiguous().to(device), f"{rows.start}:{columns.start}")
            weight = self._weights(rows, noisy)[:, None] * self._weights(columns, noisy)
            result[window] += part.to(noisy) * weight
            if self._after is not None:
                self._after()
        return result

    def _places(self, noisy: Tensor) -> Iterator[tuple[Span, Span]]:
        for rows in self.spans(noisy.shape[2]):
            for columns in self.spans(noisy.shape[3]):
                yield rows, columns

    def _weights(self, span: Span, like: Tensor) -> Tensor:
        """Return the weight of each pixel of a window along one side, ``(high - low,)``."""
        at = torch.arange(span.low, span.high, device=like.device, dtype=torch.float32) + 0.5
        ramp = max(1, self._overlap)
        rising = (at - span.start) / ramp + 0.5 if span.low < span.start else torch.ones_like(at)
        falling = (span.stop - at) / ramp + 0.5 if span.stop < span.high else torch.ones_like(at)
        return torch.minimum(rising, falling).clamp(0.0, 1.0).to(like.dtype)


def _device_of(denoiser: Denoiser, noisy: Tensor) -> torch.device:
    """Return where a denoiser computes: with its weights, or with the image."""
    if isinstance(denoiser, nn.Module):
        for parameter in denoiser.parameters():
            return parameter.device
    return noisy.device
