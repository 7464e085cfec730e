"""The photographs behind a corpus, also where it was cut from the rows of another corpus.

A row names the SHA-256 and the URI of what it was cut from. Where that is a row of another corpus,
the row is looked up there, and so on. A corpus that has been moved or deleted since ends the trail.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from pipeline.corpus.formats import FileRecord, open_shard
from pipeline.corpus.index import CorpusIndex, load_corpus
from pipeline.corpus.reader import CorpusReader
from pipeline.manifest.models import CorpusSource, Source
from pipeline.sources.corpus import absolute_root
from pipeline.storage import DatasetError, StorageError, join

__all__ = ["photographs_behind", "photographs_of"]


def photographs_of(
    sources: Iterable[Source], indexes: Mapping[str, CorpusIndex] | None = None
) -> dict[str, str]:
    """Return the photographs that the rows of corpora were cut from: SHA-256 to URI.

    A record of a row has the checksum of its patch, which no photograph has; whether a photograph
    is behind it, only this tells. Damaged shards are left out, as a scan does.

    Args:
        sources: Of a manifest; those that are no corpora have none.
        indexes: Of corpora that a scan has read, by absolute root; others are read here.

    Raises:
        FileNotFoundError: If a folder is not a corpus.
        DatasetError: If an index cannot be understood.
    """
    found: dict[str, str] = {}
    known = indexes or {}
    for source in sources:
        if not isinstance(source, CorpusSource):
            continue
        index = known.get(absolute_root(source.path)) or load_corpus(source.path)
        splits = None if source.only is None else [s for s in source.only if s in index.splits]
        rows: dict[str, str] = {}
        for file in CorpusReader(source.path, index, splits=splits).files:
            rows.update(_origins(source.path, file))
        found |= photographs_behind(index, rows)
    return found


def photographs_behind(index: CorpusIndex, rows: Mapping[str, str]) -> dict[str, str]:
    """Return what rows of a corpus were cut from, and what that was cut from.

    Args:
        index: Of the corpus.
        rows: SHA-256 to URI of what its rows were cut from.
    """
    found = dict(rows)
    for source in index.manifest.get("sources", []):
        if source.get("type") != "corpus":
            continue
        root = absolute_root(str(source["path"]))
        cut = defaultdict[str, set[int]](set)
        for uri in rows.values():
            file, _, row = uri.rpartition("#")
            if row.isdigit():
                cut[file].add(int(row))
        try:
            parent = load_corpus(root)
        except (DatasetError, StorageError, FileNotFoundError):
            continue
        above: dict[str, str] = {}
        for shard in parent.shards:
            for part in shard.files:
                wanted = cut.get(join(root, part.path))
                if wanted:
                    origins = _origins(root, part)
                    above.update(origins[row] for row in wanted if row < len(origins))
        found |= photographs_behind(parent, above)
    return found


def _origins(root: str, file: FileRecord) -> list[tuple[str, str]]:
    """Return SHA-256 and URI of what each row of a shard was cut from; none if it is damaged."""
    try:
        with open_shard(root, file) as reader:
            rows = reader.columns(["source_sha256", "source_uri"])
    except (DatasetError, StorageError, FileNotFoundError):
        return []
    return list(zip(rows["source_sha256"], rows["source_uri"], strict=True))
