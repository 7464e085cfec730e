"""The index of a corpus: ``corpus.json``, manifest, versions, hardware, licences and all shards.

A folder is a corpus if and only if it holds ``corpus.json``, which is written last. Until then a
run's state is in the records of its shards (:mod:`pipeline.corpus.shard_records`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.canonical import list_of, rebuild, scalar_fields
from pipeline.corpus.formats.base import FORMAT, FORMAT_VERSION
from pipeline.corpus.shard_records import ShardRecord
from pipeline.storage import DatasetError, exists, join, publish, read_bytes

__all__ = [
    "INDEX_NAME",
    "CorpusIndex",
    "GeneratorEntry",
    "SourceEntry",
    "Totals",
    "is_corpus",
    "load_corpus",
    "write_index",
]

INDEX_NAME = "corpus.json"


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
        repeats: What a rerun elsewhere gives, in words (:func:`pipeline.corpus.repeats.promise`);
            empty in indexes from before it was said.
    """

    key: str
    name: str
    revision: int
    weights: str | None
    weights_sha256: str
    license: str | None
    repeats: str = ""


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
        manifest_sha256: Hash of the manifest's recipe, the part of it that decides pixels and
            files; also in every shard.
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


def is_corpus(root: str) -> bool:
    """Return True if there is a ``corpus.json``."""
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


def _check_version(data: Mapping[str, Any], where: str) -> None:
    version = data.get("format_version")
    if data.get("format") != FORMAT or type(version) is not int or version < 1:
        raise DatasetError(f"{where} is not the index of a noisemill corpus.")
    if version > FORMAT_VERSION:
        raise DatasetError(
            f"{where} has format version {version}; this noisemill reads up to {FORMAT_VERSION}. "
            "Install a newer noisemill."
        )
