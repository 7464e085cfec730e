"""Chunks of data in the order of their visits, with at most two windows of them in memory.

Chunks that fit the memory they may use are loaded once and kept. Else the chunks of the window in
use are in memory, and those of the next one, which another thread loads meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from pipeline.training.data.epoch_order import EpochOrder, Window

__all__ = ["ShuffleBuffer"]

T = TypeVar("T")
_CHUNKS = 16


class ShuffleBuffer(Generic[T]):
    """Loaded chunks by position.

    Args:
        counts: Rows of each chunk.
        sizes: Bytes that each takes in memory.
        load: Loads a chunk; called by one thread at a time.
        seed: Of the order.
        memory: Bytes that may be kept.

    Raises:
        ValueError: If there is no row.
    """

    def __init__(
        self,
        counts: Sequence[int],
        sizes: Sequence[int],
        load: Callable[[int], T],
        *,
        seed: int,
        memory: int,
    ) -> None:
        fits = sum(sizes) <= memory
        span = max(1, min(_CHUNKS, memory // (2 * max(1, *sizes, 1))))
        self._order = EpochOrder(counts, seed=seed, window=None if fits else span)
        self._load = load
        self._all = {chunk: load(chunk) for chunk in range(len(counts))} if fits else None
        self._here: dict[tuple[int, int], dict[int, T]] = {}
        self._coming: dict[tuple[int, int], Future[dict[int, T]]] = {}
        threads = torch.get_num_threads()
        self._ahead = ThreadPoolExecutor(
            1, thread_name_prefix="window", initializer=torch.set_num_threads, initargs=(threads,)
        )

    def __len__(self) -> int:
        return len(self._order)

    @property
    def how(self) -> str:
        """How chunks are read: ``from memory`` or ``in windows``."""
        return "in windows" if self._all is None else "from memory"

    def at(self, position: int) -> tuple[T, int]:
        """Return the chunk that holds a position's row, and the row's number in it."""
        chunk, row = self._order.at(position)
        if self._all is not None:
            return self._all[chunk], row
        return self._chunks(self._order.window(position))[chunk], row

    def _chunks(self, window: Window) -> dict[int, T]:
        """Return the loaded chunks of a window, and begin with the next one."""
        if window.key not in self._here:
            loaded = self._begin(window).result()
            following = self._order.window(window.start + len(window.rows))
            # Let go before the next one is begun: no third window is ever in memory.
            self._here = {window.key: loaded}
            self._coming = {k: f for k, f in self._coming.items() if k == following.key}
            self._begin(following)
        return self._here[window.key]

    def _begin(self, window: Window) -> Future[dict[int, T]]:
        if window.key not in self._coming:
            chunks = window.chunks
            self._coming[window.key] = self._ahead.submit(
                lambda: {chunk: self._load(chunk) for chunk in chunks}
            )
        return self._coming[window.key]
