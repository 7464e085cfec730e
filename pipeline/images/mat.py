"""MATLAB files: version 5 through scipy, version 7.3, which is HDF5, through h5py.

MATLAB stores columns first. scipy gives a version 5 variable in MATLAB's own shape; HDF5 shows the
same numbers with the axes in reverse, so a version 7.3 variable is transposed back here: every
array has MATLAB's shape and the picture its upright orientation, whichever version the file is of.

A file holds either one picture, ``(H, W)`` raw, or many *blocks*, ``(..., H, W)`` raw or
``(..., H, W, 3)`` sRGB, counted over the leading axes in C order (SIDD: block ``32 * scene + i``).

Sources: MathWorks, "MAT-File Format"; the versions begin with the texts looked for below.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import h5py
import numpy as np
import scipy.io

from pipeline.errors import ImageError
from pipeline.images.cache import PixelCache
from pipeline.images.files import file_stamp, local_path, read_file
from pipeline.pixels import Pixels

__all__ = ["Variable", "block_count", "forget_blocks", "open_mat", "read_block"]

# One pair of SIDD's raw validation files: 2 x 40 x 32 x 256 x 256 float32.
_WHOLE = PixelCache(640 * 2**20)
_LOADING = threading.Lock()
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of a file: its name, MATLAB's shape, and its numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _dataset: Any

    def read(self) -> np.ndarray[Any, Any]:
        """Return all of it."""
        if isinstance(self._dataset, np.ndarray):
            return self._dataset
        return np.ascontiguousarray(self._dataset[()].T)

    def at(self, index: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return what lies at leading indices."""
        if isinstance(self._dataset, np.ndarray):
            return np.ascontiguousarray(self._dataset[index])
        return np.ascontiguousarray(self._dataset[(..., *reversed(index))].T)


@contextmanager
def open_mat(data: bytes | str, *, prefer: str = "") -> Iterator[Variable]:
    """Open the variable of a file that holds a picture or pictures.

    Args:
        data: The file's bytes, or the path of a local file.
        prefer: Which to take if there are several; the only one otherwise.

    Raises:
        ImageError: If it is no MATLAB file, damaged, or has no single variable of numbers.
    """
    start = data[:8] if isinstance(data, bytes) else _start(data)
    source: Any = io.BytesIO(data) if isinstance(data, bytes) else data
    # A version 7.3 file begins with 512 bytes of MATLAB's own; then HDF5's signature follows.
    if start == _HDF5 or start.startswith(b"MATLAB 7"):
        with _hdf5(source) as file:
            datasets = {k: v for k, v in file.items() if isinstance(v, h5py.Dataset)}
            name = _choose(list(datasets), prefer)
            found = datasets[name]
            yield _checked(Variable(name, tuple(found.shape[::-1]), found.dtype, found))
    elif start.startswith(b"MATLAB 5"):
        yield _load_5(source, prefer)
    else:
        raise ImageError(
            "not-an-image",
            f"starts with {start!r}; expected a MATLAB file of version 5 or 7.3.",
        )


def block_count(uri: str, color: str) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Return the leading axes of a file of blocks, and the height and width of a block.

    Args:
        uri: The file.
        color: ``srgb`` for blocks of three channels, ``raw`` for mosaics.

    Raises:
        ImageError: If the file does not hold blocks.
    """
    with _opened(uri) as variable:
        return _split(variable, color)


def read_block(uri: str, block: int, color: str) -> Pixels:
    """Read one block.

    Args:
        uri: The file.
        block: Its number.
        color: As for :func:`block_count`.

    Returns:
        ``(H, W, 3)`` or ``(H, W)`` in the type of the file.

    Raises:
        ImageError: ``missing`` if there is no such block.
    """
    with _opened(uri) as variable:
        axes, _ = _split(variable, color)
        if block >= int(np.prod(axes)):
            raise ImageError("missing", f"the file has {int(np.prod(axes))} blocks.")
        return variable.at(tuple(int(i) for i in np.unravel_index(block, axes)))


def forget_blocks() -> None:
    """Free the files that had to be read whole; they are read again when they are asked for."""
    _WHOLE.clear()


@contextmanager
def _opened(uri: str) -> Iterator[Variable]:
    """Open a file of blocks; a version 5 variable, which can only be read whole, is kept."""
    stem = PurePosixPath(uri).stem
    path = local_path(uri)
    if path is not None and not _start(path).startswith(b"MATLAB 5"):
        with open_mat(path, prefer=stem) as variable:
            yield variable
        return

    def load() -> Pixels:
        with open_mat(read_file(uri) if path is None else path, prefer=stem) as variable:
            return variable.read()

    with _LOADING:  # a thread pool asks for a thousand blocks at once; one of it loads
        array = _WHOLE.get((uri, file_stamp(uri)), load)
    yield Variable(stem, array.shape, array.dtype, array)


def _split(variable: Variable, color: str) -> tuple[tuple[int, ...], tuple[int, int]]:
    last = 3 if color == "srgb" else 2
    shape = variable.shape
    if len(shape) <= last or (color == "srgb" and shape[-1] != 3):
        expected = "(..., H, W, 3)" if color == "srgb" else "(..., H, W)"
        raise ImageError(
            "unsupported",
            f"variable {variable.name!r} has shape {shape}; expected {color} blocks {expected}.",
        )
    height, width = shape[len(shape) - last], shape[len(shape) - last + 1]
    return shape[:-last], (height, width)


def _start(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(8)
    except FileNotFoundError as error:
        raise ImageError("missing", "no such file.") from error
    except OSError as error:
        raise ImageError("unreadable", f"cannot be read: {error.strerror or error}.") from error


@contextmanager
def _hdf5(source: Any) -> Iterator[h5py.File]:
    try:
        file = h5py.File(source, "r")
    except (OSError, ValueError) as error:
        raise ImageError(
            "unreadable", f"damaged MATLAB 7.3 file: {error}; copy it again."
        ) from error
    with file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError) as error:  # damage inside
            raise ImageError("unreadable", f"damaged MATLAB 7.3 file: {error}.") from error


def _load_5(source: Any, prefer: str) -> Variable:
    try:
        name = _choose([entry[0] for entry in scipy.io.whosmat(source)], prefer)
        if isinstance(source, io.BytesIO):
            source.seek(0)
        array = scipy.io.loadmat(source, variable_names=[name])[name]
    except (ImageError, MemoryError):
        raise
    # A damaged file makes the library raise nearly anything.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError("unreadable", f"damaged MATLAB 5 file: {text}.") from error
    if not isinstance(array, np.ndarray):
        raise ImageError("unsupported", f"variable {name!r} is no array of numbers.")
    return _checked(Variable(name, array.shape, array.dtype, array))


def _choose(names: list[str], prefer: str) -> str:
    if prefer in names:
        return prefer
    if len(names) == 1:
        return names[0]
    raise ImageError(
        "unsupported",
        f"holds the variables {', '.join(names) or 'none'}; expected one"
        + (f", or one named {prefer!r}." if prefer else "."),
    )


def _checked(variable: Variable) -> Variable:
    if variable.dtype.kind not in "uf":
        raise ImageError(
            "unsupported",
            f"variable {variable.name!r} is of type {variable.dtype}; expected unsigned integers "
            "or floats.",
        )
    return variable
