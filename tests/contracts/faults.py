"""Stages that go wrong, importable by Ray's workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.building.stages.cut import CutStage
from pipeline.building.stages.work import CutShard, CutTask, MadeShard
from pipeline.building.stages.write import WriteStage
from pipeline.corpus.shard_records import ShardRecord
from pipeline.storage import StorageError

DISK_FULL = "cannot write /somewhere/x.h5: the disk is full"


class LoggedCut(CutStage):
    """Notes the beginning of each shard in a file; an ``A`` as well if an actor does it."""

    log: Path

    def __call__(self, task: CutTask) -> CutShard:
        import ray

        note(self.log, "+")
        if ray.get_runtime_context().get_actor_id() is not None:
            note(self.log, "A")
        return super().__call__(task)


class LoggedWrite(WriteStage):
    """Notes the end of each shard in a file."""

    log: Path

    def __call__(self, made: MadeShard) -> ShardRecord:
        record = super().__call__(made)
        note(self.log, "-")
        return record


class FullDisk(WriteStage):
    """Fails with the third shard."""

    def __call__(self, made: MadeShard) -> ShardRecord:
        if made.task.shard.index == 2:
            raise StorageError(28, DISK_FULL)
        return super().__call__(made)


class FatalCut(CutStage):
    """Ends its process with the third shard, as the kernel does when memory runs out."""

    log: Path
    times: int

    def __call__(self, task: CutTask) -> CutShard:
        if task.shard.index == 2 and note(self.log, "x") <= self.times:
            os.kill(os.getpid(), 9)
        return super().__call__(task)


class Odd(Exception):
    """An exception that pickle cannot rebuild."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class OddWrite(WriteStage):
    """Fails with an exception that does not survive the way."""

    def __call__(self, made: MadeShard) -> ShardRecord:
        raise Odd("one", "two")


def note(log: Path, sign: str) -> int:
    """Append a sign to a file and return how many signs it holds; safe among processes."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(handle, sign.encode())
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def turned_into(stage: Any, kind: type, **attributes: Any) -> Any:
    """Return a stage as an instance of one of its subclasses."""
    other = object.__new__(kind)
    other.__dict__.update(stage.__dict__, **attributes)
    return other
