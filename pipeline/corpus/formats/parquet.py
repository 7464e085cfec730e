"""Parquet shards: pictures that Hugging Face ``datasets``, DuckDB, Daft and Ray read as they are.

Two layouts, by what is stored:

    data/     8-bit grey or RGB: ``clean`` and ``noisy`` are struct<bytes, path> with PNG bytes, and
              the schema carries Hugging Face's description, so they open as images
    tensor/   16 bit, float or raw: ``arrow.fixed_shape_tensor``; one such column makes a file
              unreadable to ``datasets`` 5.2, and Pillow cuts 16-bit RGB PNG to 8 bits, so these
              live in a folder of their own

PNG bytes are stored plain and uncompressed (they do not shrink again, and readers can take a row's
bytes straight from the page); all else is compressed with zstd, columns of text and numbers through
a dictionary first.
"""

from __future__ import annotations

import bisect
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, BinaryIO

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.columns import COLUMNS, ShardRows, column_of
from pipeline.corpus.formats.base import (
    ShardName,
    ShardReader,
    Sink,
    check_attributes,
    shard_attributes,
)
from pipeline.pixels import SampleType
from pipeline.storage import Data, DatasetError, join, open_binary

__all__ = ["ParquetReader", "ParquetSink"]

_KEY = b"noisemill"
_IMAGES = ("clean", "noisy")
_PICTURES, _TENSORS = "data", "tensor"
# Share of raw size of an 8-bit photograph with noise as PNG level 1, measured on noisy PolyU
# patches (docs/decisions.md); the other forms are stored as they are.
_PNG_SHARE = 0.8
_GROUP_BYTES = 48 << 20
_CACHED_GROUPS = 4
_ARROW_TYPES = {
    "string": pa.string(),
    "int32": pa.int32(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
}
# What grain leaves to find are run lengths; searching it for repeats costs time and finds none. For
# a 64x64 patch of a photograph: 170 microseconds in place of 310 with zlib's own strategy, and 1 to
# 6 % fewer bytes. Which filters are tried can be told since OpenCV 4.12.
_QUICK = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE] + (
    [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FAST_FILTERS]
    if hasattr(cv2, "IMWRITE_PNG_FAST_FILTERS")
    else []
)
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class ParquetReader(ShardReader):
    """Reads a Parquet shard; a row group is read whole at its first row and kept for a while.

    Args:
        root: Folder or URL of the corpus.
        path: The shard's path below it.

    Raises:
        StorageError: If the file cannot be read.
        DatasetError: If it is damaged or no shard.
    """

    def __init__(self, root: str, path: str) -> None:
        self._root, self._path, self._where = root, path, join(root, path)
        self._groups: OrderedDict[int, tuple[Any, Any]] = OrderedDict()
        self._source: BinaryIO | None = None
        self._file: Any = None
        self._footer: Any = None
        try:
            with self._damage():
                file = self._parquet()
                schema, footer = file.schema_arrow, file.metadata
                self.attributes = json.loads((schema.metadata or {}).get(_KEY, b"{}"))
                check_attributes(self.attributes, where=self._where)
                self._check_schema(schema)
                self.further = sorted(set(schema.names) - {*_IMAGES, *COLUMNS})
        except BaseException:
            self.close()
            raise
        self.rows = int(footer.num_rows)
        self._starts = [0]
        for group in range(footer.num_row_groups):
            self._starts.append(self._starts[-1] + footer.row_group(group).num_rows)

    def _check_schema(self, schema: pa.Schema) -> None:
        wanted = {key: _ARROW_TYPES[column.kind] for key, column in COLUMNS.items()}
        for key in (*_IMAGES, *wanted):
            if key not in schema.names:
                raise DatasetError(f"{self._where}: column {key!r} is missing.")
            if key in wanted and schema.field(key).type != wanted[key]:
                raise DatasetError(
                    f"{self._where}: column {key!r} is {schema.field(key).type}, not {wanted[key]}."
                )

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return whole columns as Python values, ``None`` where unknown."""
        with self._damage():
            table = self._parquet().read(columns=list(names), use_threads=False)
            return {name: table[name].to_pylist() for name in names}

    def pair(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return clean and noisy of one row, each ``(H, W, C)``."""
        if not 0 <= row < self.rows:
            raise IndexError(f"{self._where} has {self.rows} rows; there is no row {row}.")
        number = bisect.bisect_right(self._starts, row) - 1
        with self._damage():
            clean, noisy = (
                _picture(column, row - self._starts[number]) for column in self._group(number)
            )
        return clean, noisy

    def _group(self, number: int) -> tuple[Any, Any]:
        if number not in self._groups:
            table = self._parquet().read_row_group(number, columns=list(_IMAGES), use_threads=False)
            clean, noisy = (_unpacked(table[key].combine_chunks()) for key in _IMAGES)
            self._groups[number] = (clean, noisy)
            if len(self._groups) > _CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(number)
        return self._groups[number]

    def close(self) -> None:
        """Give the file and the kept rows back; reading again opens it again."""
        self._groups.clear()
        if self._file is not None:
            self._file.close()
        if self._source is not None:
            self._source.close()
        self._file = self._source = None

    def _parquet(self) -> Any:
        if self._file is None:
            self._source = open_binary(self._root, self._path)
            self._file = pq.ParquetFile(
                self._source, metadata=self._footer, page_checksum_verification=True
            )
            self._footer = self._file.metadata
        return self._file

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, KeyError, cv2.error) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DatasetError(f"{self._where} is damaged or no Parquet file: {text}") from error


