"""One image out of a shard of a corpus, by row number.

``corpus/hdf5/train-00000-of-00002.h5#17`` is the clean image of row 17 of that file, and
``...#17/noisy`` its noisy partner. The formats themselves are the business of
:mod:`pipeline.corpus.formats`; here a few shards are kept open, since rows are mostly read in
order.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

import numpy as np

from pipeline.corpus.formats import FileRecord, ShardReader, format_of_path, open_shard
from pipeline.corpus.open_shards import OpenShards
from pipeline.errors import ImageError
from pipeline.images.files import local_path
from pipeline.pixels import Pixels
from pipeline.storage import DatasetError, StorageError

__all__ = ["Row", "parse_row", "read_row"]

_ROW = re.compile(r"(?P<path>.+)#(?P<index>\d+)(?P<noisy>/noisy)?", re.DOTALL)
_OPEN_SHARDS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """Where one image of a corpus is."""

    path: str
    index: int
    column: str


class _ThreadShards(threading.local):
    """The shards this thread has open; readers may not be shared among threads."""

    def __init__(self) -> None:
        self.shards = OpenShards(_OPEN_SHARDS)


_SHARDS = _ThreadShards()


def parse_row(uri: str) -> Row | None:
    """Split the URI of a corpus row; None if it is something else.

    Example:
        >>> parse_row("c/train-00000-of-00002.h5#17/noisy")
        Row(path='c/train-00000-of-00002.h5', index=17, column='noisy')
    """
    match = _ROW.fullmatch(uri)
    if match is None or format_of_path(match["path"]) is None:
        return None
    return Row(match["path"], int(match["index"]), "noisy" if match["noisy"] else "clean")


def read_row(row: Row, stamp: tuple[int, int]) -> Pixels:
    """Read one image of a shard.

    Args:
        row: Which.
        stamp: Changes whenever the file does, see :func:`pipeline.images.files.file_stamp`.

    Returns:
        ``(H, W, C)`` as stored.

    Raises:
        ImageError: ``unreadable`` if the shard is not there or damaged, ``missing`` if it has no
            such row.
    """
    try:
        shard = _SHARDS.shards.get((row.path, stamp), lambda: _open(row.path))
        if row.index >= shard.rows:
            raise ImageError("missing", f"the shard has {shard.rows} rows.")
        clean, noisy = shard.pair(row.index)
    except (DatasetError, StorageError) as error:
        raise ImageError("unreadable", " ".join(str(error).split())) from error
    return np.array(noisy if row.column == "noisy" else clean)


def _open(path: str) -> ShardReader:
    folder, _, name = (local_path(path) or path).rpartition("/")
    # Only format and path are looked at; the rest belongs to the index, which is not at hand.
    kind = format_of_path(path) or ""
    record = FileRecord(format=kind, path=name, bytes=0, sha256="", rows=0)
    return open_shard(folder or ".", record)
