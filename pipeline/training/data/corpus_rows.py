"""A corpus as training pixels: its rows in chunks, checked before the first is used.

Chunks are runs of :data:`CHUNK` neighbouring rows of a shard, the largest row group that a Parquet
shard has. Every row that is chosen is a pair: a patch that stands in several rows, with noise of
several generators, gives several.

For noise2noise a pair is two different rows of one patch: noise of two generators, or of one under
two labels. All ordered pairs of a patch are taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal

import numpy as np

from generators.base import Domain
from pipeline.corpus.formats import FileRecord
from pipeline.corpus.reader import open_corpus
from pipeline.training.data.pair_rows import Pair

__all__ = ["CHUNK", "CorpusPairs"]

CHUNK = 100
_COLUMNS = (
    "generator",
    "domain",
    "source_sha256",
    "source_uri",
    "scene",
    "crop_y",
    "crop_x",
    "height",
    "width",
)
_CHANNELS = {"grey": 1, "rgb": 3, "rggb": 4}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Neighbouring rows of a file, and which of them make the pairs."""

    file: int
    rows: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]


class CorpusPairs:
    """The rows of a corpus.

    Args:
        root: Folder or URL.
        split: Only rows of this split; ``None`` for all.
        generators: Only rows of these generators, by key; ``None`` for all.
        format: Which format to read; if absent, one that reads single rows where there is one.
        twice: Whether a pair is two noisy rows of a patch, not its clean and noisy image.
        check: ``checksums`` reads every shard whole and compares; ``sizes`` asks for sizes only.

    Attributes:
        index: What ``corpus.json`` says.
        domain: Of the images.
        channels: Of the images.
        sides: Smallest height and width of a patch.
        sources: SHA-256 of what the rows were cut from, and its scenes.
        origins: SHA-256 of what the rows were cut from, and where that is.

    Raises:
        FileNotFoundError: If ``root`` is not a corpus.
        ValueError: If it lacks the split, generator or format, or no patch has two noisy rows where
            two are wanted.
        DatasetError: If a shard is missing, altered or damaged.
    """

    def __init__(
        self,
        root: str,
        *,
        split: str | None,
        generators: Sequence[str] | None,
        format: str | None,
        twice: bool,
        check: Literal["checksums", "sizes"],
    ) -> None:
        self.root, self._twice = root, twice
        self._reader = open_corpus(
            root,
            splits=[split] if split else None,
            generators=generators,
            format=format,
            check=check,
        )
        if not self._reader.files:
            raise ValueError(f"corpus {root} holds no pairs at all.")
        self.index = self._reader.index
        self.format = self._reader.files[0].format
        self.by_row = self._reader.single_rows
        self.sources: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self._chunks: list[_Chunk] = []
        self._kinds: set[tuple[str, int, int, int, str]] = set()
        for number in range(len(self._reader.files)):
            self._add(number, None if generators is None else set(generators))
        if not self._chunks:
            raise ValueError(
                f"corpus {root}: no patch stands in two rows, so there is no second noisy shot for "
                "noise2noise; make the corpus with `mix: each` and two generators, or one "
                "generator under two labels."
                if twice
                else f"corpus {root} has no row of {', '.join(generators or ['any generator'])} in "
                f"split {split or 'any'}."
            )
        domains = {kind[0] for kind in self._kinds}
        channels = {kind[1] for kind in self._kinds}
        if len(domains) > 1 or len(channels) > 1:
            raise ValueError(f"corpus {root} mixes {', '.join(map(str, sorted(self._kinds)))}.")
        self.domain: Domain = "raw" if domains == {"raw"} else "srgb"
        self.channels = channels.pop()
        self.sides = min(kind[2] for kind in self._kinds), min(kind[3] for kind in self._kinds)
        self.counts = [len(chunk.pairs) for chunk in self._chunks]
        self.sizes = [self._bytes(chunk) for chunk in self._chunks]

    @property
    def files(self) -> list[FileRecord]:
        """The shards that are read."""
        return self._reader.files

    def load(self, chunk: int) -> Callable[[int], Pair]:
        """Read a chunk into memory."""
        found = self._chunks[chunk]
        reader = self._reader.shard(found.file)
        start, stop = found.rows[0], found.rows[-1] + 1
        if len(found.rows) == stop - start:
            clean, noisy = reader.images(start, stop)
        else:
            pairs = [reader.pair(row) for row in found.rows]
            clean, noisy = (np.stack([pair[k] for pair in pairs]) for k in (0, 1))
        at = {row: place for place, row in enumerate(found.rows)}
        if self._twice:
            return lambda i: (noisy[at[found.pairs[i][0]]], noisy[at[found.pairs[i][1]]])
        return lambda i: (clean[at[found.pairs[i][0]]], noisy[at[found.pairs[i][0]]])

    def pair(self, chunk: int, row: int) -> Pair:
        """Read one row."""
        found = self._chunks[chunk]
        reader = self._reader.shard(found.file)
        first, second = found.pairs[row]
        if self._twice:
            return reader.pair(first)[1], reader.pair(second)[1]
        return reader.pair(first)

    def close(self) -> None:
        """Close the shards that are open; reading opens them again."""
        self._reader.close()

    def _add(self, number: int, generators: set[str] | None) -> None:
        """Take note of a file's rows."""
        reader = self._reader.shard(number)
        columns = reader.columns(_COLUMNS)
        encoding = str(reader.attributes["encoding"])
        channels = _CHANNELS[str(reader.attributes["color"])]
        kept = [
            row
            for row, key in enumerate(columns["generator"])
            if generators is None or key in generators
        ]
        for row in kept:
            sides = columns["height"][row], columns["width"][row]
            self._kinds.add((columns["domain"][row], channels, *sides, encoding))
            self.sources[columns["source_sha256"][row]] = columns["scene"][row]
            self.origins[columns["source_sha256"][row]] = columns["source_uri"][row]
        for start in range(0, reader.rows, CHUNK):
            rows = tuple(row for row in kept if start <= row < start + CHUNK)
            pairs = _shots(rows, columns) if self._twice else tuple((row, row) for row in rows)
            if pairs:
                self._chunks.append(_Chunk(number, rows, pairs))

    def _bytes(self, chunk: _Chunk) -> int:
        largest = max(
            channels * height * width * np.dtype(encoding).itemsize
            for _, channels, height, width, encoding in self._kinds
        )
        return 2 * len(chunk.rows) * largest


def _shots(rows: Sequence[int], columns: dict[str, list[Any]]) -> tuple[tuple[int, int], ...]:
    """Return all ordered pairs of rows that show one patch."""
    patches: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row in rows:
        place = (columns[name][row] for name in ("source_sha256", "crop_y", "crop_x", "height"))
        patches[tuple(place)].append(row)
    return tuple(pair for same in patches.values() for pair in permutations(same, 2))
