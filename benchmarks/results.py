"""What a benchmark returns: lines with their spread and target, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["FULL", "QUICK", "TINY", "Effort", "Line", "table"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure.

    Args:
        rounds: Repetitions of each pair of runs.
        scale: Factor on the sizes; 1 is what the targets are meant for.
        ray: Whether to start clusters; without, pipelines run in this process.
        threads: Threads of torch, at most: with more, a busy machine can take minutes for nothing.
    """

    rounds: int
    scale: float
    ray: bool = True
    threads: int = 1024

    def of(self, full: int, *, least: int = 1) -> int:
        """Return a size, scaled."""
        return max(least, round(full * self.scale))


FULL = Effort(rounds=7, scale=1.0)
QUICK = Effort(rounds=3, scale=0.25)
TINY = Effort(rounds=1, scale=0.004, ray=False, threads=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measured quantity.

    Args:
        name: What was measured.
        values: One value a round.
        unit: Unit of the values; ``x`` for a ratio.
        target: The limit, if there is one.
        sense: Which side of the target is good.
        note: What a reader needs to judge it.
    """

    name: str
    values: tuple[float, ...]
    unit: str = "x"
    target: float | None = None
    sense: Literal["at least", "at most"] = "at most"
    note: str = ""

    @property
    def median(self) -> float:
        """Median over rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the target; None where there is none."""
        if self.target is None:
            return None
        return (
            self.median >= self.target if self.sense == "at least" else self.median <= self.target
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "rounds": len(self.values),
            "sense": self.sense if self.target is not None else None,
            "target": self.target,
            "met": self.met,
            "note": self.note,
        }


def table(lines: Sequence[Line]) -> str:
    """Return the lines as text in columns."""
    rows = [("what", "median", "min..max", "target", "met", "")]
    for line in lines:
        spread = f"{_short(min(line.values))}..{_short(max(line.values))}"
        target = "" if line.target is None else f"{line.sense} {_short(line.target)}"
        met = {None: "", True: "yes", False: "NO"}[line.met]
        median = f"{_short(line.median)} {line.unit}"
        rows.append((line.name, median, spread, target, met, line.note))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    texts = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        texts.append("  ".join([*cells, row[5]]).rstrip())
    return "\n".join(texts)


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
