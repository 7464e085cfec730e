"""What passes from stage to stage: one shard at a time, whole.

A shard travels as one pickled value, so Ray can neither split nor mix shards: one row of the Ray
dataset is one shard from the plan to the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.building.plan import PlannedShard
from pipeline.manifest.models import AuditLimits
from pipeline.records import ImageRecord, Reject

__all__ = ["CutShard", "CutTask", "MadeShard"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutTask:
    """A planned shard with the records it needs.

    Args:
        shard: The planned shard; its ``image`` column indexes ``records``.
        records: Only the photographs of this shard.
        limits: Audit limits by source label.
        further: Columns of capture metadata beside camera and ISO that the corpus stores.
    """

    shard: PlannedShard
    records: Sequence[ImageRecord]
    limits: dict[str, AuditLimits]
    further: Sequence[str] = ()

    @property
    def index(self) -> int:
        """Number of the shard in its plan."""
        return self.shard.index

    @property
    def name(self) -> str:
        """Name of the shard, for messages."""
        return self.shard.name.stem

    @property
    def counts(self) -> tuple[int, int]:
        """Patches planned, and none refused."""
        return len(self.shard), 0

    def where(self, row: int) -> str:
        """Return in words which patch a planned row is: the photograph, and the place in it."""
        shard = self.shard
        uri = self.records[int(shard.image[row])].uri
        return f"{uri}, patch at y {shard.y[row]}, x {shard.x[row]}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shard:
    """What every shard says of itself once it has pixels."""

    task: CutTask
    clean: NDArray[Any]

    @property
    def index(self) -> int:
        """Number of the shard in its plan."""
        return self.task.index

    @property
    def name(self) -> str:
        """Name of the shard, for messages."""
        return self.task.name

    @property
    def counts(self) -> tuple[int, int]:
        """Patches that are left, and patches refused so far."""
        left = len(self.clean)
        return left, len(self.task.shard) - left


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutShard(_Shard):
    """A shard whose patches are cut.

    Args:
        task: What was asked for.
        rows: ``(M,)`` rows of the planned shard that survived.
        clean: ``(M, H, W, C)`` uint8, uint16 or float32, as the photographs have it.
        reference: ``(M, H, W, C)`` real noisy patches, if a generator needs them.
        rejects: What was refused.
        seconds: Time so far.
    """

    rows: NDArray[np.int64]
    reference: NDArray[Any] | None
    rejects: Sequence[Reject] = field(default=())
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MadeShard(_Shard):
    """A shard with noise, quantised as it will be stored.

    Args:
        task: What was asked for.
        clean: ``(M, H, W, C)`` in the output encoding.
        noisy: Same shape and type.
        columns: One value a row for every column of :data:`pipeline.corpus.columns.COLUMNS`, and
            for the task's further ones.
        rejects: All refused so far.
        seconds: Time so far.
        processor: Kind of processor that made the noise.
    """

    noisy: NDArray[Any]
    columns: dict[str, Any]
    rejects: Sequence[Reject]
    seconds: float
    processor: str
