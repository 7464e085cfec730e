"""Is a corpus what its index says? Every file, every row, and what must hold between them.

Without ``deep`` each file is read once for its hash, and its columns are checked: names, types, row
counts, format version, unique ids, splits that share no scene and no photograph. With it all pixels
are decoded as well: both formats of a shard must be equal, and the noise level of each row must be
the stored one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from pipeline.corpus.columns import COLUMNS, noise_std
from pipeline.corpus.damage import damage
from pipeline.corpus.formats import FileRecord, ShardReader, open_shard, shard_folders
from pipeline.corpus.index import CorpusIndex, Totals, load_corpus
from pipeline.corpus.shard_records import PLAN_NOTE, RECORDS, ShardRecord
from pipeline.storage import (
    DatasetError,
    StorageError,
    is_temporary,
    list_files,
)

__all__ = ["VerifyReport", "verify"]

_BATCH = 64
# A level is stored as float32 of a float64 mean; another machine may differ in its last digits.
_LEVEL_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What a check found.

    Args:
        problems: One line each, with the file it is in; empty if all is well.
        files: Files that were checked.
        rows: Pairs that the index lists.
        bytes: Bytes of the files that were checked.
    """

    problems: list[str]
    files: int
    rows: int
    bytes: int

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"ok": self.ok, **asdict(self)}


def verify(root: str, *, deep: bool) -> VerifyReport:
    """Check a corpus against its index.

    Args:
        root: Folder or URL of the corpus.
        deep: Decode all pixels too.

    Returns:
        All problems at once; a damaged file hides no other.

    Raises:
        FileNotFoundError: If ``root`` is not a corpus.
        DatasetError: If the index itself cannot be read.
    """
    index = load_corpus(root)
    seen = _Seen()
    for shard in index.shards:
        _check_shard(root, index, shard, seen, deep=deep)
    _check_whole(root, index, seen)
    files = [file for shard in index.shards for file in shard.files]
    return VerifyReport(
        problems=seen.problems,
        files=len(files),
        rows=sum(shard.rows for shard in index.shards),
        bytes=sum(file.bytes for file in files),
    )


@dataclass
class _Seen:
    """What is collected over all shards."""

    problems: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    splits: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def add_rows(self, where: str, columns: Mapping[str, list[Any]]) -> None:
        """Note ids, scenes and photographs of a file; report what contradicts earlier ones."""
        twice = [
            sample for sample in columns["sample_id"] if self.ids.setdefault(sample, where) != where
        ]
        if twice:
            self.problems.append(
                f"{where}: {len(twice)} samples are in {self.ids[twice[0]]} as well, "
                f"{twice[0]!r} the first."
            )
        for kind in ("scene", "source_sha256"):
            for value, split in set(zip(columns[kind], columns["split"], strict=True)):
                before, place = self.splits.setdefault((kind, value), (split, where))
                if before != split:
                    what = "scene" if kind == "scene" else "photograph"
                    self.problems.append(
                        f"{where}: {what} {value!r} is in split {split}, and in {before} ({place})."
                    )


def _check_shard(
    root: str, index: CorpusIndex, shard: ShardRecord, seen: _Seen, *, deep: bool
) -> None:
    """Check the files of one shard, each alone and then against the first."""
    if shard.rows and not shard.files:
        seen.problems.append(f"shard {shard.name}: {shard.rows} rows are listed and no file.")
    first: tuple[ShardReader, dict[str, list[Any]], str] | None = None
    for file in shard.files:
        try:
            problem = damage(root, file)
            if problem:
                # Not opened: one wrong byte in a string heap keeps HDF5 2.0 busy for ever.
                seen.problems.append(problem)
                continue
            with open_shard(root, file) as reader:
                columns = reader.columns([*COLUMNS, *reader.further])
                seen.problems += _check_rows(reader, columns, file, shard, index)
                if deep:
                    seen.problems += _check_levels(reader, columns, file.path)
                if first is None:
                    first = (reader, columns, file.path)
                    seen.add_rows(file.path, columns)
                    continue
                seen.problems += _compare(first, (reader, columns, file.path), deep=deep)
                first[0].close()
        except StorageError as error:
            seen.problems.append(f"{file.path}: {error.strerror or error}.")
        except (DatasetError, ValueError) as error:
            seen.problems.append(f"{file.path}: {error}")


