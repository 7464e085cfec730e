"""A store keeps the scenes that have a place, and gives its file's back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.training.data.batches import draw_batch
from pipeline.training.data.store import TrainingStore, write_store
from tests.contracts.scenes import brighter, pair, store


def test_a_pair_without_any_place_is_dropped_and_named() -> None:
    sound, foul = pair(seed=1), brighter(pair(seed=2), (slice(None), slice(None)), by=9)
    kept = store(sound, foul, pair(16, 16, seed=3), max_offset=1.0)
    assert [image.scene for image in kept.images] == ["scene-1"]
    assert kept.dropped == ["scene-2", "scene-3"]
    assert kept.kept_fraction == 0.5


def test_a_store_without_any_place_is_refused() -> None:
    foul = brighter(pair(), (slice(None), slice(None)), by=9)
    with pytest.raises(ValueError, match=r"none of the 1 scenes .* within the offset limit of 1.0"):
        store(foul, max_offset=1.0)


def test_labels_are_the_configurations_of_the_pairs_kept() -> None:
    made = store(
        pair(seed=1, camera="S6", iso=800),
        pair(seed=2, camera="G4", iso=100),
        brighter(pair(seed=3, camera="A0", iso=50), (slice(None), slice(None)), by=9),
        pair(seed=4, camera="S6", iso=100),
        pair(seed=5, camera="G4", iso=100),
        max_offset=1.0,
    )
    assert made.captures == [("G4", 100), ("S6", 100), ("S6", 800)]
    assert made.labels == [2, 0, 1, 0]


def test_a_store_file_gives_the_pairs_back(tmp_path: Path) -> None:
    images = [pair(seed=seed, camera=f"camera {seed}", iso=100 * seed) for seed in range(1, 12)]
    images = [replace(image, license="CC0-1.0") for image in images[:5]] + images[5:]
    path = tmp_path / "below" / "pairs.h5"
    write_store(path, images)
    read = TrainingStore.load(path, patch=32, max_offset=None, window=32)
    assert [image.scene for image in read.images] == [image.scene for image in images]
    assert [(i.camera, i.iso) for i in read.images] == [(i.camera, i.iso) for i in images]
    assert read.licenses == {"CC0-1.0": [f"scene-{seed}" for seed in range(1, 6)]}
    for one, other in zip(read.images, images, strict=True):
        assert (one.clean == other.clean).all()
        assert (one.noisy == other.noisy).all()
    direct = store(*images)
    one, other = (
        draw_batch(s, size=4, seed=1, step=2, augmentation="flips") for s in (read, direct)
    )
    assert torch.equal(one.noisy, other.noisy)
