"""Contract of every source of training rows: row i of step s follows from (seed, s, i) alone.

So a batch is the same however many processes make it, in whatever order steps are asked for, and
a training that is resumed sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import generators
from generators.base import Domain
from generators.training import TrainingBatch
from pipeline.manifest.models import CorpusManifest
from pipeline.training.data.batches import StoreBatches
from pipeline.training.data.corpus_rows import CorpusPairs
from pipeline.training.data.mixed import BatchRows, MixedBatches
from pipeline.training.data.pair_rows import Crops, PairRows, Rows
from pipeline.training.data.simulated import Device, SimulatedBatches
from pipeline.training.jobs.streamed_rows import StreamedRows
from tests.contracts import scenes
from tests.contracts.corpora import write_corpus

SIZE, PATCH = 4, 12
NAMES = ("clean", "noisy")
STEPS = st.integers(0, 40)
PARTS = st.permutations(range(SIZE)).flatmap(
    lambda rows: st.integers(1, SIZE).map(lambda count: rows[:count])
)


def crops(seed: int, augmentation: Any = "flips-and-rotations") -> Crops:
    return Crops(patch=PATCH, size=SIZE, seed=seed, augmentation=augmentation)


def corpus(folder: Path, how: Crops, *, format: str, memory: int) -> Rows:
    root = folder / "corpus"
    if not root.exists():
        write_corpus(str(root), height=PATCH, width=PATCH)
    pairs = CorpusPairs(
        str(root), split="train", generators=None, format=format, twice=False, check="sizes"
    )
    return PairRows(
        pairs, how, names=NAMES, domain=pairs.domain, channels=pairs.channels, memory=memory
    )


def real_pairs(folder: Path, how: Crops) -> Rows:
    store = scenes.store(scenes.pair(seed=1), scenes.pair(seed=2), patch=PATCH)
    batches = StoreBatches(
        store=store, size=SIZE, seed=how.seed, augmentation=how.augmentation, use="pairs"
    )
    return BatchRows(batches, "srgb")


def simulated(folder: Path, how: Crops) -> Rows:
    store = scenes.store(scenes.pair(seed=1), scenes.pair(seed=2), patch=PATCH)
    devices = [
        Device(
            camera=f"sigma {sigma}",
            isos=(100, 200),
            generator=generators.create("awgn", params={"sigma": sigma}),
        )
        for sigma in (5, 25)
    ]
    batches = SimulatedBatches(
        store, devices, size=SIZE, seed=how.seed, augmentation=how.augmentation, use="pairs"
    )
    return BatchRows(batches, "srgb")


def streamed(folder: Path, how: Crops, *, memory: int) -> Rows:
    photographs = folder / "photographs"
    if not photographs.exists():
        photographs.mkdir()
        for number in range(2):
            pixels = np.random.default_rng(number).integers(40, 200, (24, 36, 3), dtype=np.uint8)
            cv2.imwrite(str(photographs / f"{number}.png"), pixels)
    manifest = CorpusManifest.model_validate(
        {
            "kind": "corpus",
            "name": "stream",
            "sources": [{"type": "images", "path": str(photographs)}],
            "patches": {"size": PATCH},
            "splits": {"train": 1.0, "val": 0.0, "test": 0.0},
            "generators": [{"name": "awgn", "params": {"sigma": 25}}],
            "output": {"path": str(folder / "never"), "rows_per_shard": 4},
        }
    )
    return StreamedRows(
        manifest, how, split="train", generators=None, twice=False, memory=memory, device="cpu"
    )


@dataclass(frozen=True)
class Case:
    """A kind of source; ``epoch`` is its number of rows, ``None`` where crops are drawn."""

    open: Callable[..., Rows]
    epoch: int | None = None
    named: tuple[tuple[str, Any], ...] = ()

    def opened(self, folder: Path, how: Crops) -> Rows:
        return self.open(folder, how, **dict(self.named))


ROW_BYTES = 2 * 3 * PATCH * PATCH
CASES = {
    "corpus, in memory": Case(corpus, 9, (("format", "parquet"), ("memory", 10**6))),
    "corpus, in windows": Case(corpus, 9, (("format", "parquet"), ("memory", 5 * ROW_BYTES))),
    "corpus, row by row": Case(corpus, 9, (("format", "hdf5"), ("memory", 1))),
    "real pairs": Case(real_pairs),
    "simulated": Case(simulated),
    "streamed, in memory": Case(streamed, 12, (("memory", 10**6),)),
    "streamed, in windows": Case(streamed, 12, (("memory", 1),)),
}


class Many:
    """Opens a case again and again in one folder."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self._folder = case, folder

    def __call__(self, seed: int = 5, augmentation: Any = "flips-and-rotations") -> Rows:
        return self.case.opened(self._folder, crops(seed, augmentation))


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Many:
    return Many(request.param, tmp_path_factory.mktemp("rows"))


