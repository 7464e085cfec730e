"""A corpus as a torch map-style dataset, for any number of workers, forked or spawned.

    from pipeline.dataset import CorpusDataset
    from torch.utils.data import DataLoader
    loader = DataLoader(CorpusDataset("out/quickstart"), batch_size=32, shuffle=True, num_workers=2)

What is opened, and when, is said by :mod:`pipeline.corpus.reader`: each worker opens its own files,
a limited number of them, when it first reads of them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from generators.capture import COLUMNS as CAPTURE_COLUMNS
from generators.capture import capture_column
from pipeline.corpus.formats import ShardReader, preferred
from pipeline.corpus.index import CorpusIndex, load_corpus
from pipeline.corpus.reader import CorpusReader
from pipeline.pixels import to_unit_nchw

__all__ = ["CorpusDataset", "Sample"]

Sample = dict[str, Any]


class CorpusDataset(Dataset[Sample]):
    """The pairs of a corpus.

    A sample is a dict of ``clean`` and ``noisy``, each ``(C, H, W)`` float32 with the white level
    at 1, and ``sample_id``, ``camera`` (``""`` if unknown), ``iso`` (-1 if unknown) and
    ``generator``; further capture metadata by name, where the corpus has any (``exposure``; NaN if
    unknown).

    Shuffled reads are what HDF5 shards are laid out for. From Parquet a row group of up to 100 rows
    is read and kept at the first of them, so prefer reading in order there.

    Args:
        root: Folder or URL of the corpus.
        split: Only rows of ``train``, ``val`` or ``test``; all if absent.
        format: Which format to read; if absent, one that reads single rows where there is one.
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
        # One format for all shards, so that a loader's speed does not change on the way.
        index = load_corpus(self.root)
        self.format = format or next(iter(preferred(index.formats)), None)
        self.reader = CorpusReader(
            self.root,
            index,
            splits=None if split is None else [split],
            generators=generators,
            format=self.format,
        )
        self.transform = transform
        self._shards: dict[int, _Columns] = {}
        len(self.reader)  # which rows are of these generators: once here, not in every worker

    @property
    def index(self) -> CorpusIndex:
        """What ``corpus.json`` says."""
        return self.reader.index

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> Sample:
        length = len(self)
        if not -length <= index < length:
            raise IndexError(f"the dataset has {length} samples; there is no sample {index}.")
        number, row = self.reader.place(index)
        columns = self._columns(number)
        clean, noisy = self.reader.shard(number).pair(row)
        sample: Sample = {
            "clean": to_unit_nchw(clean),
            "noisy": to_unit_nchw(noisy),
            "sample_id": str(columns.ids[row], "utf-8"),
            "camera": columns.cameras[row],
            "iso": columns.isos[row],
            "generator": columns.generators[row],
            **{name: values[row] for name, values in columns.further.items()},
        }
        return sample if self.transform is None else self.transform(sample)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}

    def close(self) -> None:
        """Close the shards that this process has open; reading opens them again."""
        self.reader.close()

    def _columns(self, number: int) -> _Columns:
        if number not in self._shards:
            if not self._shards and get_worker_info() is not None:
                # A spawned worker that tears down HDF5, Arrow and torch at its end now and then
                # dies of it, and the loader takes a finished epoch for a crash: end without that.
                Finalize(None, os._exit, args=(0,), exitpriority=-100)
            self._shards[number] = _Columns(self.reader.shard(number))
        return self._shards[number]


class _Columns:
    """What a process keeps of a shard: the columns of a sample, in little memory."""

    def __init__(self, reader: ShardReader) -> None:
        columns = reader.columns(["sample_id", "camera", "iso", "generator", *reader.further])
        # Fixed-width bytes: a million ids take 40 MB a worker instead of 100 MB as str objects.
        self.ids = np.array([value.encode() for value in columns["sample_id"]])
        # The collate function of torch knows no None. Interned: few different texts, many rows.
        self.cameras = [sys.intern(camera or "") for camera in columns["camera"]]
        self.generators = [sys.intern(key) for key in columns["generator"]]
        self.isos = [-1 if iso is None else iso for iso in columns["iso"]]
        self.further = {name: _collatable(name, columns[name]) for name in reader.further}


def _collatable(name: str, values: list[Any]) -> list[Any]:
    """Return a column with ``""``, NaN or -1 for what is unknown, as its values are."""
    kind: str
    if name in CAPTURE_COLUMNS:
        kind = capture_column(name).kind
    else:
        given = next((value for value in values if value is not None), "")
        kind = {str: "string", float: "float32"}.get(type(given), "int32")
    unknown = {"string": "", "float32": math.nan}.get(kind, -1)
    return [unknown if value is None else value for value in values]
