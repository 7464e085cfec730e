"""Addresses: what a URI names, and how that becomes pixels.

    photo.png, s3://bucket/photo.png, skimage:astronaut    a file
    shot.dng#cfa=auto, Blocks.mat#17                       a raw file, or a block of one
    train-00000-of-00002.h5#17/noisy                       a row of a corpus
    SCHEME:anything                                        what another distribution reads

An image is known by its content. Where it is a whole file, that is the file's bytes, which are
hashed without being decoded; else it is the pixels. A scheme is an entry point that names a
function from the URI to pixels:

    [project.entry-points."noisemill.addresses"]
    hf = "my_package.hub:read"      # read("hf:user/data#17") -> (H, W, C) uint8, uint16 or float32
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from generators.registry import Registry
from pipeline.errors import ImageError
from pipeline.images.files import file_stamp, read_file
from pipeline.images.headers import Header, part_sha256
from pipeline.images.mosaic import Part, parse_part
from pipeline.images.parts import read_part_block, size_of_part
from pipeline.images.pixels import check_samples, decode, decode_part
from pipeline.images.probe import probe
from pipeline.images.rows import Row, parse_row, read_row
from pipeline.pixels import Pixels

__all__ = ["ADDRESSES", "Address", "FileAddress", "PixelAddress", "address_of"]

# Ours are told by their form (below); schemes are those of other distributions.
ADDRESSES = Registry("address scheme", "noisemill.addresses", {})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?!//)")


class FileAddress:
    """An image that is a whole file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def sha256(self, data: bytes) -> str:
        """Return what the image is known by."""
        return hashlib.sha256(data).hexdigest()

    def header(self, data: bytes) -> Header:
        """Look at the file's structure without decoding it."""
        found = probe(data)
        height, width = found.upright
        return Header(
            height=height,
            width=width,
            channels=found.channels,
            depth=found.depth,
            sha256=self.sha256(data),
            bytes=len(data),
        )

    def decode(self, data: bytes) -> Pixels:
        """Return the pixels, ``(H, W, C)``."""
        return decode(data)

    def load(self) -> bytes:
        """Return the file's bytes."""
        return read_file(self.path)


class _PartAddress(FileAddress):
    """A raw file, and how it is read."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.path)
        self._part = part

    def sha256(self, data: bytes) -> str:
        return part_sha256(data, self._part)

    def header(self, data: bytes) -> Header:
        height, width = size_of_part(data, self._part)
        return Header(
            height=height,
            width=width,
            channels=4,
            depth="float32",
            sha256=self.sha256(data),
            bytes=len(data),
        )

    def decode(self, data: bytes) -> Pixels:
        return decode_part(data, self._part)


class PixelAddress(ABC):
    """An image without a file of its own; ``path`` is the file it lies in, if it lies in one."""

    path: str

    @abstractmethod
    def read(self) -> Pixels:
        """Return the pixels, ``(H, W, C)``."""


@dataclass(frozen=True)
class _RowAddress(PixelAddress):
    path: str
    row: Row

    def read(self) -> Pixels:
        return read_row(self.row, file_stamp(self.path))


@dataclass(frozen=True)
class _BlockAddress(PixelAddress):
    path: str
    part: Part

    def read(self) -> Pixels:
        return read_part_block(self.part)


@dataclass(frozen=True)
class _SchemeAddress(PixelAddress):
    path: str  # empty: only its own reader knows where it lies
    uri: str
    scheme: str

    def read(self) -> Pixels:
        reader: Callable[[str], Pixels] = ADDRESSES.load(self.scheme)
        try:
            pixels = np.asarray(reader(self.uri))
        except ImageError:
            raise
        except Exception as error:  # another package's, of whatever kind: the image is refused
            text = " ".join(str(error).split()) or type(error).__name__
            raise ImageError("unreadable", f"address scheme '{self.scheme}': {text}") from error
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
            raise ImageError(
                "unsupported",
                f"address scheme '{self.scheme}' gave shape {pixels.shape}; expected (H, W, C) "
                "with 1, 3 or (packed raw) 4 channels.",
            )
        return pixels if pixels.shape[2] == 4 else check_samples(pixels)


Address = FileAddress | PixelAddress


def address_of(uri: str) -> Address:
    """Return what a URI names; a file, if it has no other form."""
    if (row := parse_row(uri)) is not None:
        return _RowAddress(row.path, row)
    if (part := parse_part(uri)) is not None:
        return _PartAddress(part) if part.block is None else _BlockAddress(part.path, part)
    scheme = _SCHEME.match(uri)
    if scheme is not None and scheme[1] != "skimage" and scheme[1] in ADDRESSES:
        return _SchemeAddress("", uri, scheme[1])
    return FileAddress(uri)
