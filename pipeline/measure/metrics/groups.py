"""Sums by image, camera, ISO, generator and in total, from one accumulator a cell.

A *cell* is what is measured apart: one generator on one image of one camera and ISO. Coarser groups
are made of cells by merging, when they are asked for: a block is measured once, and the sums may be
made in pieces anywhere. :class:`Scores` is the light accumulator of a cell: named values, one row a
block, from which means, medians and intervals follow.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from pipeline.measure.metrics.base import Array, Floats, same_convention

__all__ = ["LEVELS", "Cell", "GroupSums", "Mergeable", "Scores"]

LEVELS = ("image", "camera", "iso", "generator")


class Cell(NamedTuple):
    """What a block is of; ``None`` where unknown or not told apart."""

    generator: str | None = None
    camera: str | None = None
    iso: int | None = None
    image: str | None = None


class Mergeable(Protocol):
    """What :class:`GroupSums` asks of an accumulator."""

    def merge(self, other: Any) -> None:
        """Add what another accumulator has seen."""
        ...


_A = TypeVar("_A", bound=Mergeable)


@dataclass
class GroupSums(Generic[_A]):
    """One accumulator a cell.

    Args:
        make: Makes an empty accumulator.
        cells: What there is so far.
    """

    make: Callable[[], _A]
    cells: dict[Cell, _A] = field(default_factory=dict)

    def at(self, cell: Cell) -> _A:
        """Return a cell's accumulator, to be updated."""
        if cell not in self.cells:
            self.cells[cell] = self.make()
        return self.cells[cell]

    def merge(self, other: GroupSums[_A]) -> None:
        """Add the cells of another; it is left as it is."""
        for cell, sums in other.cells.items():
            self.at(cell).merge(sums)

    def total(self) -> _A:
        """Return all cells merged."""
        return _merged(self.make(), self.cells.values())

    def by(self, *levels: str) -> dict[tuple[Any, ...], _A]:
        """Return the cells merged into groups, sorted, unknown ones last.

        Args:
            levels: Of :data:`LEVELS`; what a group has in common.

        Returns:
            The group's values, in the order of ``levels``, to a new accumulator.

        Raises:
            ValueError: If there is no such level.
        """
        unknown = [level for level in levels if level not in LEVELS]
        if unknown:
            raise ValueError(f"no level {', '.join(unknown)}; there are {', '.join(LEVELS)}.")
        groups: dict[tuple[Any, ...], list[_A]] = {}
        for cell, sums in self.cells.items():
            groups.setdefault(tuple(getattr(cell, level) for level in levels), []).append(sums)
        return {key: _merged(self.make(), groups[key]) for key in sorted(groups, key=_order)}


@dataclass
class Scores:
    """Named values, one row a block, at 8 bytes a value.

    Args:
        names: What is measured; with its convention where it has one.
    """

    names: tuple[str, ...]
    values: array[float] = field(default_factory=lambda: array("d"))

    def update(self, row: Mapping[str, float]) -> None:
        """Add one block.

        Args:
            row: A value for each name; not a number where it cannot be measured.

        Raises:
            ValueError: If the names are not these.
        """
        if set(row) != set(self.names):
            raise ValueError(f"expected {', '.join(self.names)}; got {', '.join(row)}.")
        self.values.extend(float(row[name]) for name in self.names)

    def merge(self, other: Scores) -> None:
        """Add the blocks of another with the same names."""
        same_convention(self.names, other.names, "scores of")
        self.values.extend(other.values)

    def __len__(self) -> int:
        return len(self.values) // max(len(self.names), 1)

    def table(self) -> Floats:
        """Return ``(blocks, names)``."""
        return np.array(self.values, dtype=np.float64).reshape(-1, len(self.names))

    def column(self, name: str) -> Floats:
        """Return one measure of all blocks."""
        found: Floats = self.table()[:, self.names.index(name)]
        return found

    def where(self, kept: Array) -> Scores:
        """Return some of the blocks.

        Args:
            kept: ``(blocks,)`` bool.
        """
        # As bytes: a list of numbers on the way would be four times as large.
        values = array("d")
        values.frombytes(self.table()[kept].tobytes())
        return Scores(self.names, values)

    def result(self) -> dict[str, dict[str, float | None]]:
        """Return mean and median of each measure over the blocks that have it, else ``None``."""
        table = self.table()
        return {name: _middle(table[:, i]) for i, name in enumerate(self.names)}


def _middle(values: Floats) -> dict[str, float | None]:
    known = values[~np.isnan(values)]
    if not len(known):
        return {"mean": None, "median": None}
    return {"mean": float(known.mean()), "median": float(np.median(known))}


def _merged(start: _A, parts: Iterable[_A]) -> _A:
    for part in parts:
        start.merge(part)
    return start


def _order(key: Sequence[Any]) -> list[tuple[bool, Any]]:
    return [(value is None, "" if value is None else value) for value in key]
