"""Shard formats behind one seam: write rows to a file, read them back.

    record = sink("hdf5", options).write(root, ShardName(split="train", index=0, count=42), rows)
    with open_shard(root, record) as shard:
        clean, noisy = shard.images(0, shard.rows)

A new format is one file with a :class:`Sink` and a :class:`ShardReader`, and one line in
:data:`pipeline.kinds.FORMATS` (or an entry point ``noisemill.formats`` of another package). All
else asks the functions here, so a new format is verified, resumed and read without an edit; the
contract (tests/pipeline/corpus/formats/) tests every name of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from pipeline.corpus.formats.base import (
    FORMAT,
    FORMAT_VERSION,
    FileRecord,
    ShardName,
    ShardReader,
    Sink,
    SinkOptions,
)
from pipeline.kinds import FORMATS

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "FileRecord",
    "ShardName",
    "ShardReader",
    "Sink",
    "SinkOptions",
    "format_of",
    "format_of_path",
    "open_shard",
    "preferred",
    "shard_folders",
    "sink",
]


def format_of(name: str) -> type[Sink]:
    """Return a format by its name.

    Raises:
        ValueError: If there is no such format, or its package cannot be imported.
    """
    found: type[Sink] = FORMATS.load(name)
    return found


def sink(name: str, options: SinkOptions) -> Sink:
    """Return the writer of a format; errors as :func:`format_of`."""
    return format_of(name)(options)


def open_shard(root: str, record: FileRecord) -> ShardReader:
    """Open a published shard for reading.

    Args:
        root: Folder or URL of the corpus.
        record: The shard's file, as listed in the corpus.

    Raises:
        StorageError: If the file cannot be read.
        DatasetError: If it is damaged, or no shard of a format version that is understood here.
    """
    return format_of(record.format).reader(root, record.path)


# Asked for every row that is read as a picture, and looking for plug-ins takes milliseconds.
@lru_cache(maxsize=1024)
def format_of_path(path: str) -> str | None:
    """Return the format whose files have a path's suffix, or ``None``."""
    suffix = PurePosixPath(path).suffix
    return next((name for name in FORMATS.names() if format_of(name).suffix == suffix), None)


def preferred(names: Iterable[str]) -> list[str]:
    """Return formats in the order in which to read them: those that read single rows come first.

    The formats of a shard hold the same rows, so one of them is enough.
    """
    return sorted(names, key=lambda name: (not format_of(name).single_rows, name))


def shard_folders(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the folders below a corpus's root where shards of formats lie; of all if absent."""
    names = FORMATS.names() if names is None else names
    return tuple(sorted({folder for name in names for folder in format_of(name).folders}))
