"""A corpus opened for reading: which of its files to read, whether they are whole, and their rows.

    reader = open_corpus("out/quickstart", splits=["train"], generators=["naflow"])
    row = reader[17]                    row["clean"], row["noisy"], row["camera"], ...

This is the one way to open a corpus. It does four things:

    select    splits, generators and a format; what is not there is refused, with what is there
    prefer    one file a shard: the formats of a shard hold the same rows
    check     sizes or checksums before the first pixel, all damaged files in one message
    keep      a limited number of files stay open in a process; forked and spawned workers open
              their own
"""

from __future__ import annotations

import bisect
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.corpus.columns import COLUMNS
from pipeline.corpus.damage import Check, check_files
from pipeline.corpus.formats import FileRecord, ShardReader, format_of, open_shard, preferred
from pipeline.corpus.index import CorpusIndex, load_corpus
from pipeline.corpus.open_shards import OpenShards
from pipeline.storage import is_remote

__all__ = ["CorpusReader", "open_corpus", "preferred_file"]

_OPEN_SHARDS = 128
_KNOWN_SHARDS = 1 << 20
_KEPT_COLUMNS = 64  # tables of the columns of a shard, about half a megabyte for 512 rows


def open_corpus(
    root: str | os.PathLike[str],
    *,
    splits: Sequence[str] | None = None,
    generators: Sequence[str] | None = None,
    format: str | None = None,
    check: Check = "nothing",
) -> CorpusReader:
    """Open a corpus.

    Args:
        root: Folder or URL.
        splits: Only rows of these splits; all if absent.
        generators: Only rows of these generators, by key; all if absent.
        format: Which format to read; if absent, of each shard the one that reads single rows.
        check: ``sizes`` or ``checksums`` (reads every file whole) to hold the files against the
            index first.

    Raises:
        FileNotFoundError: If ``root`` is not a corpus.
        ValueError: If the corpus has no such split, generator or format.
        DatasetError: If its index is damaged or of a newer version, or a checked file is damaged.
    """
    root = os.fspath(root)
    reader = CorpusReader(
        root, load_corpus(root), splits=splits, generators=generators, format=format
    )
    check_files(root, reader.files, check)
    return reader


def preferred_file(files: Sequence[FileRecord], format: str | None = None) -> FileRecord | None:
    """Return which file of a shard to read, ``None`` if it has none of that format.

    Args:
        files: Of one shard.
        format: The format to read; if absent, one that reads single rows goes first.
    """
    by_format = {file.format: file for file in files}
    if format is not None:
        return by_format.get(format)
    # Most corpora have one format, and asking for its properties imports its library.
    names = list(by_format) if len(by_format) < 2 else preferred(by_format)
    return by_format[names[0]] if names else None


