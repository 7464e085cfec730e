"""Small rows and small corpora to test with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noisemill.testing.rows import GENERATORS, MANIFEST, make_rows, options
from pipeline.canonical import sha256_of
from pipeline.corpus.formats import ShardName, sink
from pipeline.corpus.index import CorpusIndex, GeneratorEntry, SourceEntry, Totals, write_index
from pipeline.corpus.shard_records import ShardRecord, write_record
from pipeline.kinds import FORMATS

PLAN = "b" * 64


def write_corpus(
    root: str,
    *,
    plan: Sequence[tuple[str, int]] = (("train", 5), ("train", 4), ("val", 3)),
    formats: Sequence[Any] = FORMATS.names(),
    **rows: Any,
) -> CorpusIndex:
    """Write a whole corpus as a run does: files, records, index."""
    shards: list[ShardRecord] = []
    for index, (split, count) in enumerate(plan):
        before = [shard for shard in shards if shard.split == split]
        total = sum(name == split for name, _ in plan)
        name = ShardName(split=split, index=len(before), count=total)
        first = sum(shard.rows for shard in before)
        table = make_rows(count, split=split, first=first, **rows)
        files = [sink(format, options()).write(root, name, table) for format in formats]
        record = ShardRecord(
            index=index,
            name=name.stem,
            split=split,
            rows=count,
            planned=count + 1,
            files=files,
            seconds=0.5,
            plan_sha256=PLAN,
        )
        write_record(root, record)
        shards.append(record)
    index = make_index(shards)
    write_index(root, index)
    return index


def make_index(shards: Sequence[ShardRecord]) -> CorpusIndex:
    return CorpusIndex(
        name="tiny",
        manifest=MANIFEST,
        manifest_sha256=sha256_of(MANIFEST),
        plan_sha256=PLAN,
        seed=7,
        created="2026-01-31T12:00:00Z",
        software={"noisemill": "0.1.0", "python": "3.11.7", "ray": None},
        git=None,
        hardware={"cpu": "a processor", "cores": 2, "gpus": []},
        generators=[
            GeneratorEntry(
                key=GENERATORS[0],
                name="awgn",
                revision=1,
                weights=None,
                weights_sha256="",
                license=None,
            ),
            GeneratorEntry(
                key=GENERATORS[1],
                name="heteroscedastic",
                revision=1,
                weights="some",
                weights_sha256="c" * 64,
                license="CC-BY-4.0",
            ),
        ],
        sources=[SourceEntry(label="photographs", type="images", license="CC0-1.0", images=5)],
        shards=shards,
        totals=Totals.of(shards, seconds=1.5),
    )
