"""What became of each shard of a run, in one small file a shard, from which a run is resumed.

    _records/<shard>.json   written after the shard's files: what was made, under which plan, the
                            files' hashes, and what was refused

A shard counts as done if its record is of the same plan and its files hash to what the record says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.canonical import canonical_json, list_of, rebuild, scalar_fields
from pipeline.corpus.damage import damage
from pipeline.corpus.formats.base import FileRecord
from pipeline.records import Reject
from pipeline.storage import (
    DatasetError,
    StorageError,
    is_temporary,
    join,
    list_files,
    publish,
    read_bytes,
    remove,
)

__all__ = ["PLAN_NOTE", "RECORDS", "ShardRecord", "done_shards", "sweep_orphans", "write_record"]

RECORDS = "_records"
PLAN_NOTE = f"{RECORDS}/plan.json"
_READERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """What became of one planned shard.

    Args:
        index: Number of the shard in the plan.
        name: File name without folder and extension, e.g. ``train-00000-of-00042``.
        split: ``train``, ``val`` or ``test``.
        rows: Pairs made; 0 where all were refused, and then there are no files.
        planned: Pairs planned; ``planned - rows`` were refused.
        files: The shard's files, one a format.
        seconds: Time from the first stage to the last file, s.
        plan_sha256: Hash of the plan it belongs to.
        processor: Kind of processor that made the noise (:mod:`pipeline.corpus.repeats`); empty in
            records from before it was kept.
        rejects: What was refused; in ``_records`` and ``rejected.jsonl``, not in ``corpus.json``.
    """

    index: int
    name: str
    split: str
    rows: int
    planned: int
    files: Sequence[FileRecord]
    seconds: float
    plan_sha256: str
    processor: str = ""
    rejects: Sequence[Reject] = ()

    def __post_init__(self) -> None:
        # Tuples, so that a record equals itself after a round trip through JSON.
        object.__setattr__(self, "files", tuple(self.files))
        object.__setattr__(self, "rejects", tuple(self.rejects))

    @property
    def counts(self) -> tuple[int, int]:
        """Pairs made, and pairs refused."""
        return self.rows, self.planned - self.rows

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            **{key: getattr(self, key) for key in scalar_fields(ShardRecord)},
            "files": [file.to_dict() for file in self.files],
            "rejects": [reject.to_dict() for reject in self.rejects],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> ShardRecord:
        """Rebuild a record.

        Raises:
            DatasetError: If something is missing or of the wrong type.
        """
        files = tuple(rebuild(FileRecord, item, where) for item in list_of(data, "files", where))
        for file in files:
            _check_inside(file.path, where)
        rejects = tuple(
            rebuild(Reject, item, where) for item in (list_of(data, "rejects", where, default=[]))
        )
        return rebuild(cls, data, where, files=files, rejects=rejects)


def write_record(root: str, record: ShardRecord) -> None:
    """Publish a shard's record; call it after all files of the shard are published.

    Raises:
        StorageError: If it cannot be written.
    """
    publish(root, f"{RECORDS}/{record.name}.json", canonical_json(record.to_dict()).encode())


def done_shards(root: str, plan_sha256: str) -> dict[int, ShardRecord]:
    """Return the shards that need not be made again.

    Args:
        root: Folder or URL of the output.
        plan_sha256: Hash of the plan that is about to run.

    Returns:
        Records by shard number: of this plan, every file there with its size and SHA-256. A record
        that is damaged, foreign or contradicted by a file is left out; its shard is made again.
    """
    names = [name for name in list_files(join(root, RECORDS)) if name.endswith(".json")]
    with ThreadPoolExecutor(_READERS) as pool:
        records = pool.map(lambda name: _done_record(root, name, plan_sha256), names)
        return {record.index: record for record in records if record is not None}


def sweep_orphans(root: str) -> list[str]:
    """Remove what killed writers left behind; only while no writer is at work below the root.

    Returns:
        Paths of the removed temporary files.
    """
    orphans = [path for path in list_files(root) if is_temporary(path)]
    for path in orphans:
        remove(root, path)
    return orphans


def _done_record(root: str, name: str, plan_sha256: str) -> ShardRecord | None:
    where = join(root, f"{RECORDS}/{name}")
    try:
        data = json.loads(read_bytes(root, f"{RECORDS}/{name}"))
        record = ShardRecord.from_dict(data, where=where)
        if record.plan_sha256 != plan_sha256 or f"{record.name}.json" != name:
            return None
        if any(damage(root, file) for file in record.files):
            return None
    except (ValueError, AttributeError, DatasetError, StorageError):
        return None
    return record


def _check_inside(path: str, where: str) -> None:
    try:
        join("", path) if path else join("", "/")
    except ValueError as error:
        raise DatasetError(f"{where} is damaged: {error}") from None
