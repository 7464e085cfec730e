"""Where in an image crops may start: where clean and noisy have the same brightness.

A pair that drifts teaches drift, not noise. The mean of noisy - clean over a window around a place
tells it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.pixels import Pixels, grey_levels
from pipeline.training.data.training_image import TrainingImage

__all__ = ["GRID", "allowed_positions", "grid_positions"]

GRID = 8


def allowed_positions(
    image: TrainingImage, *, patch: int, max_offset: float | None, window: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """List the crop positions whose surroundings keep their brightness.

    Args:
        image: The pair.
        patch: Side of a crop, pixels.
        max_offset: Largest |mean(noisy - clean)| over the window around the crop, grey levels.
        window: Side of that window, pixels; at least the patch.

    Returns:
        ``(N, 2)`` rows and columns on a grid of 8 pixels, and ``(N, C)`` offsets, grey levels.
    """
    positions = grid_positions(image, patch)
    channels = image.shape[2]
    if not len(positions) or image.clean is None or image.noisy is None:
        return positions, np.zeros((len(positions), channels), np.float32)
    noisy, clean = _grey_levels(image.noisy), _grey_levels(image.clean)
    offsets = np.stack(
        [
            _window_means(noisy[..., c] - clean[..., c], positions, patch=patch, window=window)
            for c in range(channels)
        ],
        axis=1,
    )
    if max_offset is None:
        return positions, offsets
    steady: NDArray[np.bool_] = np.abs(offsets.mean(axis=1)) <= max_offset
    return positions[steady], offsets[steady]


def _grey_levels(pixels: Pixels) -> NDArray[np.int64] | NDArray[np.float64]:
    """Return pixels in units of 1/255 of white, whole numbers where they are."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.int64)
    return pixels.astype(np.float64) * grey_levels(pixels.dtype)


def _window_means(
    plane: NDArray[np.int64] | NDArray[np.float64],
    positions: NDArray[np.int32],
    *,
    patch: int,
    window: int,
) -> NDArray[np.float32]:
    """Return the mean over the window around each place, one channel."""
    # Summed-area table: the mean over any window is four look-ups.
    table = np.pad(plane.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    height, width = plane.shape
    margin = max(0, window - patch) // 2
    top = np.clip(positions[:, 0] - margin, 0, height)
    left = np.clip(positions[:, 1] - margin, 0, width)
    bottom = np.clip(positions[:, 0] + patch + margin, 0, height)
    right = np.clip(positions[:, 1] + patch + margin, 0, width)
    total = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return np.asarray(total / ((bottom - top) * (right - left)), np.float32)


def grid_positions(image: TrainingImage, patch: int) -> NDArray[np.int32]:
    """Return the crop positions of an image on a grid of 8 pixels, ``(N, 2)``."""
    height, width, _ = image.shape
    rows = np.arange(0, height - patch + 1, GRID, dtype=np.int32)
    columns = np.arange(0, width - patch + 1, GRID, dtype=np.int32)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
