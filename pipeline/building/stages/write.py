"""Write: publish a shard's files, then its record.

The record comes last and carries the files' hashes, so a shard counts as done only if all of it is
there. A writer that is killed before leaves temporary names that the next run sweeps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline.building.stages.work import MadeShard
from pipeline.corpus.columns import ShardRows
from pipeline.corpus.formats import SinkOptions, sink
from pipeline.corpus.shard_records import ShardRecord, write_record

__all__ = ["WriteStage"]


class WriteStage:
    """Writes shards below a root.

    Args:
        root: Folder or fsspec URL of the corpus.
        formats: Formats of every shard.
        options: How shards look.
        plan_sha256: The plan they belong to.
    """

    def __init__(
        self, root: str, *, formats: Sequence[str], options: SinkOptions, plan_sha256: str
    ) -> None:
        self.root, self.plan_sha256 = root, plan_sha256
        self.sinks = [sink(format, options) for format in formats]

    def __call__(self, made: MadeShard) -> ShardRecord:
        """Publish one shard and return its record.

        Raises:
            StorageError: If a file cannot be written; nothing half-written is left.
        """
        started = time.monotonic()
        shard = made.task.shard
        count = len(made.columns["sample_id"])
        files = []
        if count:
            rows = ShardRows(clean=made.clean, noisy=made.noisy, columns=made.columns)
            files = [one.write(self.root, shard.name, rows) for one in self.sinks]
        record = ShardRecord(
            index=shard.index,
            name=shard.name.stem,
            split=shard.name.split,
            rows=count,
            planned=len(shard),
            files=tuple(files),
            seconds=round(made.seconds + time.monotonic() - started, 3),
            plan_sha256=self.plan_sha256,
            processor=made.processor,
            rejects=tuple(made.rejects),
        )
        write_record(self.root, record)
        return record
