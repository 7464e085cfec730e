"""The actor of a cluster that counts for all workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.engine.counters import AttemptCounters
from pipeline.engine.work import ShardWork
from pipeline.errors import WorkerError

__all__ = ["ProgressActor"]


@dataclass(frozen=True, slots=True)
class ProgressActor:
    """Handle of the actor that counts; picklable, so stages carry it to their workers.

    Args:
        actor: The actor.
        attempts: How often a stage may begin a shard. Ray itself tries for ever what kills its
            worker.
    """

    actor: Any
    attempts: int

    @classmethod
    def start(cls, attempts: int) -> ProgressActor:
        """Start the counting actor; it reserves no CPU."""
        import ray

        return cls(ray.remote(num_cpus=0)(AttemptCounters).remote(), attempts)

    def begin(self, stage: str, work: ShardWork) -> None:
        """Count that a stage begins a shard.

        Raises:
            WorkerError: If it was begun too often and never came to an end.
        """
        import ray

        if ray.get(self.actor.begin.remote(stage, work.index)) > self.attempts:
            raise WorkerError(
                f"shard {work.name} has ended its worker process {self.attempts} times in "
                f"stage {stage} (out of memory, killed, or a crash in native code). Smaller shards "
                "(output.rows_per_shard), smaller batches or fewer actors need less memory; "
                "finished shards are kept."
            )

    def add(self, stage: str, patches: int, rejected: int) -> None:
        """Count, without waiting."""
        self.actor.add.remote(stage, patches, rejected)

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Return (patches, rejected) of each stage."""
        import ray

        return dict(ray.get(self.actor.snapshot.remote()))
