"""Shard formats behind one seam: write rows to a file, read them back.

    record = sink("hdf5", options).write(root, ShardName(split="train", index=0, count=42), rows)
    with open_shard(root, record) as shard:
        clean, noisy = shard.images(0, shard.rows)

A new format is one file with a :class:`Sink` and a :class:`ShardReader`, one line in each of the
two functions here, and one case in the contract (tests/pipeline/corpus/formats/).
"""

from __future__ import annotations

from typing import Literal

from pipeline.corpus.formats.base import (
    FORMAT,
    FORMAT_VERSION,
    FileRecord,
    ShardName,
    ShardReader,
    Sink,
    SinkOptions,
)

__all__ = [
    "FORMAT",
    "FORMATS",
    "FORMAT_VERSION",
    "FileRecord",
    "Format",
    "ShardName",
    "ShardReader",
    "Sink",
    "SinkOptions",
    "open_shard",
    "sink",
]

Format = Literal["hdf5", "parquet"]
FORMATS: tuple[Format, ...] = ("hdf5", "parquet")


def sink(format: Format, options: SinkOptions) -> Sink:
    """Return the writer of a format.

    Raises:
        ValueError: If there is no such format.
    """
    if format == "hdf5":
        from pipeline.corpus.formats.hdf5 import Hdf5Sink

        return Hdf5Sink(options)
    if format == "parquet":
        from pipeline.corpus.formats.parquet import ParquetSink

        return ParquetSink(options)
    raise ValueError(f"no shard format {format!r}; there are {', '.join(FORMATS)}.")


def open_shard(root: str, record: FileRecord) -> ShardReader:
    """Open a published shard for reading.

    Args:
        root: Folder or URL of the corpus.
        record: The shard's file, as listed in the corpus.

    Raises:
        StorageError: If the file cannot be read.
        DatasetError: If it is damaged, or no shard of a format version that is understood here.
    """
    if record.format == "hdf5":
        from pipeline.corpus.formats.hdf5 import Hdf5Reader

        return Hdf5Reader(root, record.path)
    if record.format == "parquet":
        from pipeline.corpus.formats.parquet import ParquetReader

        return ParquetReader(root, record.path)
    raise ValueError(f"no shard format {record.format!r}; there are {', '.join(FORMATS)}.")
