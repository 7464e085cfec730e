"""Between stored samples and the generators' floats: scaling, clipping, rounding.

Clipping and rounding destroy the statistics that likelihoods and metrics need, so they happen here,
once, behind the generator, and never inside one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.corpus.columns import white_level

__all__ = ["Encoding", "quantise", "to_color", "to_unit"]

Encoding = Literal["uint8", "uint16", "float32"]
_LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))  # ITU-R BT.601


def to_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Scale stored samples to float32 with the white level at 1."""
    if pixels.dtype == np.float32:
        return pixels
    return pixels.astype(np.float32) / np.float32(white_level(pixels.dtype))


def quantise(image: NDArray[np.float32], encoding: Encoding) -> NDArray[Any]:
    """Encode float images with the white level at 1.

    Args:
        image: Any shape, float32.
        encoding: Integers are clipped to their range and rounded to the nearest, ties to even;
            ``float32`` is left as it is.
    """
    if encoding == "float32":
        return image
    dtype = np.dtype(encoding)
    scaled = np.clip(image, 0.0, 1.0) * np.float32(white_level(dtype))
    rounded: NDArray[Any] = np.rint(scaled).astype(dtype)
    return rounded


def to_color(pixels: NDArray[Any], color: Literal["rgb", "grey"]) -> NDArray[Any]:
    """Bring ``(H, W, C)`` to three channels or one; grey is the BT.601 luma.

    Packed raw (four channels) stays as it is.
    """
    channels = pixels.shape[2]
    if channels == 4 or channels == (3 if color == "rgb" else 1):
        return pixels
    if color == "rgb":
        return np.repeat(pixels, 3, axis=2)
    red, green, blue = (pixels[..., i].astype(np.float32) for i in range(3))
    # Term by term: a matrix product's last bits depend on the shape of what is converted with it.
    luma = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    if pixels.dtype != np.float32:
        luma = np.rint(luma)
    grey: NDArray[Any] = luma[..., None].astype(pixels.dtype)
    return grey
