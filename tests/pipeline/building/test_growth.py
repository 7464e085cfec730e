"""One photograph more changes nobody's id, seed or pixels: rows follow from content alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.building.run import build
from pipeline.dataset import CorpusDataset
from pipeline.manifest.models import CorpusManifest

Make = Callable[..., CorpusManifest]
Write = Callable[[Path, np.ndarray], Path]


def rows_of(manifest: CorpusManifest) -> dict[str, tuple[Any, ...]]:
    """Return every row of a fresh corpus by its id: clean and noisy pixels, seed, place."""
    build(manifest, inline=True, overwrite=False, style="quiet")
    corpus = CorpusDataset(manifest.output.path)
    return {
        sample["sample_id"]: (
            sample["clean"].numpy().tobytes(),
            sample["noisy"].numpy().tobytes(),
            sample["generator"],
            sample["camera"],
            sample["iso"],
        )
        for sample in (corpus[i] for i in range(len(corpus)))
    }


@pytest.mark.parametrize("name", ["0-first.png", "b-between.png", "below/z-last.png"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"patches": {"size": 16, "per_image": 5}}, {"mix": "weighted", "patches": {"size": 12}}],
    ids=["grid", "random", "mixed"],
)
def test_one_photograph_more_changes_no_row_of_the_others(
    corpus_manifest: Make,
    photo_folder: Path,
    tmp_path: Path,
    texture: Callable[..., np.ndarray],
    write_image: Write,
    name: str,
    changes: dict[str, Any],
) -> None:
    before = rows_of(corpus_manifest(**changes, output={"path": str(tmp_path / "three")}))
    write_image(photo_folder / name, texture(48, 64, seed=77))
    after = rows_of(corpus_manifest(**changes, output={"path": str(tmp_path / "four")}))
    assert before.items() < after.items()


def test_names_and_folders_of_photographs_decide_nothing(
    corpus_manifest: Make, photo_folder: Path, tmp_path: Path
) -> None:
    before = rows_of(corpus_manifest(output={"path": str(tmp_path / "before")}))
    for number, path in enumerate(sorted(photo_folder.rglob("*.png"), reverse=True)):
        shutil.move(path, photo_folder / f"renamed-{number}.png")
    after = rows_of(corpus_manifest(output={"path": str(tmp_path / "after")}))
    assert before == after


def test_another_seed_of_the_manifest_changes_every_noise(
    corpus_manifest: Make, tmp_path: Path
) -> None:
    one = rows_of(corpus_manifest(output={"path": str(tmp_path / "one")}))
    other = rows_of(corpus_manifest(seed=8, output={"path": str(tmp_path / "other")}))
    assert one.keys() == other.keys()
    assert all(one[key][0] == other[key][0] and one[key][1] != other[key][1] for key in one)
