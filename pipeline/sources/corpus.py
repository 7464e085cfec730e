"""The images of an existing corpus: each row is a record, whatever its format.

A row has no file of its own, so its checksum is taken over shape, type and pixels: the same corpus
gives the same ids from either format. A clean patch stands in several rows when several generators
worked on it; with noisy partners the id therefore covers both images, and without them repeated
rows are passed over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from generators.capture import COLUMNS
from pipeline.corpus.damage import REMEDY, damage
from pipeline.corpus.index import load_corpus
from pipeline.corpus.reader import CorpusReader
from pipeline.images import Header, display
from pipeline.images.files import local_path
from pipeline.images.headers import header_of
from pipeline.manifest.models import CorpusSource, Splits
from pipeline.records import ImageRecord, Reject
from pipeline.sources.base import UNSPECIFIED, Scan, label_of
from pipeline.storage import DatasetError, StorageError, exists, join

__all__ = ["absolute_root", "scan_corpus"]

_COLUMNS = ("camera", "iso", "scene", "split", "domain")
_BATCH = 256


@dataclass(frozen=True, slots=True)
class _Row:
    """One row as read: headers, not pixels."""

    uri: str
    clean: Header
    noisy: Header
    values: Mapping[str, Any]


def scan_corpus(source: CorpusSource, splits: Splits) -> Scan:
    """Return a record for each row of a corpus, in the order of its index.

    Every shard is read once, checked against its SHA-256 and, if it is damaged or missing, rejected
    whole. Rows keep the split they have.

    Raises:
        FileNotFoundError: If the folder is not a corpus.
        DatasetError: If its index cannot be understood.
        ValueError: If no row is in the wanted splits.
    """
    root = absolute_root(source.path)
    index = load_corpus(root)
    only = None if source.only is None else [s for s in source.only if s in index.splits]
    reader = CorpusReader(root, index, splits=only)
    if not reader.files:
        raise ValueError(
            f"corpus {display(source.path)} has no rows in splits "
            f"{', '.join(source.only or ('train', 'val', 'test'))}; it has "
            f"{', '.join(index.splits) or 'none at all'}. Correct `only`."
        )
    license_ = source.license or str(index.manifest.get("license") or UNSPECIFIED)
    scan = Scan(indexes={root: index})
    seen: set[str] = set()
    with ThreadPoolExecutor(max_workers=4) as pool:
        for rows in pool.map(lambda number: _read_shard(reader, number), range(len(reader.files))):
            if isinstance(rows, Reject):
                scan.rejects.append(rows)
                continue
            for row in rows:
                record = _record(row, source, license_)
                if record.image_id not in seen:
                    seen.add(record.image_id)
                    scan.records.append(record)
    return scan


def absolute_root(path: str) -> str:
    """Return a root that holds in every worker, whatever its working directory."""
    local = local_path(path)
    return path if local is None else os.path.abspath(local)


def _read_shard(reader: CorpusReader, number: int) -> list[_Row] | Reject:
    file = reader.files[number]
    uri = join(reader.root, file.path)
    try:
        wrong = damage(reader.root, file)
        if wrong is not None:
            reason = "changed" if exists(reader.root, file.path) else "unreadable"
            detail = f"{wrong} All {file.rows} rows are left out. {REMEDY}"
            return Reject(uri=uri, reason=reason, detail=detail)
        return list(_rows(reader, number, uri))
    except (DatasetError, StorageError, FileNotFoundError) as error:
        return Reject(uri=uri, reason="unreadable", detail=" ".join(str(error).split()))


def _rows(reader: CorpusReader, number: int, uri: str) -> Iterator[_Row]:
    with reader.opened(number) as shard:
        columns = shard.columns([*_COLUMNS, *shard.further])
        for start in range(0, shard.rows, _BATCH):
            pairs = zip(*shard.images(start, start + _BATCH), strict=True)
            for row, (clean, noisy) in enumerate(pairs, start):
                values = {name: column[row] for name, column in columns.items()}
                yield _Row(
                    f"{uri}#{row}",
                    header_of(np.asarray(clean)),
                    header_of(np.asarray(noisy)),
                    values,
                )


def _record(row: _Row, source: CorpusSource, license_: str) -> ImageRecord:
    clean, values = row.clean, row.values
    both = hashlib.sha256(f"{clean.sha256} {row.noisy.sha256}".encode()).hexdigest()
    return ImageRecord(
        image_id=(both if source.pairs else clean.sha256)[:32],
        uri=row.uri,
        sha256=clean.sha256,
        height=clean.height,
        width=clean.width,
        channels=clean.channels,
        depth=clean.depth,
        scene=values["scene"],
        split=values["split"],
        source=label_of(source),
        license=license_,
        domain=values["domain"],
        camera=values["camera"],
        iso=values["iso"],
        further=tuple(
            (name, value)
            for name, value in values.items()
            if name not in _COLUMNS and value is not None and name in COLUMNS
        ),
        noisy_uri=f"{row.uri}/noisy" if source.pairs else None,
        noisy_sha256=row.noisy.sha256 if source.pairs else None,
    )
