"""HDF5 shards: one chunk a sample, so that a random read touches one sample and nothing else.

    /clean, /noisy          (N, H, W, C), chunks (1, H, W, C)
    /<column of rows.py>    (N,), UTF-8 text or numbers; unknown is "" or -1
    root attributes         format, version, manifest hash, layout, range, color, shard number

Noise hardly compresses (gzip leaves 90 %) and a compressed chunk is read some fifteen times slower,
so the default is no filter. The file format is fixed at HDF5 1.10: what "latest" means moves with
the library, and readers such as MATLAB follow slowly. No times are stored: equal rows give equal
bytes.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, BinaryIO

import h5py
import numpy as np

from pipeline.corpus.columns import COLUMNS, Column, ShardRows, column_of
from pipeline.corpus.formats.base import (
    ShardName,
    ShardReader,
    Sink,
    check_attributes,
    shard_attributes,
)
from pipeline.storage import Data, DatasetError, is_remote, join, open_binary

__all__ = ["Hdf5Reader", "Hdf5Sink"]

_VERSION = ("v110", "v110")
_IMAGES = ("clean", "noisy")


class Hdf5Reader(ShardReader):
    """Reads an HDF5 shard.

    HDF5 trusts its files: text columns of a damaged one can keep it busy for ever. Compare the hash
    first where damage is likely, as :func:`pipeline.corpus.verify.verify` does.

    Args:
        root: Folder or URL of the corpus.
        path: The shard's path below it.

    Raises:
        StorageError: If the file cannot be read.
        DatasetError: If it is damaged or no shard.
    """

    def __init__(self, root: str, path: str) -> None:
        self._root, self._path, self._where = root, path, join(root, path)
        self._source: BinaryIO | None = None
        self._file: Any = None
        try:
            with self._damage():
                file = self._hdf5()
                self.attributes = {key: _scalar(value) for key, value in file.attrs.items()}
                check_attributes(self.attributes, where=self._where)
                self._measure(file["clean"], file["noisy"])
                self.further = sorted(set(file) - {*_IMAGES, *COLUMNS})
        except BaseException:
            self.close()
            raise

    def _measure(self, clean: Any, noisy: Any) -> None:
        if clean.shape != noisy.shape or clean.dtype != noisy.dtype or clean.ndim != 4:
            raise DatasetError(f"{self._where}: /clean and /noisy differ, or are no images.")
        self.rows, self._row_shape, self._dtype = clean.shape[0], clean.shape[1:], clean.dtype
        self._row_bytes = int(np.prod(self._row_shape)) * self._dtype.itemsize
        self._offsets = [self._chunk_offsets(image) for image in (clean, noisy)]

    def _chunk_offsets(self, image: Any) -> np.ndarray | None:
        """Return where each row's bytes lie in the file, or ``None`` if HDF5 must be asked."""
        # Without a filter a chunk is the sample's own bytes: reading them from the file takes 2 us
        # where HDF5's selection machinery takes 36 us for a 64x64 image.
        plain = image.chunks == (1, *self._row_shape) and image.compression is None
        if is_remote(self._root) or not plain:
            return None
        offsets = np.full(self.rows, -1, dtype=np.int64)

        def note(chunk: Any) -> None:
            offsets[chunk.chunk_offset[0]] = chunk.byte_offset

        image.id.chunk_iter(note)
        return None if (offsets < 0).any() else offsets

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return whole columns as Python values, ``None`` where unknown."""
        with self._damage():
            return {name: self._column(name) for name in names}

    def _column(self, name: str) -> list[Any]:
        dataset = self._hdf5()[name]
        column = COLUMNS.get(name) or _as_stored(dataset)
        if dataset.shape != (self.rows,):
            raise DatasetError(
                f"{self._where}: column {name!r} has shape {dataset.shape}, not ({self.rows},)."
            )
        if column.kind == "string":
            texts: list[Any] = dataset.asstr()[:].tolist()
            return [text or None for text in texts] if column.nullable else texts
        if dataset.dtype != column.kind:
            raise DatasetError(
                f"{self._where}: column {name!r} is {dataset.dtype}, not {column.kind}."
            )
        numbers: list[Any] = dataset[:].tolist()
        if not column.nullable:
            return numbers
        if column.kind == "float32":
            return [None if math.isnan(value) else value for value in numbers]
        return [None if value == -1 else value for value in numbers]

    def pair(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return clean and noisy of one row, each ``(H, W, C)``; they may be read-only."""
        if not 0 <= row < self.rows:
            raise IndexError(f"{self._where} has {self.rows} rows; there is no row {row}.")
        clean, noisy = self._offsets
        if clean is None or noisy is None:
            with self._damage():
                file = self._hdf5()
                return np.asarray(file["clean"][row]), np.asarray(file["noisy"][row])
        return self._at(int(clean[row])), self._at(int(noisy[row]))

    def _at(self, offset: int) -> np.ndarray:
        data = os.pread(self._open().fileno(), self._row_bytes, offset)
        if len(data) != self._row_bytes:
            raise DatasetError(f"{self._where} is damaged: it ends within the row at {offset}.")
        return np.frombuffer(data, dtype=self._dtype).reshape(self._row_shape)

    def images(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return clean and noisy of rows ``start`` to ``stop``, each ``(n, H, W, C)``."""
        with self._damage():
            file = self._hdf5()
            return np.asarray(file["clean"][start:stop]), np.asarray(file["noisy"][start:stop])

    def close(self) -> None:
        """Give the file back; reading again opens it again."""
        if self._file is not None:
            self._file.close()
        if self._source is not None:
            self._source.close()
        self._file = self._source = None

    def _open(self) -> BinaryIO:
        if self._source is None:
            self._source = open_binary(self._root, self._path)
        return self._source

    def _hdf5(self) -> Any:
        if self._file is None:
            # Through Python's file object, not by name: HDF5 refuses a name that this process has
            # already open with another locking mode, and shares its state across a fork.
            self._file = h5py.File(self._open(), "r")
        return self._file

    @contextmanager
    def _damage(self) -> Iterator[None]:
        # h5py has no error tree: a damaged file surfaces as any of these.
        try:
            yield
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, EOFError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DatasetError(f"{self._where} is damaged or no HDF5 file: {text}") from error


class Hdf5Sink(Sink):
    """Writes HDF5 shards, ``hdf5/<name>.h5``."""

    format = "hdf5"
    folders = ("hdf5",)
    suffix = ".h5"
    settings = MappingProxyType({"hdf5_compression": "none"})
    reader = Hdf5Reader
    single_rows = True
    hub_folder = "hdf5"

    @classmethod
    def example(cls, path: str, split: str) -> str:
        """Return how h5py opens a file."""
        return f"""\
import h5py                                        # one chunk a sample: random reads are fast
shard = h5py.File("{path}")
clean, noisy = shard["clean"][0], shard["noisy"][0]  # (H, W, C), as stored"""

    def encode(self, name: ShardName, rows: ShardRows) -> Data:
        """Return the file's bytes."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=_VERSION, track_order=False) as file:
            file.attrs.update(shard_attributes(name, rows, self.options))
            for key, image in zip(_IMAGES, (rows.clean, rows.noisy), strict=True):
                self._add_images(file, key, image)
            for key, values in rows.columns.items():
                _add_column(file, key, values)
        return buffer.getbuffer()

    def _add_images(self, file: Any, key: str, image: np.ndarray) -> None:
        compression = self.setting("hdf5_compression")
        file.create_dataset(
            key,
            data=np.ascontiguousarray(image),
            chunks=(1, *image.shape[1:]),
            compression=None if compression == "none" else compression,
            compression_opts=1 if compression == "gzip" else None,
            track_times=False,
        )


def _add_column(file: Any, key: str, values: Any) -> None:
    column = column_of(key)
    if column.kind == "string":
        data = np.array([value or "" for value in values], dtype=object)
        kind: Any = h5py.string_dtype("utf-8")
    else:
        unknown = math.nan if column.kind == "float32" else -1
        data = np.array([unknown if v is None else v for v in values], dtype=column.kind)
        kind = column.kind
    dataset = file.create_dataset(key, data=data, dtype=kind, track_times=False)
    dataset.attrs["description"] = column.doc


def _as_stored(dataset: Any) -> Column:
    """Return what a column of capture metadata holds, also where nothing here knows its name."""
    text = h5py.check_string_dtype(dataset.dtype) is not None
    return Column(kind="string" if text else dataset.dtype.name, doc="", nullable=True)


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