def _check_rows(
    reader: ShardReader,
    columns: Mapping[str, list[Any]],
    file: FileRecord,
    shard: ShardRecord,
    index: CorpusIndex,
) -> Iterator[str]:
    """Yield what is wrong with a file's own rows."""
    if not reader.rows == file.rows == shard.rows:
        yield f"{file.path}: {reader.rows} rows; the index lists {file.rows} of {shard.rows}."
    if reader.attributes.get("manifest_sha256") != index.manifest_sha256:
        yield f"{file.path}: made by another manifest than the index's."
    if len(set(columns["sample_id"])) != len(columns["sample_id"]):
        yield f"{file.path}: a sample id appears twice."
    strangers = set(columns["split"]) - {shard.split}
    if strangers:
        yield f"{file.path}: rows of split {', '.join(sorted(strangers))}, not {shard.split}."
    unknown = set(columns["generator"]) - {entry.key for entry in index.generators}
    if unknown:
        yield f"{file.path}: generators that the index does not list: {', '.join(sorted(unknown))}."
    for params in set(columns["params"]):
        try:
            json.loads(params)
        except ValueError:
            yield f"{file.path}: params are no JSON: {params!r}."
            return


def _check_levels(
    reader: ShardReader, columns: Mapping[str, list[Any]], path: str
) -> Iterator[str]:
    """Yield whether rows have other noise levels than their column says."""
    levels = np.concatenate(
        [
            noise_std(*reader.images(start, start + _BATCH))
            for start in range(0, reader.rows, _BATCH)
        ]
    )
    stored = np.asarray(columns["noise_std"], dtype=np.float32)
    wrong = np.flatnonzero(~(np.abs(levels - stored) <= _LEVEL_TOLERANCE))
    if len(wrong):
        row = int(wrong[0])
        yield (
            f"{path}: {len(wrong)} rows have another noise level than their column says; first "
            f"{columns['sample_id'][row]!r}, {levels[row]:.6g} where {stored[row]:.6g} is stored."
        )


def _compare(
    first: tuple[ShardReader, dict[str, list[Any]], str],
    other: tuple[ShardReader, dict[str, list[Any]], str],
    *,
    deep: bool,
) -> Iterator[str]:
    """Yield how two formats of one shard differ."""
    (a, left, a_path), (b, right, b_path) = first, other
    for name in {**left, **right}:
        if left.get(name) != right.get(name):
            yield f"{b_path}: column {name!r} differs from {a_path}."
    if not deep or a.rows != b.rows:
        return
    for start in range(0, a.rows, _BATCH):
        pairs = zip(a.images(start, start + _BATCH), b.images(start, start + _BATCH), strict=True)
        for key, (one, two) in zip(("clean", "noisy"), pairs, strict=True):
            if one.dtype != two.dtype or not np.array_equal(one, two):
                yield f"{b_path}: {key} pixels of rows {start}.. differ from {a_path}."
                return


def _check_whole(root: str, index: CorpusIndex, seen: _Seen) -> None:
    """Check sums, and look for files that the index does not know."""
    totals = Totals.of(index.shards, seconds=index.totals.seconds)
    if totals != index.totals:
        seen.problems.append(f"corpus.json: its totals differ from its shards' sums, {totals}.")
    listed = Counter(file.path for shard in index.shards for file in shard.files)
    records = {f"{RECORDS}/{shard.name}.json" for shard in index.shards} | {PLAN_NOTE}
    for path, times in listed.items():
        if times > 1:
            seen.problems.append(f"corpus.json: {path} is listed {times} times.")
    folders = shard_folders()
    for path in list_files(root):
        parts = PurePosixPath(path)
        top = parts.parts[0] if len(parts.parts) > 1 else ""
        stray = (top in folders and path not in listed) or (top == RECORDS and path not in records)
        if stray or is_temporary(path):
            seen.problems.append(f"{path}: not part of the corpus (left by an interrupted run?).")
