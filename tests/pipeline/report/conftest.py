"""Small corpora, written through the real sinks."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpus.columns import COLUMNS, ShardRows, noise_std
from pipeline.corpus.formats import ShardName, SinkOptions, sink
from pipeline.corpus.index import (
    CorpusIndex,
    GeneratorEntry,
    SourceEntry,
    Totals,
    load_corpus,
    write_index,
)
from pipeline.corpus.shard_records import ShardRecord
from pipeline.kinds import FORMATS
from pipeline.pixels import white_level

SIZE = 32
OPTIONS = SinkOptions(manifest_sha256="c" * 64, tool_version="0.1.0")
NOISE = {"weak": 3.0, "strong": 12.0}

MakeCorpus = Callable[..., tuple[str, CorpusIndex]]


def clean_patch(source: int, place: int, channels: int, size: int) -> np.ndarray:
    rng = np.random.default_rng([source, place])
    ramp = np.linspace(0.25, 0.7, size)[:, None, None] + 0.01 * rng.normal(0, 1, (1, 1, channels))
    return np.broadcast_to(ramp, (size, size, channels)).copy()


def real_patch(source: int, place: int, *, offset: float = 0.0, size: int = SIZE) -> np.ndarray:
    """Real noise: level 5, correlated to the right."""
    rng = np.random.default_rng([source, place, 99])
    white = rng.normal(0, 5 / np.sqrt(2), (size, size + 1, 3))
    noisy = clean_patch(source, place, 3, size) * 255 + offset + white[:, 1:] + white[:, :-1]
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def row(source: int, place: int, generator: str, **changes: Any) -> dict[str, Any]:
    iso = (800, 3200)[source % 2]
    values = {
        "sample_id": f"p{source}-{place}-{generator}",
        "source_id": f"source{source}",
        "source_sha256": "0" * 64,
        "source_uri": f"photos/{source}.png",
        "scene": f"scene{source}",
        "crop_y": place * SIZE,
        "crop_x": 0,
        "height": SIZE,
        "width": SIZE,
        "generator": generator,
        "generator_revision": 1,
        "weights_sha256": "",
        "params": json.dumps({"sigma": NOISE.get(generator, 4.0) / 255}),
        "camera": "Nikon D800",
        "iso": iso,
        "seed": 1,
        "split": "train",
        "noise_std": 0.0,
        "domain": "srgb",
    }
    return values | changes


def shard_rows(
    rows: list[dict[str, Any]], *, channels: int = 3, size: int = SIZE, dtype: str = "uint8"
) -> ShardRows:
    clean, noisy = [], []
    white = white_level(np.dtype(dtype))
    for values in rows:
        source, place = (int(part) for part in values["sample_id"][1:].split("-")[:2])
        base = clean_patch(source, place, channels, size)
        rng = np.random.default_rng([source, place, len(values["generator"])])
        fake = base + rng.normal(0, NOISE.get(values["generator"], 4.0) / 255, base.shape)
        for image, into in ((base, clean), (fake, noisy)):
            stored = np.clip(image, 0, 1) * white
            into.append((stored if dtype == "float32" else np.rint(stored)).astype(dtype))
    columns: dict[str, Any] = {name: [values[name] for values in rows] for name in COLUMNS}
    columns["noise_std"] = noise_std(np.stack(clean), np.stack(noisy))
    columns["seed"] = np.array(columns["seed"], dtype=np.uint64)
    columns["height"] = columns["width"] = [size] * len(rows)
    return ShardRows(clean=np.stack(clean), noisy=np.stack(noisy), columns=columns)


def index_of(
    shards: list[ShardRecord], generators: list[str], manifest: Mapping[str, Any]
) -> CorpusIndex:
    return CorpusIndex(
        name=str(manifest.get("name", "small")),
        manifest=manifest,
        manifest_sha256="c" * 64,
        plan_sha256="e" * 64,
        seed=7,
        created="2026-01-31T12:00:00Z",
        software={"numpy": "2.3.1", "absent": None},
        git=None,
        hardware={"cpu": "Example", "cores": 2, "gpus": []},
        generators=[
            GeneratorEntry(
                key=key, name=key, revision=1, weights=None, weights_sha256="", license=None
            )
            for key in generators
        ],
        sources=[SourceEntry(label="photos", type="images", license="CC0-1.0", images=4)],
        shards=shards,
        totals=Totals.of(shards, seconds=2.0),
    )


@pytest.fixture
def make_corpus(tmp_path: Path) -> MakeCorpus:
    """Return a function that writes rows, three shards a corpus, and gives its root and index."""

    def make(
        rows: list[dict[str, Any]] | None = None,
        *,
        formats: tuple[str, ...] = FORMATS.names(),
        manifest: Mapping[str, Any] | None = None,
        folder: str = "corpus",
        **kind: Any,
    ) -> tuple[str, CorpusIndex]:
        if rows is None:
            rows = [row(s, p, g) for s in range(4) for p in range(6) for g in NOISE]
        root = str(tmp_path / folder)
        parts = [part for part in (rows[i::3] for i in range(3)) if part]
        shards = []
        for i, part in enumerate(parts):
            name = ShardName(split="train", index=i, count=len(parts))
            files = [sink(f, OPTIONS).write(root, name, shard_rows(part, **kind)) for f in formats]
            shards.append(
                ShardRecord(
                    index=i, name=name.stem, split="train", rows=len(part), planned=len(part) + 1,
                    files=files, seconds=1.0, plan_sha256="e" * 64,
                )
            )  # fmt: skip
        generators = list(dict.fromkeys(values["generator"] for values in rows))
        index = index_of(
            shards, generators, manifest or {"kind": "corpus", "patches": {"size": 32}}
        )
        write_index(root, index)
        return root, load_corpus(root)

    return make


def real_pairs(source_id: str, y: int, x: int, size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Real pairs of the small corpus; the photograph ``source3`` has none."""
    source = int(source_id.removeprefix("source"))
    if source == 3:
        return None
    # Every photograph's last patch carries a brightness offset.
    offset = 4.0 if y == 5 * SIZE else 0.0
    clean = np.rint(clean_patch(source, y // SIZE, 3, size) * 255).astype(np.uint8)
    return clean, real_patch(source, y // SIZE, offset=offset, size=size)


@pytest.fixture
def pairs() -> Callable[..., Any]:
    return real_pairs


@pytest.fixture
def make_row() -> Callable[..., dict[str, Any]]:
    return row
