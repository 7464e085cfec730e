"""Reading an image by its URI: its header for the plan, its pixels for the workers.

What a URI can name is told in :mod:`pipeline.images.addresses`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import ImageError
from pipeline.images.addresses import PixelAddress, address_of
from pipeline.images.files import display, file_stamp
from pipeline.images.headers import Header, header_of
from pipeline.images.pixels import CACHE
from pipeline.pixels import Pixels

__all__ = ["read_header", "read_pixels", "read_unchanged"]

Result = TypeVar("Result")


def read_header(uri: str) -> Header:
    """Look at an image's structure and hash it, without decoding it.

    An alpha channel is only looked at by :func:`read_pixels`, which drops it where it is opaque and
    refuses the image where it is not.

    Args:
        uri: As for :func:`read_pixels`; an image without a file of its own is read and hashed.

    Raises:
        ImageError: If the file cannot be read or used, or is cut short; the message names it.
    """
    address = address_of(uri)
    if isinstance(address, PixelAddress):
        return header_of(read_pixels(uri))
    return _named(uri, lambda: address.header(address.load()))


def read_pixels(uri: str) -> Pixels:
    """Read one image.

    Args:
        uri: A path, an fsspec URL, ``skimage:NAME``, or ``PATH.h5#ROW`` / ``PATH.parquet#ROW``,
            with ``/noisy`` behind it for the noisy image of the row; a raw image or a block
            (:mod:`pipeline.images.mosaic`); or what the scheme of another distribution reads.

    Returns:
        ``(H, W, C)``, C = 1 (grey), 3 (RGB) or 4 (packed raw), upright but for raw; uint8 or
        uint16, full range, or float32 in [0, 1] (rows of a corpus and raw may lie outside, as noise
        does). Read-only, because recently read images are kept: copy before writing.

    Raises:
        ImageError: If the image cannot be used; the message names it.
    """
    address = address_of(uri)
    stamp = file_stamp(address.path)

    def read() -> Pixels:
        if isinstance(address, PixelAddress):
            return address.read()
        return address.decode(address.load())

    return _named(uri, lambda: CACHE.get((uri, stamp), read))


def read_unchanged(uri: str, sha256: str) -> Pixels:
    """Read an image whose content is known.

    Args:
        uri: As for :func:`read_pixels`.
        sha256: What :func:`read_header` said of it when it was planned.

    Returns:
        ``(H, W, C)``, read-only.

    Raises:
        ImageError: ``changed`` if the content is another one now; else as ``read_pixels``. The
            message names the image.
    """
    address = address_of(uri)
    stamp = file_stamp(address.path)

    def read() -> Pixels:
        if isinstance(address, PixelAddress):
            pixels = read_pixels(uri)
            _check_content(header_of(pixels).sha256, sha256)
            return pixels
        # The bytes that are hashed are the bytes that are decoded: nothing comes in between.
        data = address.load()
        _check_content(address.sha256(data), sha256)
        return address.decode(data)

    return _named(uri, lambda: CACHE.get((uri, stamp, sha256), read))


def _named(uri: str, read: Callable[[], Result]) -> Result:
    """Return what is read; an error names the image."""
    try:
        return read()
    except ImageError as error:
        raise error.at(display(uri)) from error.__cause__


def _check_content(found: str, planned: str) -> None:
    if found != planned:
        raise ImageError(
            "changed",
            f"SHA-256 was {planned[:12]} when planned and is {found[:12]} now; plan again",
        )
