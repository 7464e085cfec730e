"""Brightness offsets of a pair, place by place.

The two photographs of a pair are taken at different times. Flicker of lamps, clouds and a camera's
own JPEG processing make one brighter than the other, and not by the same amount everywhere: within
one photograph of the PolyU set the mean of ``noisy - clean`` runs from +5 grey levels at the top to
-5 at the bottom. A noise model that sees such places learns the lamp, not the sensor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pixels import grey_levels, sample_type

__all__ = ["check_pair", "local_offset_map", "residual"]

Image = npt.NDArray[np.generic]


def check_pair(clean: Image, noisy: Image) -> None:
    """Check that two images can be compared pixel by pixel.

    Raises:
        ValueError: If they are not both ``(H, W, C)`` of one size.
        TypeError: If a type is unknown.
    """
    if clean.ndim != 3 or clean.shape != noisy.shape or 0 in clean.shape:
        raise ValueError(
            f"a pair needs two images of one shape (H, W, C); clean is {clean.shape} and noisy is "
            f"{noisy.shape}."
        )
    sample_type(clean.dtype)
    sample_type(noisy.dtype)


def residual(clean: Image, noisy: Image) -> npt.NDArray[np.float32]:
    """Return ``noisy - clean`` in grey levels of 255, ``(H, W, C)``; the depths may differ."""
    difference = np.array(noisy, np.float32)
    if noisy.dtype == clean.dtype:
        # Subtract first: for integers the difference is then exact.
        difference -= np.asarray(clean, np.float32)
        return difference * np.float32(grey_levels(clean.dtype))
    scales = np.float32(grey_levels(noisy.dtype)), np.float32(grey_levels(clean.dtype))
    return difference * scales[0] - np.asarray(clean, np.float32) * scales[1]


def local_offset_map(clean: Image, noisy: Image, window: int) -> npt.NDArray[np.float32]:
    """Measure the brightness offset around every pixel.

    Args:
        clean: ``(H, W, C)`` uint8, uint16 or float32.
        noisy: Same shape.
        window: Side of the window, pixels, >= 1.

    Returns:
        ``(H, W)`` float32, in grey levels of 255: at each pixel the mean of ``noisy - clean`` over
        all channels of the ``window`` by ``window`` box around it (from ``window // 2`` before it),
        or over the part of the box that is inside the image. For a crop of ``size`` pixels at
        (y, x) with ``size == window`` the crop's own mean is at (y + size // 2, x + size // 2).

    Raises:
        ValueError: If the shapes differ or the window is empty.
    """
    check_pair(clean, noisy)
    if window < 1:
        raise ValueError(f"window must be at least 1 pixel; got {window}.")
    means = np.empty(clean.shape[:2], np.float32)
    for start in range(0, clean.shape[0], 256):  # bands keep the three-channel floats small
        rows = slice(start, start + 256)
        means[rows] = residual(clean[rows], noisy[rows]).mean(axis=2)
    return _box_mean(_box_mean(means, window).T, window).T


def _box_mean(values: npt.NDArray[np.float32], window: int) -> npt.NDArray[np.float32]:
    """Average over ``window`` rows around each row; fewer at the edges."""
    rows = values.shape[0]
    # float64: a running sum over thousands of rows loses the small differences in float32.
    sums = np.zeros((rows + 1, values.shape[1]), np.float64)
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    first = np.arange(rows) - window // 2
    low, high = np.clip(first, 0, rows), np.clip(first + window, 0, rows)
    result = np.empty(values.shape, np.float32)
    for start in range(0, rows, 256):
        part = slice(start, start + 256)
        count = (high[part] - low[part])[:, None]
        result[part] = (sums[high[part]] - sums[low[part]]) / count
    return result
