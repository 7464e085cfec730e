"""A small cache of decoded images, bounded by bytes.

Cutting a hundred patches of one 24-megapixel JPEG must decode it once; keeping every image would
make a worker's memory grow with the corpus.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from pipeline.pixels import Pixels

__all__ = ["PixelCache"]


class PixelCache:
    """Least recently used arrays, at most ``limit`` bytes of them; safe among threads.

    Args:
        limit: Bytes. A larger array is passed through and not kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._arrays: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Pixels]) -> Pixels:
        """Return the array of a key, made if it is not here; callers may not write into it."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        pixels = make()
        pixels.flags.writeable = False
        with self._lock:
            if key not in self._arrays and pixels.nbytes <= self.limit:
                self._arrays[key] = pixels
                self.size += pixels.nbytes
            while self.size > self.limit:
                self.size -= self._arrays.popitem(last=False)[1].nbytes
        return pixels

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._arrays.clear()
            self.size = 0
