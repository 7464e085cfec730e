"""Rows of shards to test formats with: reproducible, with every kind of value a column may hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.canonical import sha256_of
from pipeline.corpus.columns import ShardRows, noise_std
from pipeline.corpus.formats import SinkOptions

__all__ = ["CAMERAS", "GENERATORS", "MANIFEST", "make_rows", "options", "row"]

MANIFEST = {"kind": "corpus", "name": "tiny", "seed": 7, "license": "CC0-1.0"}
GENERATORS = ("awgn", "heteroscedastic")
CAMERAS = (("Nikon D800", 1600), (None, None), ("Ké:7", 100))
TOPS = {"uint8": 255, "uint16": 65535}


def options(**changes: Any) -> SinkOptions:
    """Return what a writer is told beside the rows; ``changes`` are settings of its format."""
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
    """Return the columns of one row."""
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
