"""The test places: real pairs to be denoised, and a candidate's noise on the same clean images."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpus.index import CorpusIndex, load_corpus
from pipeline.corpus.reader import CorpusReader
from pipeline.measure.metrics.base import Array
from pipeline.measure.noise_score import GREY, is_sound
from pipeline.measure.pair import ImagePair
from pipeline.storage import join

__all__ = ["PatchUnderTest", "load_patches", "patch_side", "sound"]

_COLUMNS = ("source_uri", "scene", "camera", "iso", "crop_y", "crop_x", "params", "domain")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchUnderTest(ImagePair):
    """One stored pair of a corpus.

    Args:
        uri: Where the row is: file, ``#`` and row.
        source_uri: Where its clean image was read from.
        clean: ``(H, W, C)``, as stored.
        noisy: Same shape and type.
        scene: Scene.
        camera: Camera, of the photograph or of the simulated camera; empty where unknown.
        iso: ISO speed, likewise; 0 where unknown.
        y: Top in the photograph, pixels.
        x: Left in the photograph, pixels.
        domain: ``srgb`` or ``raw``.
    """

    uri: str
    source_uri: str
    scene: str
    camera: str
    iso: int
    y: int
    x: int
    domain: str


def load_patches(root: str, index: CorpusIndex | None = None) -> list[PatchUnderTest]:
    """Return all pairs of a corpus in its order.

    Args:
        root: Folder of the corpus.
        index: Its index, where it is at hand.

    Raises:
        FileNotFoundError: If the folder is not a corpus.
        DatasetError: If a shard is missing or damaged.
    """
    return list(_rows(os.path.abspath(root), index or load_corpus(root)))


def sound(places: Sequence[PatchUnderTest], max_offset: float | None) -> list[PatchUnderTest]:
    """Return the places whose brightness offset is within a limit, grey levels of 255."""
    if max_offset is None:
        return list(places)
    return [p for p in places if is_sound(float(p.noise.mean()) * GREY, max_offset)]


def patch_side(root: str, index: CorpusIndex) -> int:
    """Return the side of a corpus's patches, pixels.

    Args:
        root: Folder of the corpus.
        index: Its index.

    Raises:
        ValueError: If the corpus is empty.
    """
    for place in _rows(os.path.abspath(root), index):
        return int(place.clean.shape[0])
    raise ValueError(f"the corpus {root} has no rows; widen its patches or its audit's limits.")


def _rows(root: str, index: CorpusIndex) -> Iterator[PatchUnderTest]:
    for file, shard in CorpusReader(root, index).shards():
        columns = shard.columns(_COLUMNS)
        for row in range(shard.rows):
            clean, noisy = shard.pair(row)
            yield _place(
                f"{join(root, file.path)}#{row}",
                np.array(clean),
                np.array(noisy),
                {name: values[row] for name, values in columns.items()},
            )


def _place(uri: str, clean: Array, noisy: Array, values: dict[str, Any]) -> PatchUnderTest:
    # A simulated camera shoots photographs that know no camera; what it drew stands in `params`.
    drawn = json.loads(values["params"] or "{}")
    return PatchUnderTest(
        uri=uri,
        source_uri=values["source_uri"],
        clean=clean,
        noisy=noisy,
        scene=values["scene"],
        camera=str(values["camera"] or drawn.get("camera") or ""),
        iso=round(float(values["iso"] or drawn.get("iso") or 0)),
        y=int(values["crop_y"]),
        x=int(values["crop_x"]),
        domain=values["domain"],
    )
