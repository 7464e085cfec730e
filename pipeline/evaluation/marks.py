"""What must be said beside a row of noise: that it was told the answer, or that it repeats it.

A generator that needs a reference is often given the very block that it is scored on. What it then
scores is how well it read the answer, and no other row of the table had that. Its row is marked.

Some go further and give the real noise itself back, as InvDN does with a perturbed latent: every
distance is 0, and no new noise was made. New noise is not correlated with the real one of its
block, pixel by pixel; a copy is. Rows that repeat the real noise are marked, and are not called the
best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.evaluation.likeness import LIKENESS
from pipeline.evaluation.rows import Row

__all__ = ["TOLD", "is_copy", "mark", "mark_conventions"]

TOLD = "told"
# New noise has 0 on average, of a block and more so over blocks; half is far from both ends.
_COPY = 0.5
# Below half of what two draws of one white noise have; for rows measured without a likeness.
_COPY_AKLD = 0.02


def is_copy(row: Row) -> bool:
    """Return True if a row's noise is nearly the real noise that it is scored against."""
    entry = row.subset("all")
    measured = (entry.get(LIKENESS) or {}).get("mean")
    if measured is not None:
        return bool(measured > _COPY)
    distances = [(v or {}).get("mean") for name, v in entry.items() if name.startswith("akld")]
    return any(value is not None and value < _COPY_AKLD for value in distances)


def mark(row: Row) -> str:
    """Return what must be said beside a row: ``copy``, ``told the block`` or nothing."""
    if not row.done:
        return ""
    return "copy" if is_copy(row) else "told the block" if row.about.get(TOLD) else ""


def mark_conventions(rows: Sequence[Row]) -> Mapping[str, str]:
    """Return what the marks of these rows mean, for those that occur."""
    meanings = {
        "copy": "nearly the real noise itself: its distances are no merit, and it is not the best",
        "told the block": "its reference is the very block that it is scored on: it was told the "
        "answer, so compare it with rows marked alike only",
    }
    marks = {mark(row) for row in rows}
    return {name: text for name, text in meanings.items() if name in marks}
