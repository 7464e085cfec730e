"""An epoch of 20,000 pairs of 64x64 for the trainer: against PNG files, and `datasets`.

Every side gives shuffled batches of 32 float32 images through the same conversion; the trainer
turns them as well. Its corpus is not kept in memory: row by row from HDF5, and
from Parquet in windows of 16 chunks, with everything that reads between two epochs. The folder of
PNG pairs is read with OpenCV; `datasets` (Hugging Face), where it is installed, reads the same
Parquet files memory-mapped as Arrow, which it has prepared before the clock starts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.inputs import awgn_corpus, export_pngs
from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from generators.seeds import stream_rng
from pipeline.corpus.dataset import CorpusDataset
from pipeline.training.data.corpus_rows import CorpusPairs
from pipeline.training.data.pair_rows import Crops, PairRows, stacked

__all__ = ["measure"]

_PAIRS, _BATCH = 20_000, 32
_WINDOWS = 80_000_000


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return how many times as long the others take."""
    root = awgn_corpus(folder, 20, effort.of(_PAIRS, least=80))
    files = export_pngs(CorpusDataset(root), folder / "png")
    order = stream_rng(1, "order").permutation(len(files)).tolist()
    runs = [
        _pngs(files, order),
        _rows(root, "hdf5", len(files), 1),
        _rows(root, "parquet", len(files), _WINDOWS),
    ]
    hub = _datasets(root, folder / "hub", order)
    times = in_turn(*runs, *([hub] if hub else []), rounds=effort.rounds, warm=effort.rounds > 1)
    rates = [len(files) / min(each[k] for each in times) for k in range(len(times[0]))]
    lines = [
        Line(
            name=f"PNG / {name}, an epoch",
            values=ratios(times, 0, k),
            # Pictures in Parquet are PNG too, so decoding them takes what it takes.
            target=5.0 if k == 1 else None,
            sense="at least",
            note=f"{rates[k]:,.0f} pairs/s of {len(files):,}, PNG files {rates[0]:,.0f}",
        )
        for k, name in ((1, "HDF5"), (2, "Parquet"))
    ]
    if hub is None:
        print("trainer-epoch: `datasets` is not installed, so it is left out", file=sys.stderr)
        return lines
    return [
        *lines,
        Line(
            name="datasets / Parquet, an epoch",
            values=ratios(times, 3, 2),
            target=1.0,
            sense="at least",
            note=f"`datasets` {rates[3]:,.0f} pairs/s",
        ),
    ]


def _rows(root: Path, format: str, pairs: int, memory: int) -> Callable[[], None]:
    source = CorpusPairs(
        str(root), split=None, generators=None, format=format, twice=False, check="sizes"
    )
    crops = Crops(patch=64, size=_BATCH, seed=1, augmentation="flips-and-rotations")
    rows = PairRows(
        source, crops, names=("clean", "noisy"), domain="srgb", channels=3, memory=memory
    )
    steps = iter(range(1 << 62))  # epochs follow one another, so that no window is still there

    def read() -> None:
        for _ in range(pairs // _BATCH):
            rows.rows(next(steps), range(_BATCH))

    return read


def _pngs(files: Sequence[tuple[str, str]], order: Sequence[int]) -> Callable[[], None]:
    def read() -> None:
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            chosen = [files[i] for i in order[start : start + _BATCH]]
            for side in (0, 1):
                stacked([_decoded(pair[side]) for pair in chosen])

    return read


def _decoded(path: str) -> Any:
    pixels = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
    assert pixels is not None, path
    return pixels


def _datasets(root: Path, cache: Path, order: Sequence[int]) -> Callable[[], None] | None:
    try:
        import datasets
    except ImportError:
        return None
    files = [str(path) for path in sorted((root / "data").glob("*.parquet"))]
    table: Any = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(cache)
    ).select_columns(["clean", "noisy"])

    def read() -> None:
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            batch = table[list(order[start : start + _BATCH])]
            for name in ("clean", "noisy"):
                stacked([np.asarray(image) for image in batch[name]])

    return read
