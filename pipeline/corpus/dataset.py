"""A corpus as a torch map-style dataset, for any number of workers, forked or spawned.

    from pipeline.dataset import CorpusDataset
    from torch.utils.data import DataLoader
    loader = DataLoader(CorpusDataset("out/quickstart"), batch_size=32, shuffle=True, num_workers=2)

Shards are opened by the process that reads them, when it first does: handles are never pickled and
never used across a fork (parent and child would share one file position). A process keeps a limited
number of files open, however many shards there are.
"""

from __future__ import annotations

import bisect
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from pipeline.corpus.formats import FileRecord, ShardReader, open_shard, preferred
from pipeline.corpus.index import CorpusIndex, load_corpus
from pipeline.pixels import to_unit_nchw

__all__ = ["CorpusDataset", "Sample"]

Sample = dict[str, Any]
_OPEN_SHARDS = 128


class CorpusDataset(Dataset[Sample]):
    """The pairs of a corpus.

    A sample is a dict of ``clean`` and ``noisy``, each ``(C, H, W)`` float32 with the white level
    at 1, and ``sample_id``, ``camera`` (``""`` if unknown), ``iso`` (-1 if unknown) and
    ``generator``.

    Shuffled reads are what HDF5 shards are laid out for. From Parquet a row group of up to 100 rows
    is read and kept at the first of them, so prefer reading in order there.

    Args:
        root: Folder or URL of the corpus.
        split: Only rows of ``train``, ``val`` or ``test``; all if absent.
        format: ``hdf5`` or ``parquet``; HDF5 if the corpus has both.
        generators: Only rows of these generators, by key; all if absent.
        transform: Applied to every sample, last; must be picklable for spawned workers.

    Raises:
        FileNotFoundError: If ``root`` is not a corpus.
        ValueError: If the corpus has no such split, format or generator.
        DatasetError: If the corpus is damaged.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str | None = None,
        format: str | None = None,
        generators: Sequence[str] | None = None,
        transform: Callable[[Sample], Sample] | None = None,
    ) -> None:
        self.root = os.fspath(root)
        self.index = load_corpus(self.root)
        self.format = _choose_format(self.index, format)
        self.transform = transform
        _check_choice("split", split, list(self.index.splits))
        self._files = [
            file
            for shard in self.index.shards
            if split is None or shard.split == split
            for file in shard.files
            if file.format == self.format
        ]
        self._shards: dict[int, _Shard] = {}
        self._open: OrderedDict[int, ShardReader] = OrderedDict()
        self._process = os.getpid()
        self._rows = self._select(generators)
        counts = [
            file.rows if rows is None else len(rows)
            for file, rows in zip(self._files, self._rows, strict=True)
        ]
        self._ends = np.cumsum(counts, dtype=np.int64).tolist() if counts else []

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        length = len(self)
        if not -length <= index < length:
            raise IndexError(f"the dataset has {length} samples; there is no sample {index}.")
        number, row = self._place(index % length)
        shard = self._shard(number)
        clean, noisy = shard.reader.pair(row)
        sample: Sample = {
            "clean": to_unit_nchw(clean),
            "noisy": to_unit_nchw(noisy),
            "sample_id": str(shard.ids[row], "utf-8"),
            "camera": shard.cameras[row],
            "iso": shard.isos[row],
            "generator": shard.generators[row],
        }
        return sample if self.transform is None else self.transform(sample)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}, "_open": OrderedDict(), "_process": None}

    def close(self) -> None:
        """Close the shards that this process has open; reading opens them again."""
        self._forget_other_process()
        while self._open:
            self._open.popitem()[1].close()

    def _select(self, generators: Sequence[str] | None) -> list[np.ndarray | None]:
        """Return which rows of each file belong, ``None`` for all of them."""
        if generators is None:
            return [None] * len(self._files)
        present = [entry.key for entry in self.index.generators]
        for key in generators:
            _check_choice("generator", key, present)
        wanted = set(generators)
        if wanted == set(present):
            return [None] * len(self._files)
        return [_rows_of(self.root, file, wanted) for file in self._files]

    def _place(self, index: int) -> tuple[int, int]:
        """Return the file and the row in it of a sample."""
        shard = bisect.bisect_right(self._ends, index)
        within = index - (self._ends[shard - 1] if shard else 0)
        rows = self._rows[shard]
        return shard, within if rows is None else int(rows[within])

    def _shard(self, number: int) -> _Shard:
        self._forget_other_process()
        if number in self._open:
            self._open.move_to_end(number)
            return self._shards[number]
        if number not in self._shards:
            if not self._shards and get_worker_info() is not None:
                # A spawned worker that tears down HDF5, Arrow and torch at its end now and then
                # dies of it, and the loader takes a finished epoch for a crash: end without that.
                Finalize(None, os._exit, args=(0,), exitpriority=-100)
            self._shards[number] = _Shard(open_shard(self.root, self._files[number]))
        self._open[number] = self._shards[number].reader
        if len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)[1].close()
        return self._shards[number]

    def _forget_other_process(self) -> None:
        if self._process != os.getpid():
            # After a fork these are the parent's; both would move the position in the same file.
            self._shards, self._open = {}, OrderedDict()
            self._process = os.getpid()


class _Shard:
    """What a process keeps of a shard: its reader, and the columns of a sample in little memory."""

    def __init__(self, reader: ShardReader) -> None:
        columns = reader.columns(["sample_id", "camera", "iso", "generator"])
        self.reader = reader
        # Fixed-width bytes: a million ids take 40 MB a worker instead of 100 MB as str objects.
        self.ids = np.array([value.encode() for value in columns["sample_id"]])
        # The collate function of torch knows no None. Interned: few different texts, many rows.
        self.cameras = [sys.intern(camera or "") for camera in columns["camera"]]
        self.generators = [sys.intern(key) for key in columns["generator"]]
        self.isos = [-1 if iso is None else iso for iso in columns["iso"]]


def _rows_of(root: str, file: FileRecord, generators: set[str]) -> np.ndarray:
    with open_shard(root, file) as shard:
        keys = shard.columns(["generator"])["generator"]
    return np.flatnonzero([key in generators for key in keys])


def _choose_format(index: CorpusIndex, format: str | None) -> str:
    present = index.formats
    if format is not None:
        _check_choice("format", format, present)
        return format
    return next(iter(preferred(present)), "")


def _check_choice(what: str, value: str | None, present: Sequence[str]) -> None:
    if value is not None and value not in present:
        raise ValueError(f"the corpus has no {what} {value!r}; it has {', '.join(present)}.")