def pixels(batch: TrainingBatch, name: str) -> torch.Tensor:
    images = getattr(batch, name)
    assert images is not None
    return images


def check_part(whole: TrainingBatch, part: TrainingBatch, numbers: Sequence[int]) -> None:
    """Check that a part of a batch is these rows of the whole one, bit by bit."""
    for name in NAMES:
        assert torch.equal(pixels(part, name), pixels(whole, name)[list(numbers)]), name


def test_any_rows_of_any_steps_are_those_of_the_whole_batch(many: Many) -> None:
    used, asked = many(), many()

    @settings(max_examples=15, deadline=None)
    @given(step=STEPS, numbers=PARTS)
    def check(step: int, numbers: list[int]) -> None:
        check_part(used.rows(step, range(SIZE)), asked.rows(step, numbers), numbers)

    check()


def test_a_source_opened_anew_goes_on_as_if_it_had_not_been_closed(many: Many) -> None:
    whole = many()
    batches = [whole.rows(step, range(SIZE)) for step in range(8)]
    for start in (1, 5):
        resumed = many()
        for step in range(start, 8):
            check_part(batches[step], resumed.rows(step, range(SIZE)), range(SIZE))


def test_processes_share_a_batch_however_many_they_are(many: Many) -> None:
    def batches(share: range) -> MixedBatches:
        return MixedBatches([many(5), many(6)], [1.0, 2.0], size=SIZE, seed=3, share=share)

    alone = batches(range(SIZE))
    for workers in (2, 4):
        part = SIZE // workers
        for rank in range(workers):
            mine = range(rank * part, (rank + 1) * part)
            shared = batches(mine)
            for step in (0, 3, 11):
                check_part(alone.batch(step), shared.batch(step), mine)


def test_rows_are_float32_crops_between_black_and_white(many: Many) -> None:
    rows = many()
    batch = rows.rows(2, range(SIZE))
    assert (rows.domain, rows.channels) == ("srgb", 3)
    for name in NAMES:
        images = pixels(batch, name)
        assert images.shape == (SIZE, rows.channels, PATCH, PATCH)
        assert images.dtype == torch.float32
        assert bool(images.isfinite().all())
    clean, noisy = (pixels(batch, name) for name in NAMES)
    assert 0.0 <= float(clean.min()) < float(clean.max()) <= 1.0
    # Noise of 25 grey levels at most, of which rows hold a few thousand values: six of its sigmas.
    assert 0.0 < float((noisy - clean).abs().max()) < 6 * 25 / 255


def test_another_seed_and_another_step_give_other_rows(many: Many) -> None:
    first = pixels(many().rows(2, range(SIZE)), "noisy")
    assert not torch.equal(first, pixels(many().rows(3, range(SIZE)), "noisy"))
    assert not torch.equal(first, pixels(many(6).rows(2, range(SIZE)), "noisy"))


def test_each_row_comes_once_in_every_epoch(many: Many) -> None:
    if many.case.epoch is None:
        pytest.skip("crops are drawn, so there are no epochs")
    rows, epochs = many(augmentation="none"), SIZE  # together they fill whole batches
    seen = [
        image.numpy().tobytes()
        for step in range(many.case.epoch)
        for image in pixels(rows.rows(step, range(SIZE)), "clean")
    ]
    parts = [seen[i * many.case.epoch : (i + 1) * many.case.epoch] for i in range(epochs)]
    assert all(Counter(part) == Counter(parts[0]) for part in parts)
    assert len(set(parts[0])) == many.case.epoch
    assert len({tuple(part) for part in parts}) == epochs


class Forgetful:
    """A faulty source: its rows follow from how often it was asked."""

    channels = 3
    domain: Domain = "srgb"

    def __init__(self, rows: Rows) -> None:
        self._rows, self._asked = rows, 0

    def rows(self, step: int, numbers: Sequence[int]) -> TrainingBatch:
        self._asked += 1
        return self._rows.rows(self._asked, numbers)


def test_a_source_that_counts_its_calls_breaks_the_contract(many: Many) -> None:
    faulty = Forgetful(many())
    whole = faulty.rows(0, range(SIZE))
    with pytest.raises(AssertionError):
        check_part(whole, faulty.rows(0, [1, 2]), [1, 2])
