"""Random reads of 64x64 pairs: HDF5 shards against a folder of PNG pairs, with one loader.

Both sides give the same dictionary of the same tensors through the same torch ``DataLoader``, in
the same shuffled order; only where the pixels come from differs. The folder is read with OpenCV,
the fastest decoder at hand. All files are in the page cache: a disk would only add to the folder's
side, which opens two files a pair.

A loader with workers copies every batch through shared memory, whatever was read: that alone costs
several times what a read from HDF5 does, so the loader over samples already in memory is timed too.
Its ratio is the most that any storage could reach.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.inputs import awgn_corpus, export_pngs
from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from generators.seeds import stream_rng
from pipeline.corpus.dataset import CorpusDataset, Sample

__all__ = ["measure"]

_PAIRS, _BATCH = 8192, 32
_TARGET = 5.0


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return the ratio of the times, for reading in this process and in two workers."""
    pairs = effort.of(_PAIRS, least=64)
    corpus = CorpusDataset(awgn_corpus(folder, 8, pairs, formats=("hdf5",)))
    pngs = _PngPairs(export_pngs(corpus, folder / "png"), corpus)
    order = stream_rng(1, "order").permutation(len(corpus)).tolist()
    lines = [_single(corpus, pngs, order, effort)]
    return [*lines, *(_loaded(corpus, pngs, order, workers, effort) for workers in (0, 2))]


def _loaded(
    corpus: CorpusDataset,
    pngs: Dataset[Sample],
    order: Sequence[int],
    workers: int,
    effort: Effort,
) -> Line:
    runs = [_epoch(dataset, order, workers) for dataset in (pngs, corpus, _InMemory(corpus))]
    times = in_turn(*runs, rounds=effort.rounds, warm=effort.rounds > 1)
    rate = len(corpus) / min(each[1] for each in times)
    bound = statistics.median(ratios(times, 0, 2))
    return Line(
        name=f"PNG / HDF5, DataLoader, {workers} workers",
        values=ratios(times, 0, 1),
        # With workers the loader's own copies are most of the time, and no storage reaches it.
        target=None if workers else _TARGET,
        sense="at least",
        note=f"HDF5 {rate:,.0f} pairs/s; PNG / nothing read at all: {bound:.3g}",
    )


class _InMemory(Dataset[Sample]):
    """The first sample of a corpus again and again: what the loader costs by itself."""

    def __init__(self, corpus: CorpusDataset) -> None:
        self.sample, self.length = corpus[0], len(corpus)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return dict(self.sample)


class _PngPairs(Dataset[Sample]):
    """A folder of PNG pairs as the same samples as the corpus it was exported from."""

    def __init__(self, files: Sequence[tuple[str, str]], corpus: CorpusDataset) -> None:
        self.files = files
        self.labels = [
            {key: value for key, value in corpus[i].items() if not isinstance(value, torch.Tensor)}
            for i in range(len(corpus))
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        clean, noisy = (_read(name) for name in self.files[index])
        return {"clean": clean, "noisy": noisy, **self.labels[index]}


def _read(name: str) -> torch.Tensor:
    """Read a PNG as the corpus's dataset gives its pixels, with the same work after decoding."""
    image = cv2.imread(name, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FileNotFoundError(f"{name} is gone or no PNG.")
    planes = np.empty((3, *image.shape[:2]), dtype=np.float32)
    np.divide(image.transpose(2, 0, 1), np.float32(255), out=planes)
    return torch.from_numpy(planes)


def _single(
    corpus: CorpusDataset, pngs: Dataset[Sample], order: Sequence[int], effort: Effort
) -> Line:
    """Compare single reads without a loader's collation."""

    def each(dataset: Dataset[Sample]) -> Callable[[], None]:
        def read() -> None:
            for index in order:
                dataset[index]

        return read

    times = in_turn(each(pngs), each(corpus), rounds=effort.rounds, warm=effort.rounds > 1)
    microseconds = 1e6 * min(one[1] for one in times) / len(order)
    note = f"HDF5 {microseconds:.0f} microseconds a pair"
    return Line(name="PNG / HDF5, dataset[i]", values=ratios(times, 0, 1), note=note)


def _epoch(dataset: Dataset[Sample], order: Sequence[int], workers: int) -> Callable[[], None]:
    loader = DataLoader(
        dataset,
        batch_size=_BATCH,
        sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def read() -> None:
        for _ in loader:
            pass

    return read
