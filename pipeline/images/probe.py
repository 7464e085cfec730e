"""The structure of an image file: size, depth, orientation, and whether all of it is there.

Written as walks over segments and chunks because no decoder is run: a header that claims 10
gigapixels costs nothing, and a file that was cut short is known before a patch of it is planned.
(Decoders differ here: some return the missing part filled with grey and only print a warning.)

Sources: ITU-T T.81 (JPEG) annex B; PNG specification 3rd edition, sections 5 and 11; TIFF 6.0;
Exif 2.32, tag 0x0112 (orientation).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from typing import Literal

import tifffile

from pipeline.errors import ImageError
from pipeline.pixels import SampleType

__all__ = ["MAX_PIXELS", "MIN_SIDE", "Probe", "probe"]

MAX_PIXELS = 400_000_000  # twice the largest sensors sold; 1.2 GB as 8-bit colour
MIN_SIDE = 8  # the smallest patch a manifest allows
# A block of 64 pixels takes at least one bit; a damaged header must not cost a gigabyte.
_JPEG_PIXELS_PER_BYTE = 8 * 64
Kind = Literal["jpeg", "png", "tiff"]

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a file says of itself; height and width as stored, before orientation."""

    kind: Kind
    height: int
    width: int
    channels: int
    depth: SampleType
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width after the orientation is applied."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def probe(data: bytes) -> Probe:
    """Read the structure of a PNG, JPEG or TIFF file without decoding it.

    Raises:
        ImageError: If it is none of them, cut short, too large, too small, or of a kind that cannot
            be used (CMYK, 12-bit JPEG, several pages ...).
    """
    if data.startswith(_PNG):
        found = _probe_png(data)
    elif data.startswith(b"\xff\xd8\xff"):
        found = _probe_jpeg(data)
    elif data.startswith(_TIFF):
        found = _probe_tiff(data)
    elif _PNG.startswith(data[:8]) or b"\xff\xd8\xff".startswith(data[:3]):
        raise ImageError("truncated", f"the file ends after {len(data)} bytes.")
    else:
        raise ImageError(
            "not-an-image",
            f"starts with {data[:8]!r}; expected a PNG, JPEG or TIFF file. Convert or remove it.",
        )
    return found


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(
            "too-large",
            f"the header claims {width}x{height} pixels; at most {MAX_PIXELS // 10**6} megapixels "
            "are read. Cut it into tiles.",
        )
    if height < 1 or width < 1:
        raise ImageError("unreadable", f"the header claims {width}x{height} pixels.")
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            "too-small", f"{width}x{height} pixels; the smallest patch has {MIN_SIDE} a side."
        )


def _probe_png(data: bytes) -> Probe:
    if len(data) < 33:
        raise ImageError("truncated", f"the file ends after {len(data)} bytes, inside the header.")
    if data[12:16] != b"IHDR":
        raise ImageError("unreadable", "the PNG file does not start with its IHDR chunk.")
    width, height, bits, color = struct.unpack(">IIBB", data[16:26])
    _check_size(height, width)
    if color not in (0, 2, 3, 4, 6) or bits not in (1, 2, 4, 8, 16):
        raise ImageError("unreadable", f"PNG colour type {color} with {bits} bits does not exist.")
    found = Probe(
        kind="png",
        height=height,
        width=width,
        channels=1 if color in (0, 4) else 3,
        depth="uint16" if bits == 16 else "uint8",
    )
    position = 8
    while True:
        if position + 12 > len(data):
            raise ImageError("truncated", "the PNG file ends before its IEND chunk; copy it again.")
        length, name = struct.unpack(">I4s", data[position : position + 8])
        if name == b"IEND":
            return found
        if name == b"tRNS" and color == 0:
            raise ImageError("alpha", "grey with a transparent level; expected no transparency.")
        if name == b"eXIf":
            body = data[position + 8 : position + 8 + length]
            found = replace(found, orientation=exif_orientation(body))
        position += 12 + length


