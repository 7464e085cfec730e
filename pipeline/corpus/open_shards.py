"""Shards that stay open for the next rows, in this process only.

A reader may not be used across a fork (parent and child would share one file position), nor be
pickled. So what is kept belongs to the process that opened it: another one, forked or spawned,
starts with nothing open.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from pipeline.corpus.formats.base import ShardReader

__all__ = ["OpenShards"]


class OpenShards:
    """The shards used last. Not for several threads.

    Args:
        limit: Files that are open at once, at most.
        known: Closed readers that are remembered for what they learned of their file, at most: to
            open one again costs no look at its layout.
    """

    def __init__(self, limit: int, *, known: int = 0) -> None:
        self._limit, self._most_known = limit, known
        self._forget()

    def get(self, key: Hashable, open_it: Callable[[], ShardReader]) -> ShardReader:
        """Return the reader of a key; ``open_it`` makes it where there is none."""
        if self._process != os.getpid():
            self._forget()
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        reader = self._known.pop(key, None) or open_it()
        self._open[key] = reader
        if len(self._open) > self._limit:
            self._close(*self._open.popitem(last=False))
        return reader

    def close(self) -> None:
        """Close what this process has open; reading opens it again."""
        if self._process == os.getpid():
            while self._open:
                self._close(*self._open.popitem())

    def __len__(self) -> int:
        return len(self._open) if self._process == os.getpid() else 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_elsewhere, (self._limit, self._most_known)

    def _forget(self) -> None:
        self._process = os.getpid()
        self._open: OrderedDict[Hashable, ShardReader] = OrderedDict()
        self._known: OrderedDict[Hashable, ShardReader] = OrderedDict()

    def _close(self, key: Hashable, reader: ShardReader) -> None:
        reader.close()
        if self._most_known:
            self._known[key] = reader
            if len(self._known) > self._most_known:
                self._known.popitem(last=False)


def _opened_elsewhere(limit: int, known: int) -> OpenShards:
    return OpenShards(limit, known=known)
