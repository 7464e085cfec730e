"""Small rows and small corpora to test with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.canonical import sha256_of
from pipeline.corpus.columns import ShardRows, noise_std
from pipeline.corpus.formats import ShardName, SinkOptions, sink
from pipeline.corpus.index import CorpusIndex, GeneratorEntry, SourceEntry, Totals, write_index
from pipeline.corpus.shard_records import ShardRecord, write_record
from pipeline.kinds import FORMATS

MANIFEST = {"kind": "corpus", "name": "tiny", "seed": 7, "license": "CC0-1.0"}
PLAN = "b" * 64
GENERATORS = ("awgn", "heteroscedastic")
CAMERAS = (("Nikon D800", 1600), (None, None), ("Ké:7", 100))
TOPS = {"uint8": 255, "uint16": 65535}


def options(**changes: Any) -> SinkOptions:
    return SinkOptions(manifest_sha256=sha256_of(MANIFEST), tool_version="0.1.0", settings=changes)


def make_rows(
    count: int = 6,
    *,
    height: int = 16,
    width: int = 12,
    channels: int = 3,
    encoding: str = "uint8",
    split: str = "train",
    first: int = 0,
) -> ShardRows:
    """Return rows ``first`` to ``first + count`` of one endless reproducible list a split."""
    clean, noisy, columns = [], [], []
    for number in range(first, first + count):
        rng = np.random.default_rng([number, len(split)])
        image = rng.random((height, width, channels))
        noise = rng.normal(0, 0.05, image.shape)
        top = TOPS.get(encoding)
        if top:
            clean.append((image * top).round().astype(encoding))
            noisy.append((np.clip(image + noise, 0, 1) * top).round().astype(encoding))
        else:
            clean.append(image.astype(encoding))
            noisy.append((image + noise).astype(encoding))
        columns.append(row(number, height, width, split, "raw" if channels == 4 else "srgb"))
    pixels = np.stack(clean), np.stack(noisy)
    table: dict[str, Any] = {name: [line[name] for line in columns] for name in columns[0]}
    table["noise_std"] = noise_std(*pixels)
    return ShardRows(clean=pixels[0], noisy=pixels[1], columns=table)


def row(number: int, height: int, width: int, split: str, domain: str) -> dict[str, Any]:
    source = sha256_of([split, number // 4])
    camera, iso = CAMERAS[number % 3]
    return {
        "sample_id": f"{source[:12]}-{number}-awgn",
        "source_id": source[:32],
        "source_sha256": source,
        "source_uri": f"photographs/{split}/ä{number // 4}.png",
        "scene": f"{split}-{number // 4}",
        "crop_y": 8 * number,
        "crop_x": 3,
        "height": height,
        "width": width,
        "generator": GENERATORS[number % 2],
        "generator_revision": 1,
        "weights_sha256": "c" * 64 if number % 2 else "",
        "params": '{"sigma": 0.05}',
        "camera": camera,
        "iso": iso,
        "seed": 2**64 - 1 - number,
        "split": split,
        "domain": domain,
    }


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
