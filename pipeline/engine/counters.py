"""Counts of what the stages have done; on a cluster an actor's, in one process an object.

Neither torch nor images are imported here: the actor's process starts first and stays.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.engine.work import STAGES

__all__ = ["AttemptCounters", "ProgressCounters", "StageCounts"]


@dataclass(slots=True)
class StageCounts:
    """What one stage has done: patches, and patches refused."""

    patches: int = 0
    rejected: int = 0


@dataclass(slots=True)
class ProgressCounters:
    """Counts of all stages."""

    stages: dict[str, StageCounts] = field(
        default_factory=lambda: {name: StageCounts() for name in STAGES}
    )

    def add(self, stage: str, patches: int, rejected: int) -> None:
        """Count what a stage has done."""
        counts = self.stages[stage]
        counts.patches += patches
        counts.rejected += rejected

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Return (patches, rejected) of each stage."""
        return {name: (c.patches, c.rejected) for name, c in self.stages.items()}


@dataclass(slots=True)
class AttemptCounters(ProgressCounters):
    """Counters that also tell how often work on a shard was begun."""

    begun: Counter[tuple[str, int]] = field(default_factory=Counter)

    def begin(self, stage: str, shard: int) -> int:
        """Count a beginning; the first is 1."""
        self.begun[stage, shard] += 1
        return self.begun[stage, shard]
