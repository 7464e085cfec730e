"""Which row of a data set comes when: epochs in another order each, as a function of a position.

Position p counts rows from the start of the training, so row i of step s stands at ``s * B + i``
and a resumed training needs no reader state. Every epoch visits each row once.

Rows that cannot be read one by one (PNG in Parquet, files behind a URL) are read in *chunks* of
neighbours. Then an epoch shuffles the chunks, takes a *window* of several, and shuffles the rows
within it: only a window at a time has to be in memory, and neighbours still part.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generators.seeds import patch_seed, stream_rng

__all__ = ["EpochOrder", "Window"]

_KEPT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Rows that are visited one after another.

    Args:
        key: Epoch and number in it.
        start: Position of its first row.
        chunks: The chunks that its rows are in.
        rows: ``(N, 2)`` chunk and row in the chunk, in the order of visits.
    """

    key: tuple[int, int]
    start: int
    chunks: tuple[int, ...]
    rows: NDArray[np.int64]


class EpochOrder:
    """The order of visits.

    Args:
        counts: Rows of each chunk; none may be empty.
        seed: Of the training.
        window: Chunks of a window; ``None`` for all of them, a full shuffle.

    Raises:
        ValueError: If there is no row.

    Example:
        >>> order = EpochOrder([2, 1], seed=0, window=None)
        >>> sorted(order.at(p) for p in range(3, 6))  # the second epoch
        [(0, 0), (0, 1), (1, 0)]
    """

    def __init__(self, counts: Sequence[int], *, seed: int, window: int | None) -> None:
        if not counts or min(counts) < 1:
            raise ValueError("an order needs chunks of at least one row each.")
        self._counts = np.array(counts, np.int64)
        self._seed = seed
        self._span = len(counts) if window is None else window
        self._total = int(self._counts.sum())
        self._windows: OrderedDict[tuple[int, int], Window] = OrderedDict()
        self._epochs: OrderedDict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = OrderedDict()

    def __len__(self) -> int:
        return self._total

    def at(self, position: int) -> tuple[int, int]:
        """Return chunk and row of a position."""
        window = self.window(position)
        chunk, row = window.rows[position - window.start].tolist()
        return chunk, row

    def window(self, position: int) -> Window:
        """Return the window that a position lies in."""
        epoch, within = divmod(position, self._total)
        chunks, ends = self._epoch(epoch)
        number = int(np.searchsorted(ends, within, side="right"))
        key = epoch, number
        if key not in self._windows:
            start = epoch * self._total + (int(ends[number - 1]) if number else 0)
            mine = chunks[number * self._span : (number + 1) * self._span]
            self._windows[key] = self._shuffled(key, start, mine)
            if len(self._windows) > _KEPT:
                self._windows.popitem(last=False)
        return self._windows[key]

    def _epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the chunks of an epoch in order, and where its windows end."""
        if epoch not in self._epochs:
            rng = stream_rng(patch_seed(self._seed, str(epoch)), "chunks")
            chunks = rng.permutation(len(self._counts))
            ends = self._counts[chunks].cumsum()
            last = np.minimum(
                np.arange(self._span, len(chunks) + self._span, self._span), len(chunks)
            )
            self._epochs[epoch] = chunks, ends[last - 1]
            if len(self._epochs) > _KEPT:
                self._epochs.popitem(last=False)
        return self._epochs[epoch]

    def _shuffled(self, key: tuple[int, int], start: int, chunks: NDArray[np.int64]) -> Window:
        counts = self._counts[chunks]
        rows = np.column_stack(
            [np.repeat(chunks, counts), np.concatenate([np.arange(n) for n in counts])]
        )
        rng = stream_rng(patch_seed(self._seed, *map(str, key)), "rows")
        return Window(key, start, tuple(chunks.tolist()), rng.permutation(rows))