def _probe_jpeg(data: bytes) -> Probe:
    position, orientation, frame = 2, 1, b""
    while True:
        if position + 4 > len(data):
            raise ImageError("truncated", "the JPEG file ends inside its header; copy it again.")
        if data[position] != 0xFF:
            raise ImageError("unreadable", f"byte {position} of the JPEG file is no marker.")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:  # start of scan
            break
        (length,) = struct.unpack(">H", data[position + 2 : position + 4])
        body = data[position + 4 : position + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = body
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and orientation == 1:
            orientation = exif_orientation(body[6:])
        position += 2 + length
    found = _jpeg_frame(frame, orientation)
    # In compressed data 0xFF is always followed by 0 or a restart marker, and thumbnails lie before
    # the scan, so this can only be the end of the image; trailing data of motion photos is fine.
    if data.find(b"\xff\xd9", position) < 0:
        raise ImageError("truncated", "the JPEG file has no end-of-image marker; copy it again.")
    if found.height * found.width > _JPEG_PIXELS_PER_BYTE * len(data):
        raise ImageError(
            "unreadable",
            f"the header claims {found.width}x{found.height} pixels, and {len(data)} bytes cannot "
            "hold so many.",
        )
    return found


def _jpeg_frame(frame: bytes, orientation: int) -> Probe:
    if len(frame) < 6:
        raise ImageError("unreadable", "the JPEG file has no frame header.")
    bits, height, width, components = struct.unpack(">BHHB", frame[:6])
    _check_size(height, width)
    if components == 4:
        raise ImageError("cmyk", "CMYK colour; expected grey or RGB. Convert it to sRGB.")
    if bits != 8 or components not in (1, 3):
        raise ImageError(
            "unsupported",
            f"JPEG with {bits} bits and {components} components; expected 8 and 1 or 3.",
        )
    return Probe(
        kind="jpeg",
        height=height,
        width=width,
        channels=components,
        depth="uint8",
        orientation=orientation,
    )


def _probe_tiff(data: bytes) -> Probe:
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            pages = len(tiff.pages)
            thumbnail = pages > 1 and tiff.pages[1].is_reduced
            tag = page.tags.get(274)
            orientation = int(tag.value) if tag is not None else 1
            _check_size(page.imagelength, page.imagewidth)
            ends = [a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=True)]
            channels, depth = _tiff_samples(page)
            height, width = page.imagelength, page.imagewidth
    except ImageError:
        raise
    # A damaged directory makes the library raise nearly anything.
    except Exception as error:
        raise ImageError("unreadable", f"damaged TIFF directory: {error}.") from error
    if pages > 1 and not thumbnail:
        raise ImageError(
            "unsupported", f"the TIFF file holds {pages} images; expected one. Split it."
        )
    if not ends or max(ends) > len(data):
        raise ImageError("truncated", "the TIFF file ends before its pixels do; copy it again.")
    return Probe(
        kind="tiff",
        height=height,
        width=width,
        channels=channels,
        depth=depth,
        orientation=orientation if 1 <= orientation <= 8 else 1,
    )


def _tiff_samples(page: tifffile.TiffPage) -> tuple[int, SampleType]:
    """Return channels (without alpha) and depth of a TIFF page, or refuse it."""
    photometric, samples = int(page.photometric), page.samplesperpixel
    if photometric == 5:
        raise ImageError("cmyk", "CMYK colour; expected grey or RGB. Convert it to sRGB.")
    colors = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}.get(photometric)
    if colors is None or samples not in (colors, colors + 1) or getattr(page, "imagedepth", 1) != 1:
        raise ImageError(
            "unsupported", f"TIFF with photometric {photometric} and {samples} samples a pixel; "
            "expected grey or RGB."
        )  # fmt: skip
    kind = None if page.dtype is None else page.dtype.name
    depths: dict[str | None, SampleType] = {"uint8": "uint8", "uint16": "uint16"}
    if photometric in (1, 2):
        depths |= {"float16": "float32", "float32": "float32", "float64": "float32"}
    if kind not in depths or page.bitspersample not in (8, 16, 32, 64):
        raise ImageError(
            "unsupported",
            f"TIFF samples of type {kind or 'unknown'} ({page.bitspersample} bits); "
            "expected uint8, uint16 or float.",
        )
    return (3 if photometric == 3 else colors), depths[kind]


def exif_orientation(body: bytes) -> int:
    """Read the orientation, 1 to 8, from an Exif block; 1 where it is absent or damaged."""
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None or len(body) < 8:
        return 1
    (start,) = struct.unpack(order + "I", body[4:8])
    if start + 2 > len(body):
        return 1
    (entries,) = struct.unpack(order + "H", body[start : start + 2])
    for index in range(entries):
        entry = body[start + 2 + 12 * index : start + 14 + 12 * index]
        if len(entry) < 12:
            return 1
        tag, kind, count, value = struct.unpack(order + "HHIH", entry[:10])
        if tag == 0x0112:
            return int(value) if kind == 3 and count == 1 and 1 <= value <= 8 else 1
    return 1