class ParquetSink(Sink):
    """Writes Parquet shards, ``data/<name>.parquet`` or ``tensor/<name>.parquet``."""

    format = "parquet"
    folders = (_PICTURES, _TENSORS)
    suffix = ".parquet"
    settings = MappingProxyType({"png_level": 1, "rows_per_group": 100})
    reader = ParquetReader
    hub_folder = _PICTURES
    hub_pictures = True

    @classmethod
    def stored_share(cls, encoding: SampleType) -> float:
        """Return about what share of the pixels' own bytes a file takes."""
        return _PNG_SHARE if encoding == "uint8" else 1.0

    @classmethod
    def example(cls, path: str, split: str) -> str | None:
        """Return how Hugging Face ``datasets`` opens pictures; it reads no tensors."""
        if not path.startswith(f"{_PICTURES}/"):
            return None
        return f"""\
from datasets import load_dataset                  # Hugging Face datasets; images decode
pairs = load_dataset("parquet", data_files={{"{split}": "data/{split}-*.parquet"}}, split="{split}")
clean, noisy = pairs[0]["clean"], pairs[0]["noisy"]"""

    def folder(self, rows: ShardRows) -> str:
        """Return ``data`` for pictures, ``tensor`` for the rest."""
        return _PICTURES if _are_pictures(rows) else _TENSORS

    def encode(self, name: ShardName, rows: ShardRows) -> Data:
        """Return the file's bytes."""
        table = self._table(name, rows)
        buffer = pa.BufferOutputStream()
        group = max(1, min(self.setting("rows_per_group"), _GROUP_BYTES // _row_bytes(rows)))
        with pq.ParquetWriter(
            buffer,
            table.schema,
            compression=_compression(rows),
            use_dictionary=list(rows.columns),
            write_page_index=True,
            write_page_checksum=True,
        ) as writer:
            writer.write_table(table, row_group_size=group)
        return memoryview(buffer.getvalue())

    def _table(self, name: ShardName, rows: ShardRows) -> pa.Table:
        fields, arrays = [], []
        for key in rows.columns:
            column = column_of(key)
            kind = _ARROW_TYPES[column.kind]
            note = {b"description": column.doc.encode()}
            fields.append(pa.field(key, kind, metadata=note))
            arrays.append(pa.array(rows.columns[key], type=kind))
        # Images come second, after sample_id: viewers show columns in this order. No field is
        # declared "not null": `datasets` 5.2 then no longer takes the struct for an image.
        for place, (key, image) in enumerate(
            zip(_IMAGES, (rows.clean, rows.noisy), strict=True), 1
        ):
            array = self._pictures(key, image, rows) if _are_pictures(rows) else _tensors(image)
            fields.insert(place, pa.field(key, array.type))
            arrays.insert(place, array)
        metadata = {_KEY: json.dumps(shard_attributes(name, rows, self.options)).encode()}
        if _are_pictures(rows):
            metadata[b"huggingface"] = json.dumps(_huggingface([f.name for f in fields])).encode()
        return pa.table(arrays, schema=pa.schema(fields, metadata=metadata))

    def _pictures(self, key: str, image: np.ndarray, rows: ShardRows) -> pa.StructArray:
        pictures = [encode_png(row, self.setting("png_level")) for row in image]
        names = [f"{sample}_{key}.png" for sample in rows.columns["sample_id"]]
        return pa.StructArray.from_arrays(
            [pa.array(pictures, pa.binary()), pa.array(names, pa.string())], fields=list(_PICTURE)
        )


def encode_png(image: np.ndarray, level: int) -> bytes:
    """Encode an image without loss.

    Args:
        image: ``(H, W, 1)`` or ``(H, W, 3)`` RGB, uint8 or uint16.
        level: Compression, 0 to 9.

    Returns:
        The PNG file's bytes; equal arguments and versions of OpenCV give equal bytes.
    """
    ordered = image[:, :, ::-1] if image.shape[2] == 3 else image  # OpenCV's order is B, G, R
    how = [cv2.IMWRITE_PNG_COMPRESSION, level, *(_QUICK if level == 1 else ())]
    done, data = cv2.imencode(".png", np.ascontiguousarray(ordered), how)
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} {image.dtype}.")
    return data.tobytes()


def decode_png(data: bytes | memoryview | pa.Buffer) -> np.ndarray:
    """Decode what :func:`encode_png` made, to ``(H, W, C)`` in R, G, B order.

    Raises:
        ValueError: If the bytes are no picture.
    """
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("an image is no PNG")
    return np.ascontiguousarray(image[:, :, None] if image.ndim == 2 else image[:, :, ::-1])


def _are_pictures(rows: ShardRows) -> bool:
    return rows.encoding == "uint8" and rows.channels in (1, 3)


def _row_bytes(rows: ShardRows) -> int:
    return 2 * int(rows.clean[0].nbytes)


def _tensors(image: np.ndarray) -> Any:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(image))


def _unpacked(column: Any) -> Any:
    """Return a column of images as something that an image can be taken from by number."""
    if isinstance(column, pa.FixedShapeTensorArray):
        return column.to_numpy_ndarray()
    return column.field("bytes")


def _picture(column: Any, row: int) -> np.ndarray:
    if isinstance(column, np.ndarray):
        return column[row]  # type: ignore[no-any-return]
    return decode_png(column[row].as_buffer())


def _compression(rows: ShardRows) -> dict[str, str]:
    """Return the codec of every Parquet leaf column."""
    if _are_pictures(rows):
        leaves = {f"{key}.{part}": "none" for key in _IMAGES for part in ("bytes", "path")}
    else:
        # Parquet has no integer below 32 bits; zstd takes the empty bytes out again.
        leaves = {f"{key}.list.element": "zstd" for key in _IMAGES}
    return {key: "zstd" for key in rows.columns} | leaves


def _huggingface(names: Sequence[str]) -> dict[str, Any]:
    """Return the description by which ``datasets`` knows what to decode."""
    features: dict[str, Any] = {
        name: {"_type": "Image"}
        if name in _IMAGES
        else {"dtype": column_of(name).kind, "_type": "Value"}
        for name in names
    }
    return {"info": {"features": features}}
