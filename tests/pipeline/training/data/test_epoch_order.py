"""Orders of visits: every epoch sees each row once, whatever was asked before."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.training.data.epoch_order import EpochOrder
from pipeline.training.data.shuffle_buffer import ShuffleBuffer

COUNTS = [3, 1, 4, 1, 5, 2]
TOTAL = sum(COUNTS)


@pytest.mark.parametrize("window", [None, 1, 2, 4, 100])
def test_every_epoch_visits_each_row_once_in_another_order(window: int | None) -> None:
    order = EpochOrder(COUNTS, seed=3, window=window)
    every = [(chunk, row) for chunk, count in enumerate(COUNTS) for row in range(count)]
    epochs = [[order.at(epoch * TOTAL + i) for i in range(TOTAL)] for epoch in range(3)]
    assert all(sorted(epoch) == every for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_position_says_the_same_however_it_is_reached() -> None:
    forwards = EpochOrder(COUNTS, seed=3, window=2)
    there = [forwards.at(p) for p in range(20 * TOTAL)]
    backwards = EpochOrder(COUNTS, seed=3, window=2)
    assert [backwards.at(p) for p in reversed(range(20 * TOTAL))] == there[::-1]
    assert [EpochOrder(COUNTS, seed=4, window=2).at(p) for p in range(TOTAL)] != there[:TOTAL]


def test_a_window_stays_within_its_chunks() -> None:
    order = EpochOrder([10] * 12, seed=0, window=3)
    for start in range(0, 120, 30):
        assert len({order.at(p)[0] for p in range(start, start + 30)}) == 3


def test_an_order_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        EpochOrder([], seed=0, window=None)


def test_what_fits_is_loaded_once_and_what_does_not_twice_at_most_at_a_time() -> None:
    loaded = Counter[int]()

    class Chunk:
        alive = 0
        most = 0

        def __init__(self, number: int) -> None:
            loaded[number] += 1
            Chunk.alive += 1
            Chunk.most = max(Chunk.most, Chunk.alive)
            self.number = number

        def __del__(self) -> None:
            Chunk.alive -= 1

    kept = ShuffleBuffer([2] * 8, [100] * 8, Chunk, seed=1, memory=800)
    assert kept.how == "from memory"
    assert {kept.at(p)[0].number for p in range(64)} == set(range(8))
    assert set(loaded.values()) == {1}
    del kept
    Chunk.most = 0
    passing = ShuffleBuffer([2] * 8, [100] * 8, Chunk, seed=1, memory=400)
    assert passing.how == "in windows"
    seen = [(passing.at(p)[0].number, passing.at(p)[1]) for p in range(32)]
    assert Counter(seen) == {(chunk, row): 2 for chunk in range(8) for row in range(2)}
    assert Chunk.most <= 4  # two windows of two chunks: no more than the memory holds


def test_an_error_of_the_loader_reaches_who_asks() -> None:
    def broken(chunk: int) -> int:
        raise ValueError("no such chunk")

    with pytest.raises(ValueError, match="no such chunk"):
        ShuffleBuffer([2] * 8, [100] * 8, broken, seed=1, memory=400).at(0)