class CorpusReader:
    """The chosen rows of a corpus, by number, in the order of its shards. Not for several threads.

    Args:
        root: Folder or URL of the corpus.
        index: Its index; ``corpus.json`` need not be there yet.
        splits: As for :func:`open_corpus`, like the others.
        generators: Likewise.
        format: Likewise.

    Attributes:
        files: The files that are read, one a shard that has any.

    Raises:
        ValueError: If the corpus has no such split, generator or format.
    """

    def __init__(
        self,
        root: str,
        index: CorpusIndex,
        *,
        splits: Sequence[str] | None = None,
        generators: Sequence[str] | None = None,
        format: str | None = None,
    ) -> None:
        keys = [entry.key for entry in index.generators]
        _check_present(root, "split", splits or (), list(index.splits))
        _check_present(root, "generator", generators or (), keys)
        _check_present(root, "format", () if format is None else (format,), index.formats)
        self.root, self.index = root, index
        chosen = [shard for shard in index.shards if splits is None or shard.split in splits]
        files = [preferred_file(shard.files, format) for shard in chosen]
        self.files: list[FileRecord] = [file for file in files if file is not None]
        # All generators are no choice: then no file must be read to know how many rows there are.
        wanted = None if generators is None else set(generators)
        self._generators = None if wanted is None or wanted >= set(keys) else wanted
        self._open = OpenShards(_OPEN_SHARDS, known=_KNOWN_SHARDS)
        self._columns: OrderedDict[int, dict[str, list[Any]]] = OrderedDict()

    @property
    def generators(self) -> list[str]:
        """Keys of the chosen generators, in the corpus's order."""
        keys = [entry.key for entry in self.index.generators]
        return [key for key in keys if self._generators is None or key in self._generators]

    @property
    def single_rows(self) -> bool:
        """Whether a row is read without its neighbours, so that any order is fast."""
        formats = {file.format for file in self.files}
        return not is_remote(self.root) and all(format_of(name).single_rows for name in formats)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return one row.

        Returns:
            ``clean`` and ``noisy``, ``(H, W, C)`` as stored, and every column of
            :data:`pipeline.corpus.columns.COLUMNS`, with the further capture metadata that the
            corpus has; ``None`` where a value is unknown.

        Raises:
            IndexError: If there is no such row.
            DatasetError: If the shard is damaged.
        """
        file, row = self.place(number)
        shard = self.shard(file)
        clean, noisy = shard.pair(row)
        if file not in self._columns:
            self._columns[file] = shard.columns([*COLUMNS, *shard.further])
            if len(self._columns) > _KEPT_COLUMNS:
                self._columns.popitem(last=False)
        self._columns.move_to_end(file)
        values = {name: column[row] for name, column in self._columns[file].items()}
        return {"clean": clean, "noisy": noisy, **values}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_columns": OrderedDict()}

    def place(self, number: int) -> tuple[int, int]:
        """Return the number of the file, and the row in it, of a row of the corpus."""
        length = len(self)
        if not -length <= number < length:
            raise IndexError(f"corpus {self.root} has {length} rows here; there is no {number}.")
        number %= length
        file = bisect.bisect_right(self._ends, number)
        within = number - (self._ends[file - 1] if file else 0)
        rows = self._rows[file]
        return file, within if rows is None else int(rows[within])

    def shard(self, file: int) -> ShardReader:
        """Return the open reader of a file, by its number in ``files``; do not close it.

        Raises:
            DatasetError: If the file is damaged.
        """
        return self._open.get(file, lambda: self.opened(file))

    def opened(self, file: int) -> ShardReader:
        """Return a reader of a file for the caller to close; may be called from any thread.

        Raises:
            StorageError: If the file cannot be read.
            DatasetError: If it is damaged.
        """
        return open_shard(self.root, self.files[file])

    def shards(self) -> Iterator[tuple[FileRecord, ShardReader]]:
        """Yield every file with its reader, one open at a time."""
        for number, file in enumerate(self.files):
            with self.opened(number) as reader:
                yield file, reader

    def close(self) -> None:
        """Close the files that this process has open; reading opens them again."""
        self._open.close()

    @cached_property
    def _rows(self) -> list[np.ndarray | None]:
        """Which rows of each file belong, ``None`` for all of them."""
        wanted = self._generators
        if wanted is None:
            return [None] * len(self.files)
        return [
            np.flatnonzero([key in wanted for key in reader.columns(["generator"])["generator"]])
            for _, reader in self.shards()
        ]

    @cached_property
    def _ends(self) -> list[int]:
        counts = [
            file.rows if rows is None else len(rows)
            for file, rows in zip(self.files, self._rows, strict=True)
        ]
        return [int(end) for end in np.cumsum(counts, dtype=np.int64)]


def _check_present(root: str, what: str, wanted: Sequence[str], present: Sequence[str]) -> None:
    for name in wanted:
        if name not in present:
            raise ValueError(
                f"corpus {root} has no {what} {name!r}; it has {', '.join(present) or 'none'}."
            )
