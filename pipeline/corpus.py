"""The index of a corpus: ``corpus.json``, and the records from which a run is resumed.

A folder is a corpus if and only if it holds ``corpus.json``, which is written last. Until then a
run's state is one small file a shard:

    _records/<shard>.json   written after the shard's files: what was made, under which plan, the
                            files' hashes, and what was refused
    corpus.json             the whole: manifest, versions, hardware, licences, all shards

A shard counts as done if its record is of the same plan and its files hash to what the record says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pipeline.canonical import canonical_json, list_of, rebuild, scalar_fields, sha256_of
from pipeline.records import Reject
from pipeline.sinks.base import FORMAT, FORMAT_VERSION, FileRecord
from pipeline.storage import (
    TEMP_PREFIX,
    DatasetError,
    StorageError,
    exists,
    file_size,
    join,
    list_files,
    publish,
    read_bytes,
    remove,
    sha256_file,
)

__all__ = [
    "INDEX_NAME",
    "RECORDS",
    "CorpusIndex",
    "GeneratorEntry",
    "ShardRecord",
    "SourceEntry",
    "Totals",
    "canonical_json",
    "done_shards",
    "is_corpus",
    "load_corpus",
    "sha256_of",
    "sweep_orphans",
    "utc_now",
    "write_index",
    "write_record",
]

INDEX_NAME = "corpus.json"
RECORDS = "_records"
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
    rejects: Sequence[Reject] = ()

    def __post_init__(self) -> None:
        # Tuples, so that a record equals itself after a round trip through JSON.
        object.__setattr__(self, "files", tuple(self.files))
        object.__setattr__(self, "rejects", tuple(self.rejects))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorEntry:
    """A generator of a corpus: its key in the rows, its name and revision, its weights.

    Args:
        key: Name under which its rows are found.
        name: Name in the registry.
        revision: Revision of its pixels.
        weights: Name or file of its weights, if it has any.
        weights_sha256: SHA-256 of the weights; empty if there are none.
        license: Licence of the weights.
    """

    key: str
    name: str
    revision: int
    weights: str | None
    weights_sha256: str
    license: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """A source of a corpus: its label, its type, its licence and how many images it gave."""

    label: str
    type: str
    license: str | None
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over a corpus: pairs, bytes of all files, refused pairs, seconds of the run."""

    rows: int
    bytes: int
    rejected: int
    seconds: float

    @classmethod
    def of(cls, shards: Iterable[ShardRecord], *, seconds: float) -> Totals:
        """Add up shards.

        Args:
            shards: All shards of the corpus.
            seconds: Wall time of the run; the sum over shards counts parallel work twice.
        """
        every = list(shards)
        return cls(
            rows=sum(shard.rows for shard in every),
            bytes=sum(file.bytes for shard in every for file in shard.files),
            rejected=sum(shard.planned - shard.rows for shard in every),
            seconds=round(seconds, 3),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusIndex:
    """Everything that ``corpus.json`` says.

    Args:
        name: Name of the corpus.
        manifest: The full manifest, as JSON values.
        manifest_sha256: Hash of its canonical JSON; also in every shard.
        plan_sha256: Hash of the frozen plan.
        seed: The manifest's seed.
        created: Time of writing, UTC, ISO 8601.
        software: Version of each package that touches pixels; ``None`` where not installed.
        git: Revision of the checkout that ran, with ``-dirty`` if changed; ``None`` if installed.
        hardware: CPU model, cores, GPU names.
        generators: The generators.
        sources: The sources.
        shards: Every shard of the plan, in order.
        totals: Sums.
    """

    name: str
    manifest: Mapping[str, Any]
    manifest_sha256: str
    plan_sha256: str
    seed: int
    created: str
    software: Mapping[str, str | None]
    git: str | None
    hardware: Mapping[str, Any]
    generators: Sequence[GeneratorEntry]
    sources: Sequence[SourceEntry]
    shards: Sequence[ShardRecord]
    totals: Totals

    @property
    def formats(self) -> list[str]:
        """Formats in which the corpus is stored, sorted."""
        return sorted({file.format for shard in self.shards for file in shard.files})

    @property
    def splits(self) -> dict[str, int]:
        """Number of pairs of each split that has any, in the order train, val, test."""
        counts = {split: 0 for split in ("train", "val", "test")}
        for shard in self.shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.rows
        return {split: rows for split, rows in counts.items() if rows}

    def to_dict(self) -> dict[str, Any]:
        """Return the index as JSON values."""
        shards = [shard.to_dict() for shard in self.shards]
        for shard in shards:
            del shard["rejects"]
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **{key: getattr(self, key) for key in scalar_fields(CorpusIndex)},
            "software": dict(self.software),
            "generators": [asdict(entry) for entry in self.generators],
            "sources": [asdict(entry) for entry in self.sources],
            "totals": asdict(self.totals),
            "manifest": dict(self.manifest),
            "hardware": dict(self.hardware),
            "shards": shards,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> CorpusIndex:
        """Rebuild an index.

        Raises:
            DatasetError: If it is of a newer version, or something is missing.
        """
        _check_version(data, where)
        generators = list_of(data, "generators", where)
        return rebuild(
            cls,
            data,
            where,
            generators=[rebuild(GeneratorEntry, x, where) for x in generators],
            sources=[rebuild(SourceEntry, x, where) for x in list_of(data, "sources", where)],
            shards=[ShardRecord.from_dict(x, where=where) for x in list_of(data, "shards", where)],
            totals=rebuild(Totals, data.get("totals", {}), where),
        )


def utc_now() -> str:
    """Return the time as ``2026-01-31T12:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    orphans = [
        path for path in list_files(root) if PurePosixPath(path).name.startswith(TEMP_PREFIX)
    ]
    for path in orphans:
        remove(root, path)
    return orphans


def is_corpus(root: str) -> bool:
    """Tell whether there is a ``corpus.json``."""
    return exists(root, INDEX_NAME)


def write_index(root: str, index: CorpusIndex) -> None:
    """Publish ``corpus.json``; the last thing that a run writes, for it makes the corpus one.

    Raises:
        StorageError: If it cannot be written.
    """
    text = json.dumps(index.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    publish(root, INDEX_NAME, text.encode() + b"\n")


def load_corpus(root: str) -> CorpusIndex:
    """Read the index of a corpus.

    Args:
        root: Folder or URL.

    Raises:
        FileNotFoundError: If the folder is not a corpus.
        DatasetError: If the index is damaged or of a newer format.
    """
    where = join(root, INDEX_NAME)
    if not is_corpus(root):
        raise FileNotFoundError(
            f"{root} is not a corpus: it holds no {INDEX_NAME}. If a run was interrupted there, "
            "run its manifest again to finish it."
        )
    try:
        data = json.loads(read_bytes(root, INDEX_NAME))
    except ValueError as error:
        raise DatasetError(f"{where} is damaged: {error}.") from None
    if not isinstance(data, dict):
        raise DatasetError(f"{where} is damaged: it holds no JSON object.")
    return CorpusIndex.from_dict(data, where=where)


def _done_record(root: str, name: str, plan_sha256: str) -> ShardRecord | None:
    where = join(root, f"{RECORDS}/{name}")
    try:
        data = json.loads(read_bytes(root, f"{RECORDS}/{name}"))
        record = ShardRecord.from_dict(data, where=where)
        if record.plan_sha256 != plan_sha256 or f"{record.name}.json" != name:
            return None
        for file in record.files:
            if file_size(root, file.path) != file.bytes:
                return None
            if sha256_file(root, file.path) != file.sha256:
                return None
    except (ValueError, AttributeError, DatasetError, StorageError):
        return None
    return record


def _check_version(data: Mapping[str, Any], where: str) -> None:
    version = data.get("format_version")
    if data.get("format") != FORMAT or type(version) is not int or version < 1:
        raise DatasetError(f"{where} is not the index of a noisemill corpus.")
    if version > FORMAT_VERSION:
        raise DatasetError(
            f"{where} has format version {version}; this noisemill reads up to {FORMAT_VERSION}. "
            "Install a newer noisemill."
        )


def _check_inside(path: str, where: str) -> None:
    try:
        join("", path) if path else join("", "/")
    except ValueError as error:
        raise DatasetError(f"{where} is damaged: {error}") from None
