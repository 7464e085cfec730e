"""The stages in this process, shard after shard, without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.engine.counters import ProgressCounters
from pipeline.engine.work import ShardWork, Stages

__all__ = ["run_in_process"]


def run_in_process(
    tasks: Iterable[ShardWork], stages: Stages, *, threads: int, counters: ProgressCounters
) -> Iterator[Any]:
    """Make shards one after the other; a record comes as soon as its shard is written.

    Args:
        tasks: The shards to be made.
        stages: What each goes through.
        threads: CPU threads of the generators.
        counters: What the stages report to.

    Raises:
        Exception: What a stage raised. Shards already recorded stay.
    """
    steps = (
        ("cut", stages.cut),
        ("generate", stages.generate("cpu", threads)),
        ("write", stages.write),
    )
    for task in tasks:
        work: Any = task
        for name, stage in steps:
            work = stage(work)
            counters.add(name, *work.counts)
        yield work
