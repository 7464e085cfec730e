"""How much of the input may be refused before a run stops: ``limits.max_rejected``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.errors import RejectBudgetError
from pipeline.records import Reject

__all__ = ["RejectBudget", "check_photographs"]

# Reasons of rejects that the manifest asks for: patches.min_texture and the source's audit.
_ASKED_FOR = ("flat", "audit")


class RejectBudget:
    """Refused patches against the budget; what the manifest asked to leave out is free.

    Args:
        planned: Patches of the plan.
        limit: Largest fraction that may be refused.
    """

    def __init__(self, planned: int, limit: float) -> None:
        self.planned, self.limit = planned, limit
        self.rejects: list[Reject] = []
        self.lost = 0

    def add(self, rejects: Iterable[Reject]) -> None:
        """Count what was refused.

        Raises:
            RejectBudgetError: If too much was refused by now.
        """
        found = [reject for reject in rejects if reject.reason not in _ASKED_FOR]
        self.rejects += found
        self.lost += sum(reject.patches for reject in found)
        what = f"{self.lost} of {self.planned} patches"
        _check(self.rejects, self.lost / self.planned, self.limit, what)


def check_photographs(refused: Sequence[Reject], read: int, limit: float) -> None:
    """Stop before anything is made if too many photographs were refused while planning.

    Args:
        refused: Those refused.
        read: How many were not.
        limit: Largest fraction that may be refused.

    Raises:
        RejectBudgetError: If too many were.
    """
    seen = read + len(refused)
    _check(refused, len(refused) / seen, limit, f"{len(refused)} of {seen} photographs")


def _check(rejects: Sequence[Reject], share: float, limit: float, what: str) -> None:
    if share <= limit:
        return
    counts = Counter(reject.reason for reject in rejects)
    reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.most_common())
    examples = "".join(f"\n  {r.uri}: {r.detail}" for r in rejects[:10])
    more = f"\n  ... and {len(rejects) - 10} more" if len(rejects) > 10 else ""
    raise RejectBudgetError(
        f"{what} were refused ({reasons}), more than limits.max_rejected = {limit:g} allows. "
        "Mend or leave out the inputs, or raise the limit; finished shards are kept."
        f"{examples}{more}"
    )
