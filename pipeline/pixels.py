"""Stored samples and floats: types, white levels, scaling, rounding, grey, the order of axes; once.

Pictures are stored as ``(H, W, C)`` in one of :data:`SAMPLE_TYPES`; networks want ``(C, H, W)``
float32 with the white level at 1. Clipping and rounding destroy the statistics that likelihoods and
metrics need, so they happen here, behind the generator, and never inside one.

Notation: NHWC means ``(H, W, C)`` or a batch ``(B, H, W, C)``, NCHW ``(C, H, W)`` or
``(B, C, H, W)``. A grey level is 1/255 of white, whatever the type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SAMPLE_TYPES",
    "Color",
    "Pixels",
    "SampleType",
    "grey_levels",
    "quantise",
    "sample_bytes",
    "sample_type",
    "stack_widest",
    "to_color",
    "to_grey_levels",
    "to_nchw",
    "to_nhwc",
    "to_unit",
    "to_unit64",
    "to_unit_nchw",
    "white_level",
]

SampleType = Literal["uint8", "uint16", "float32"]
SAMPLE_TYPES: tuple[SampleType, ...] = get_args(SampleType)  # the narrowest first
Color = Literal["rgb", "grey"]
Pixels = NDArray[np.generic]

_WHITE_LEVELS = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
# A table by dtype object: asking a dtype for its name takes as long as reading a small image.
_WHITE = {np.dtype(name): np.float32(_WHITE_LEVELS[name]) for name in SAMPLE_TYPES}
_LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))  # ITU-R BT.601


def sample_type(dtype: np.dtype[Any]) -> SampleType:
    """Return the name of a type that pixels are stored in.

    Raises:
        TypeError: If pixels are never stored in this type.
    """
    for name in SAMPLE_TYPES:
        if dtype.name == name:
            return name
    *others, last = SAMPLE_TYPES
    raise TypeError(f"stored pixels are {', '.join(others)} or {last}; got {dtype}.")


def sample_bytes(kind: SampleType) -> int:
    """Return how many bytes a stored sample takes."""
    return np.dtype(kind).itemsize


def white_level(dtype: np.dtype[Any]) -> float:
    """Return the stored value that means white; errors as :func:`sample_type`."""
    return _WHITE_LEVELS[sample_type(dtype)]


def grey_levels(dtype: np.dtype[Any]) -> float:
    """Return the factor from stored samples to grey levels of 255; errors as `sample_type`."""
    return 255.0 / white_level(dtype)


def to_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Scale stored samples to float32 with the white level at 1; floats are returned as they are.

    Raises:
        TypeError: If pixels are never stored in this type.
    """
    if pixels.dtype == np.float32:
        return pixels
    return pixels.astype(np.float32) / np.float32(white_level(pixels.dtype))


def to_unit64(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Scale stored samples to float64 with the white level at 1, for sums and differences.

    Raises:
        TypeError: If pixels are never stored in this type.
    """
    return pixels.astype(np.float64) / white_level(pixels.dtype)


def quantise(image: NDArray[np.float32], encoding: SampleType) -> NDArray[Any]:
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


def to_color(pixels: NDArray[Any], color: Color) -> NDArray[Any]:
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


def stack_widest(images: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Stack images of one shape in the widest type among them, so that no precision is lost.

    Args:
        images: ``(H, W, C)`` each, in stored types that may differ; at least one.

    Returns:
        ``(B, H, W, C)``.
    """
    kinds = {sample_type(image.dtype) for image in images}
    widest = np.dtype(max(kinds, key=SAMPLE_TYPES.index))
    return np.stack([_widened(image, widest) for image in images])


def to_nchw(pixels: NDArray[Any]) -> Tensor:
    """Return NHWC pixels as an NCHW tensor of the same type, in memory of its own."""
    import torch  # here, so that reading a corpus or a manifest does not wait for it

    return torch.from_numpy(np.array(_channels_first(pixels), order="C"))


def to_nhwc(images: Tensor) -> NDArray[Any]:
    """Return an NCHW tensor, on any device, as contiguous NHWC pixels of the same type."""
    return np.ascontiguousarray(images.detach().movedim(-3, -1).cpu().numpy())


def to_grey_levels(images: Tensor) -> NDArray[np.float64]:
    """Return NCHW floats as NHWC grey levels, float64: the whole numbers that 8 bits keep.

    Rounded from the exact product, which float32 cannot hold; ties to even.
    """
    return to_nhwc((images.detach().clamp(0.0, 1.0).double() * 255.0).round())


def to_unit_nchw(pixels: NDArray[Any]) -> Tensor:
    """Return stored NHWC pixels as an NCHW float32 tensor with the white level at 1.

    The same values as of :func:`to_unit`, in one pass over the memory.

    Raises:
        TypeError: If pixels are never stored in this type.
    """
    import torch

    white = _WHITE.get(pixels.dtype)
    if white is None:  # not in this machine's byte order, or no type for pixels at all
        white = np.float32(white_level(pixels.dtype))
    first = _channels_first(pixels)
    planes = np.empty(first.shape, np.float32)
    np.divide(first, white, out=planes)
    return torch.from_numpy(planes)


def _channels_first(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.transpose((2, 0, 1) if pixels.ndim == 3 else (0, 3, 1, 2))


def _widened(image: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if image.dtype == dtype:
        return image
    factor = white_level(dtype) / white_level(image.dtype)
    # 255 * 257 = 65535: widening 8 bits to 16 is exact.
    return (image.astype(np.float64) * factor).astype(dtype)
