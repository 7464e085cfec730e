"""What runs here: three stages, from a shard's task to its record, as plain callables.

    cut        a task   -> patches
    generate   patches  -> patches and their noise
    write      both     -> a record

Whoever builds a corpus hands the stages in; what is inside them nothing here knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["STAGES", "ShardWork", "Stages"]

STAGES = ("cut", "generate", "write")


class ShardWork(Protocol):
    """One shard at any point of its way; what stages take and give. Records are the last."""

    @property
    def index(self) -> int:
        """Number of the shard in its plan."""
        ...

    @property
    def name(self) -> str:
        """Name of the shard, for messages."""
        ...

    @property
    def counts(self) -> tuple[int, int]:
        """Patches that are left, and patches refused so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The stages of a run; picklable where they run in other processes.

    Args:
        cut: From a task to its patches.
        generate: Makes the stage that puts noise on them, in the process where it will run, given
            a device (``cpu``, ``cuda:0``) and a number of CPU threads.
        write: From both to the shard's record.
    """

    cut: Callable[[Any], Any]
    generate: Callable[[str, int], Callable[[Any], Any]]
    write: Callable[[Any], Any]
