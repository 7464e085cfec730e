"""Reading: pixels are exact and upright, and nothing that is damaged gets through."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.images import MAX_PIXELS, ImageError, decode, display, read_header, read_pixels
from pipeline.images.cache import PixelCache
from pipeline.images.files import BUNDLED, path_uri
from pipeline.images.pixels import CACHE

Texture = Callable[..., np.ndarray]
WriteImage = Callable[[Path, np.ndarray], Path]


def reason(uri: Path | str) -> str:
    """The reason for which an image is refused, whichever of the two functions refuses it."""
    try:
        read_header(str(uri))
        with pytest.raises(ImageError) as caught:
            read_pixels(str(uri))
        error = caught.value
    except ImageError as refused:
        error = refused
    assert display(str(uri)) in str(error)
    assert "\n" not in str(error)
    return error.reason


def pillow_bytes(pixels: np.ndarray, kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_bytes(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


# Pixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_lossless_files_come_back_exactly(
    tmp_path: Path,
    texture: Texture,
    write_image: WriteImage,
    channels: int,
    dtype: str,
    suffix: str,
) -> None:
    pixels = texture(channels=channels).astype(dtype)
    if dtype == "uint16":
        pixels = pixels * np.uint16(257) + np.uint16(3)
    path = write_image(tmp_path / f"a{suffix}", pixels)
    read, header = read_pixels(str(path)), read_header(str(path))
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == dtype
    assert (header.height, header.width, header.channels, header.depth) == (*pixels.shape, dtype)


def test_colours_are_in_the_order_red_green_blue(tmp_path: Path) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    for kind, name in (("JPEG", "r.jpg"), ("PNG", "r.png"), ("TIFF", "r.tif")):
        (tmp_path / name).write_bytes(pillow_bytes(red, kind))
        mean = read_pixels(str(tmp_path / name)).mean(axis=(0, 1))
        assert mean[0] > 240
        assert max(mean[1:]) < 10


def test_a_jpeg_decodes_as_another_library_decodes_it(texture: Texture) -> None:
    data = pillow_bytes(texture(64, 80), "JPEG", quality=95)
    other = np.asarray(Image.open(io.BytesIO(data)), np.int16)
    # Decoders may round the inverse transform and the colour matrix differently.
    assert np.abs(decode(data).astype(np.int16) - other).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "TIFF-LZW"])
def test_orientation_is_applied_by_header_and_pixels(
    tmp_path: Path, texture: Texture, kind: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"compression": "tiff_lzw"} if kind == "TIFF-LZW" else {}
    # Equal channels: JPEG halves the resolution of colour.
    stored = np.repeat(texture(24, 40, 1), 3, axis=2)
    path = tmp_path / "a.img"
    path.write_bytes(pillow_bytes(stored, kind.split("-")[0], exif=exif, **options))
    upright = {
        1: stored,
        2: np.fliplr(stored),
        3: np.rot90(stored, 2),
        4: np.flipud(stored),
        5: np.transpose(stored, (1, 0, 2)),
        6: np.rot90(stored, -1),
        7: np.rot90(np.transpose(stored, (1, 0, 2)), 2),
        8: np.rot90(stored, 1),
    }[orientation]
    read, header = read_pixels(str(path)), read_header(str(path))
    assert read.shape == upright.shape == (header.height, header.width, 3)
    error = np.abs(read.astype(int) - upright).mean()
    assert error < (4 if kind == "JPEG" else 1e-9)


@pytest.mark.parametrize("compression", [None, "zlib", "tiff_lzw"])
@pytest.mark.parametrize("planar", [False, True])
def test_float_tiffs_come_back_exactly(
    tmp_path: Path, texture: Texture, compression: str | None, planar: bool
) -> None:
    pixels = texture().astype(np.float32) / 255
    path = tmp_path / "a.tif"
    if compression == "tiff_lzw":
        if planar:
            pytest.skip("no writer of this combination is installed")
        assert cv2.imwrite(str(path), pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    else:
        stored = np.moveaxis(pixels, -1, 0) if planar else pixels
        config = "separate" if planar else "contig"
        options = {"photometric": "rgb", "planarconfig": config, "compression": compression}
        path.write_bytes(tiff_bytes(np.ascontiguousarray(stored), **options))
    np.testing.assert_array_equal(read_pixels(str(path)), pixels)
    assert read_header(str(path)).depth == "float32"


def test_float64_becomes_float32_and_resampling_overshoot_is_clipped(tmp_path: Path) -> None:
    pixels = np.full((16, 16), 0.5)
    pixels[0, 0], pixels[0, 1] = 1.0005, -0.0005
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes(pixels, photometric="minisblack"))
    read = read_pixels(str(path))
    assert read.dtype == np.float32
    assert (read.min(), read.max()) == (0.0, 1.0)


def test_a_tiff_in_which_zero_is_white_is_inverted(tmp_path: Path, texture: Texture) -> None:
    pixels = texture(channels=1)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes(255 - pixels[..., 0], photometric="miniswhite"))
    np.testing.assert_array_equal(read_pixels(str(path)), pixels)


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 1), ("P", 3), ("1", 1)])
def test_odd_png_kinds_become_grey_or_rgb(
    tmp_path: Path, texture: Texture, mode: str, channels: int
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(pillow_bytes(texture(), "PNG", mode))
    expected = np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB"))
    read, header = read_pixels(str(path)), read_header(str(path))
    np.testing.assert_array_equal(read.squeeze(), expected)
    assert read.shape == (48, 64, channels)
    assert header.channels == channels


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_bundled_photographs_are_the_known_files(name: str) -> None:
    header, pixels = read_header(f"skimage:{name}"), read_pixels(f"skimage:{name}")
    assert header.sha256 == BUNDLED[name][1]
    assert pixels.shape == (header.height, header.width, 3)


def test_a_header_hashes_the_bytes_of_the_file(tmp_path: Path, texture: Texture) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(pillow_bytes(texture(), "JPEG"))
    header = read_header(str(path))
    assert header.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert header.bytes == path.stat().st_size


def test_urls_are_read_like_paths(tmp_path: Path, texture: Texture) -> None:
    data = pillow_bytes(texture(), "PNG")
    with fsspec.open("memory://images/a b.png", "wb") as file:
        file.write(data)
    path = tmp_path / "a b.png"
    path.write_bytes(data)
    for uri in ("memory://images/a b.png", f"file://{path}", str(path)):
        np.testing.assert_array_equal(read_pixels(uri), texture())
        assert read_header(uri).sha256 == hashlib.sha256(data).hexdigest()


def test_a_name_that_is_not_utf8_is_read_and_can_be_printed(
    tmp_path: Path, texture: Texture
) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(name, "wb") as file:
        file.write(pillow_bytes(texture(), "PNG"))
    path = os.fsdecode(name)
    uri = path_uri(path)
    uri.encode()
    display(path).encode()
    assert uri.endswith("/caf%E9.png")
    np.testing.assert_array_equal(read_pixels(uri), read_pixels(path))


# Refusals


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert reason(tmp_path / "a.png") == "empty"


def test_text_named_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture, just words")
    assert reason(tmp_path / "a.png") == "not-an-image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused_from_its_header(
    tmp_path: Path, texture: Texture, kind: str, share: float
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    data = pillow_bytes(texture(200, 200), kind, exif=exif)
    path = tmp_path / "a.img"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError) as caught:
        read_header(str(path))
    # A TIFF directory may lie at the end: then there is nothing left to say what is missing.
    assert caught.value.reason in ({"truncated", "unreadable"} if kind == "TIFF" else {"truncated"})


def test_a_jpeg_whose_end_is_zeros_is_refused(tmp_path: Path, texture: Texture) -> None:
    data = pillow_bytes(texture(200, 200), "JPEG")
    half = len(data) // 2
    (tmp_path / "a.jpg").write_bytes(data[:half] + bytes(len(data) - half))
    assert reason(tmp_path / "a.jpg") == "truncated"


def test_the_end_of_a_thumbnail_is_not_taken_for_the_end_of_the_image(
    tmp_path: Path, texture: Texture
) -> None:
    data = pillow_bytes(texture(200, 200), "JPEG")
    thumbnail = pillow_bytes(texture(16, 16), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = data[:2] + segment + data[2:]
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) - 200])
    assert read_pixels(str(tmp_path / "whole.jpg")).shape == (200, 200, 3)
    assert reason(tmp_path / "cut.jpg") == "truncated"


def test_a_jpeg_with_something_behind_its_end_is_read(tmp_path: Path, texture: Texture) -> None:
    (tmp_path / "a.jpg").write_bytes(pillow_bytes(texture(), "JPEG") + b"a film of three seconds")
    assert read_pixels(str(tmp_path / "a.jpg")).shape == (48, 64, 3)


def test_a_png_with_a_damaged_byte_is_refused(tmp_path: Path, texture: Texture) -> None:
    data = bytearray(pillow_bytes(texture(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(bytes(data))
    assert reason(tmp_path / "a.png") == "unreadable"


def test_cmyk_is_refused(tmp_path: Path, texture: Texture) -> None:
    (tmp_path / "a.jpg").write_bytes(pillow_bytes(texture(), "JPEG", "CMYK"))
    (tmp_path / "a.tif").write_bytes(pillow_bytes(texture(), "TIFF", "CMYK"))
    assert reason(tmp_path / "a.jpg") == reason(tmp_path / "a.tif") == "cmyk"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_refused(tmp_path: Path, texture: Texture, kind: str, mode: str) -> None:
    image = Image.fromarray(texture()).convert(mode)
    image.putalpha(Image.fromarray(texture(channels=1, seed=1).squeeze()))
    image.save(tmp_path / f"a.{kind}", kind)
    assert reason(tmp_path / f"a.{kind}") == "alpha"


def test_a_transparent_colour_is_refused(tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), 7, np.uint8)
    (tmp_path / "rgb.png").write_bytes(pillow_bytes(flat, "PNG", transparency=(7, 7, 7)))
    (tmp_path / "grey.png").write_bytes(pillow_bytes(flat, "PNG", "L", transparency=7))
    assert reason(tmp_path / "rgb.png") == reason(tmp_path / "grey.png") == "alpha"


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (20_001, 20_000)])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    (tmp_path / "a.png").write_bytes(png_header(*size))
    assert reason(tmp_path / "a.png") == "too-large"


def test_a_header_that_promises_more_pixels_than_there_are_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(64, 64))
    assert reason(tmp_path / "a.png") == "unreadable"


def test_a_jpeg_header_that_claims_more_pixels_than_its_bytes_can_hold_is_refused(
    tmp_path: Path, texture: Texture
) -> None:
    data = bytearray(pillow_bytes(np.full((3000, 3000, 3), 9, np.uint8), "JPEG"))
    (tmp_path / "flat.jpg").write_bytes(data)  # the emptiest image a baseline encoder writes
    assert read_header(str(tmp_path / "flat.jpg")).width == 3000
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 19_000, 19_000)
    (tmp_path / "bomb.jpg").write_bytes(data)
    assert reason(tmp_path / "bomb.jpg") == "unreadable"


@pytest.mark.parametrize("size", [(1, 1), (7, 100)])
def test_images_smaller_than_any_patch_are_refused(
    tmp_path: Path, texture: Texture, write_image: WriteImage, size: tuple[int, int]
) -> None:
    pixels = np.zeros((*size, 3), np.uint8)
    for suffix in (".png", ".jpg", ".tif"):
        assert reason(write_image(tmp_path / f"a{suffix}", pixels)) == "too-small"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_float_samples_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    pixels = np.full((16, 16), 0.5, np.float32)
    pixels[3, 4] = value
    (tmp_path / "a.tif").write_bytes(tiff_bytes(pixels, photometric="minisblack"))
    assert reason(tmp_path / "a.tif") == "not-finite"


def test_float_samples_on_another_scale_are_refused(tmp_path: Path) -> None:
    pixels = np.full((16, 16), 128, np.float32)
    (tmp_path / "a.tif").write_bytes(tiff_bytes(pixels, photometric="minisblack"))
    assert reason(tmp_path / "a.tif") == "out-of-range"


def test_a_tiff_of_several_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(
        tiff_bytes(np.zeros((2, 16, 16), np.uint8), photometric="minisblack")
    )
    (tmp_path / "b.tif").write_bytes(
        tiff_bytes(np.zeros((16, 16), np.uint32), photometric="minisblack")
    )
    assert reason(tmp_path / "a.tif") == reason(tmp_path / "b.tif") == "unsupported"


def test_files_that_cannot_be_opened_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texture: Texture, write_image: WriteImage
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    assert reason(tmp_path / "folder.png") == "unreadable"
    assert reason(tmp_path / "loop.png") == "unreadable"
    assert reason(tmp_path / "pipe.png") == "unreadable"
    assert reason(tmp_path / "nowhere.png") == "missing"
    assert reason("memory://nowhere/a.png") == "missing"
    assert reason("skimage:eagle") == "unreadable"
    path = write_image(tmp_path / "locked.png", texture())

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert reason(path) == "unreadable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_damage_of_any_kind_is_an_image_error_and_nothing_else(texture: Texture, kind: str) -> None:
    data = pillow_bytes(texture(16, 16), kind)
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, min(len(data), 300), 4):
            broken[place] = rng.integers(256)
        try:
            decode(bytes(broken))
        except ImageError:
            refused += 1
    assert refused > 20


def test_an_image_error_survives_the_way_back_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(ImageError("cmyk", "CMYK colour.", "a.jpg")))
    assert (error.reason, error.detail, str(error)) == (
        "cmyk",
        "CMYK colour.",
        "a.jpg: CMYK colour.",
    )


# The cache


def test_an_image_is_decoded_once_until_its_file_changes(
    tmp_path: Path, texture: Texture, write_image: WriteImage
) -> None:
    path = write_image(tmp_path / "a.png", texture())
    first = read_pixels(str(path))
    assert read_pixels(str(path)) is first
    assert not first.flags.writeable
    write_image(path, texture(seed=1))
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(read_pixels(str(path)), texture(seed=1))


def test_the_cache_never_holds_more_than_its_limit() -> None:
    cache = PixelCache(1000)
    for key in range(10):
        cache.get(key, lambda: np.zeros((1, 1, 300), np.uint8))
        assert cache.size <= 1000
    first = cache.get(9, lambda: np.ones((1, 1, 1)))
    assert first.shape == (1, 1, 300)
    cache.get("large", lambda: np.zeros((1, 1, 2000), np.uint8))
    assert cache.size == 900
    assert cache.get(0, lambda: np.ones((1, 1, 1), np.uint8)).max() == 1
    assert CACHE.limit == 256 * 2**20
