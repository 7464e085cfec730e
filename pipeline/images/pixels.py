"""Decoding: the bytes of a file become rows of RGB or grey samples.

OpenCV decodes PNG and JPEG, tifffile decodes TIFF, and OpenCV again the TIFF compressions that
tifffile leaves to an optional package. Orientation is applied here, once, for all of them. A file
is never half decoded: damage is an error.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import tifffile

from pipeline.errors import ImageError
from pipeline.images.cache import PixelCache
from pipeline.images.mosaic import Part
from pipeline.images.parts import decode_sensor_file, is_sensor_file, packed
from pipeline.images.probe import Probe, probe
from pipeline.pixels import Pixels, white_level

__all__ = ["CACHE", "check_samples", "decode", "decode_part"]

CACHE = PixelCache(256 * 2**20)
_FLOAT_SLACK = 1e-3  # resampling overshoots by this much and a wrong scale by far more


def decode(data: bytes) -> Pixels:
    """Decode the bytes of a PNG, JPEG or TIFF file; result and errors as ``read_pixels``."""
    found = probe(data)
    pixels = _decode_tiff(data, found) if found.kind == "tiff" else _decode_opencv(data, found)
    upright = _turn(pixels, found.orientation)
    if upright.shape != (*found.upright, found.channels) or upright.dtype.name != found.depth:
        raise ImageError(
            "unreadable",
            f"decodes to {upright.shape} {upright.dtype}, but the header says "
            f"{(*found.upright, found.channels)} {found.depth}.",
        )
    return np.ascontiguousarray(check_samples(upright))


def decode_part(data: bytes, part: Part) -> Pixels:
    """Decode the bytes of a raw file.

    Returns:
        ``(h, w, 4)`` float32, black at 0 and white at 1; outside [0, 1] where noise is, unless the
        part is clipped.

    Raises:
        ImageError: If the file cannot be used.
    """
    if is_sensor_file(part):
        return decode_sensor_file(data, part)
    return packed(decode(data)[..., 0], part)


def check_samples(pixels: Pixels) -> Pixels:
    """Refuse float samples that are not finite or not in [0, 1]; return the others as they are."""
    if pixels.dtype != np.float32:
        return pixels
    if not np.isfinite(pixels).all():
        count = int(pixels.size - np.isfinite(pixels).sum())
        raise ImageError("not-finite", f"{count} samples are NaN or infinite; expected [0, 1].")
    low, high = float(pixels.min()), float(pixels.max())
    if low < -_FLOAT_SLACK or high > 1 + _FLOAT_SLACK:
        raise ImageError(
            "out-of-range",
            f"float samples span {low:.4g} to {high:.4g}; expected [0, 1]. "
            "Divide by the white level.",
        )
    return np.clip(pixels, 0.0, 1.0)


def _decode_opencv(data: bytes, found: Probe) -> Pixels:
    try:
        # UNCHANGED leaves depth, alpha and (for PNG and JPEG) orientation alone.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError("unreadable", f"cannot be decoded: {error.err}.") from error
    if pixels is None:
        raise ImageError("unreadable", f"damaged {found.kind.upper()} data; copy the file again.")
    if pixels.ndim == 2:
        return np.asarray(pixels)[..., None]
    if pixels.shape[2] == 4:
        pixels = _drop_alpha(pixels)
    # Grey with alpha comes back as three equal channels.
    return np.asarray(pixels[..., :1] if found.channels == 1 else pixels[..., ::-1])


def _decode_tiff(data: bytes, found: Probe) -> Pixels:
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            photometric, planar = int(page.photometric), int(page.planarconfig) == 2
            if photometric in (3, 6):
                return _decode_tiff_opencv(data, found)
            pixels = page.asarray()
            samples = page.samplesperpixel
    except ImageError:
        raise
    except Exception as error:
        if "imagecodecs" in str(error):
            return _decode_tiff_opencv(data, found)
        raise ImageError("unreadable", f"damaged TIFF data: {error}.") from error
    if samples == 1:
        pixels = pixels.reshape(found.height, found.width, 1)
    elif planar:
        pixels = np.moveaxis(pixels, 0, -1)
    if photometric == 0:  # white is zero
        pixels = np.asarray(_white(pixels) - pixels)
    if samples in (2, 4):
        pixels = _drop_alpha(pixels)
    return np.asarray(pixels, np.float32) if pixels.dtype.kind == "f" else np.asarray(pixels)


def _decode_tiff_opencv(data: bytes, found: Probe) -> Pixels:
    pixels = _decode_opencv(data, found)
    # OpenCV turns TIFF files upright itself; turn back, so that one place is responsible.
    inverse = {6: 8, 8: 6}.get(found.orientation, found.orientation)
    return _turn(pixels, inverse)


def _white(pixels: Pixels) -> np.generic:
    """Return the largest value of the samples' type, 1 for floats."""
    top = 1.0 if pixels.dtype.kind == "f" else white_level(pixels.dtype)
    return pixels.dtype.type(top)


def _drop_alpha(pixels: Pixels) -> Pixels:
    alpha = pixels[..., -1]
    opaque = _white(pixels)
    if (alpha != opaque).any():
        share = float((alpha != opaque).mean())
        raise ImageError(
            "alpha",
            f"{share:.1%} of the pixels are transparent; flatten the image on a background.",
        )
    return pixels[..., :-1]


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an Exif orientation to ``(H, W, C)``."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
