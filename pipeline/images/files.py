"""The bytes of a file, wherever it is: a path, an fsspec URL or a photograph of scikit-image.

File names need not be UTF-8. Inside Python such a name carries surrogates, which neither JSON
writers, Arrow nor terminals accept, so :func:`path_uri` writes it as a ``file://`` URL with the odd
bytes percent-encoded; every other path stays as it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import fsspec

from pipeline.errors import ImageError

__all__ = ["BUNDLED", "display", "file_stamp", "local_path", "path_uri", "read_file"]

MAX_FILE_BYTES = 4 * 2**30

# SHA-256 of the files in the wheels of scikit-image 0.26.0; public domain (NASA, SpaceX) or CC0.
BUNDLED = {
    "astronaut": ("png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    "chelsea": ("png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    "coffee": ("png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    "rocket": ("jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
}


def display(uri: str) -> str:
    r"""Return a URI that can be printed and stored: bytes that are not UTF-8 become ``\udcXX``."""
    return uri.encode("utf-8", "backslashreplace").decode()


def path_uri(path: str) -> str:
    """Return the URI of a local path: the path itself, or a ``file://`` URL if it is not UTF-8.

    Example:
        >>> path_uri("/photos/a.png"), path_uri("/photos/caf" + chr(0xDCE9) + ".png")
        ('/photos/a.png', 'file:///photos/caf%E9.png')
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(os.path.abspath(path)))
    return path


def local_path(uri: str) -> str | None:
    """Return the path of a URI on this machine, or None for other URLs."""
    if uri.startswith("file://"):
        return os.fsdecode(
            unquote_to_bytes(uri.removeprefix("file://").encode("utf-8", "surrogateescape"))
        )
    if uri.startswith("skimage:"):
        return str(_bundled(uri.removeprefix("skimage:"))[0])
    return None if "://" in uri else os.path.expanduser(uri)


def file_stamp(uri: str) -> tuple[int, int]:
    """Return (modification time in ns, bytes) of a local file; (0, 0) for URLs and lost files."""
    path = local_path(uri)
    if path is None:
        return 0, 0
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def read_file(uri: str) -> bytes:
    """Read all bytes of a file.

    Args:
        uri: A path, an fsspec URL, or ``skimage:NAME`` for a bundled photograph, whose hash is
            checked.

    Returns:
        The bytes; at least one.

    Raises:
        ImageError: ``missing``, ``unreadable``, ``empty``, ``too-large`` (over 4 GiB), ``changed``.
    """
    path = local_path(uri)
    data = _read_url(uri) if path is None else _read_path(path)
    if not data:
        raise ImageError("empty", "the file has 0 bytes; expected an image.")
    if uri.startswith("skimage:"):
        name = uri.removeprefix("skimage:")
        found, expected = hashlib.sha256(data).hexdigest(), _bundled(name)[1]
        if found != expected:
            raise ImageError(
                "changed",
                f"SHA-256 {found[:12]} of scikit-image's {name} is not the known {expected[:12]}; "
                "install scikit-image from the constraints file.",
            )
    return data


def _read_path(path: str) -> bytes:
    try:
        status = os.stat(path)
        # A pipe named x.png would block for ever, a directory cannot be read.
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("unreadable", "not a regular file.")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError("too-large", f"the file has {status.st_size} bytes, more than 4 GiB.")
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ImageError("missing", "no such file.") from error
    except OSError as error:
        raise ImageError("unreadable", f"cannot be read: {error.strerror or error}.") from error


def _read_url(uri: str) -> bytes:
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        size = filesystem.size(path)
        if size is not None and size > MAX_FILE_BYTES:
            raise ImageError("too-large", f"the file has {size} bytes, more than 4 GiB.")
        data: bytes = filesystem.cat_file(path)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError("missing", "no such file.") from error
    # Every store has its own exceptions, and a missing extra raises ImportError; all mean the same.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError("unreadable", f"cannot be read: {text}.") from error
    return data


def _bundled(name: str) -> tuple[Path, str]:
    """Return path and SHA-256 of a bundled photograph, without importing scikit-image."""
    if name not in BUNDLED:
        raise ImageError(
            "unreadable",
            f"scikit-image photograph {name!r} is unknown; known: {', '.join(BUNDLED)}.",
        )
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ImageError("unreadable", "scikit-image is not installed; pip install scikit-image.")
    suffix, sha256 = BUNDLED[name]
    return Path(spec.origin).parent / "data" / f"{name}.{suffix}", sha256
