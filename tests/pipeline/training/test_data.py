"""Training pairs: which crops are allowed, and that a step's batch follows from its number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.training.data import (
    Augmentation,
    TrainingImage,
    TrainingStore,
    allowed_places,
    draw_batch,
)
from pipeline.training.store import write_store


def pair(
    height: int = 96, width: int = 128, *, seed: int = 0, camera: str = "S6", iso: int = 800
) -> TrainingImage:
    """Return a pair whose noise is 3 grey levels and whose clean pixels tell their place."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(60, 180, (height, width, 3), dtype=np.uint8)
    noise = rng.normal(0, 3, clean.shape).round()
    noisy = (clean + noise).clip(0, 255).astype(np.uint8)
    return TrainingImage(clean=clean, noisy=noisy, camera=camera, iso=iso, scene=f"scene-{seed}")


def brighter(image: TrainingImage, where: tuple[slice, slice], by: int) -> TrainingImage:
    noisy = image.noisy.astype(int)
    noisy[where] += by
    return replace(image, noisy=noisy.clip(0, 255).astype(np.uint8))


def store(
    *images: TrainingImage, patch: int = 32, max_offset: float | None = None
) -> TrainingStore:
    return TrainingStore(images, patch=patch, max_offset=max_offset, window=patch)


# Allowed places.


def test_without_a_limit_every_place_of_the_grid_is_allowed() -> None:
    places, offsets = allowed_places(pair(96, 128), patch=32, max_offset=None, window=64)
    assert len(places) == len(offsets) == (64 // 8 + 1) * (96 // 8 + 1)
    assert places.min() == 0
    assert (places.max(axis=0) == (64, 96)).all()


@pytest.mark.parametrize("window", [32, 64])
def test_places_are_those_whose_window_keeps_its_brightness(window: int) -> None:
    image = brighter(pair(), (slice(40, 60), slice(50, 90)), by=8)
    places, offsets = allowed_places(image, patch=32, max_offset=1.0, window=window)
    found = {(int(y), int(x)): row for (y, x), row in zip(places, offsets, strict=True)}
    difference = image.noisy.astype(float) - image.clean
    margin = (window - 32) // 2
    left_out = 0
    for y in range(0, 96 - 32 + 1, 8):
        for x in range(0, 128 - 32 + 1, 8):
            seen = difference[
                max(0, y - margin) : y + 32 + margin, max(0, x - margin) : x + 32 + margin
            ]
            mean = seen.mean(axis=(0, 1))
            assert ((y, x) in found) == (abs(mean.mean()) <= 1.0), (y, x)
            if (y, x) in found:
                np.testing.assert_allclose(found[y, x], mean, atol=1e-5)
            left_out += (y, x) not in found
    assert 0 < left_out < 13 * 9


def test_drifting_regions_are_left_out_and_sound_ones_kept() -> None:
    drifting = brighter(pair(), (slice(None), slice(64, None)), by=3)
    places, _ = allowed_places(drifting, patch=32, max_offset=1.0, window=32)
    # A crop may reach a third of its width into the half that drifts by 3: (x - 32) / 32 * 3 <= 1.
    assert set(places[:, 1].tolist()) == {0, 8, 16, 24, 32, 40}
    assert len(places) == 6 * 9


def test_drifts_of_opposite_channels_cancel_but_are_reported() -> None:
    image = pair()
    noisy = image.noisy.astype(int)
    noisy[..., 0] += 5
    noisy[..., 2] -= 5
    image = replace(image, noisy=noisy.astype(np.uint8))
    places, offsets = allowed_places(image, patch=32, max_offset=1.0, window=32)
    assert len(places) == 13 * 9
    # Noise of 3 levels over 1,024 pixels: five standard errors are 0.47.
    np.testing.assert_allclose(offsets, np.tile([5.0, 0.0, -5.0], (len(places), 1)), atol=0.5)


def test_a_picture_smaller_than_the_crop_has_no_place() -> None:
    places, offsets = allowed_places(pair(24, 128), patch=32, max_offset=1.0, window=32)
    assert places.shape == (0, 2)
    assert offsets.shape == (0, 3)


# The store.


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
    assert made.shots == [("G4", 100), ("S6", 100), ("S6", 800)]
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


# Batches.


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    pairs = store(pair(seed=1), pair(seed=2))

    def draw(seed: int, step: int) -> torch.Tensor:
        return draw_batch(pairs, size=3, seed=seed, step=step, augmentation="flips").noisy

    late = draw(7, 1000)
    for step in range(5):
        draw(7, step)
    assert torch.equal(draw(7, 1000), late)
    assert not torch.equal(draw(7, 1001), late)
    assert not torch.equal(draw(8, 1000), late)


def test_a_batch_is_images_and_labels() -> None:
    pairs = store(pair(seed=1, iso=100), pair(seed=2, iso=200))
    batch = draw_batch(pairs, size=40, seed=1, step=0, augmentation="none")
    assert batch.clean.shape == batch.noisy.shape == (40, 3, 32, 32)
    assert batch.clean.dtype == batch.noisy.dtype == torch.float32
    assert batch.labels.dtype == torch.int64
    assert set(batch.labels.tolist()) == {0, 1}
    for row in range(40):
        image = pairs.images[int(batch.labels[row])]
        y, x = place_of(image, batch.clean[row])
        window = image.noisy[y : y + 32, x : x + 32].transpose(2, 0, 1) / np.float32(255)
        np.testing.assert_array_equal(batch.noisy[row], window)


def place_of(image: TrainingImage, patch: torch.Tensor) -> tuple[int, int]:
    """Return where a crop comes from; random pixels occur once."""
    corner = (patch[:, :2, :2] * 255).round().numpy().astype(int)
    clean = image.clean.transpose(2, 0, 1).astype(int)
    same = np.ones((clean.shape[1] - 1, clean.shape[2] - 1), bool)
    for dy, dx in np.ndindex(2, 2):
        shifted = clean[:, dy : dy + same.shape[0], dx : dx + same.shape[1]]
        same &= (shifted == corner[:, dy, dx][:, None, None]).all(axis=0)
    ((y, x),) = np.argwhere(same)
    return int(y), int(x)


def test_crops_reach_every_row_and_column() -> None:
    pairs = store(pair(44, 52))
    found = [
        place_of(pairs.images[0], crop)
        for step in range(40)
        for crop in draw_batch(pairs, size=16, seed=3, step=step, augmentation="none").clean
    ]
    # Places on a grid of 8 are moved by up to 7, never beyond the picture.
    assert {y for y, _ in found} == set(range(44 - 32 + 1))
    assert {x for _, x in found} == set(range(52 - 32 + 1))


@pytest.mark.parametrize(
    ("augmentation", "ways"), [("none", 1), ("flips", 4), ("flips-and-rotations", 8)]
)
def test_augmentation_turns_clean_and_noisy_alike(augmentation: Augmentation, ways: int) -> None:
    image = pair(32, 32)
    pairs = store(image)
    batch = draw_batch(pairs, size=100, seed=1, step=0, augmentation=augmentation)
    clean = torch.from_numpy(image.clean.transpose(2, 0, 1).copy()).float() / 255
    noisy = torch.from_numpy(image.noisy.transpose(2, 0, 1).copy()).float() / 255
    turns = [(k, flip) for k in range(4) for flip in (False, True)]
    seen = set()
    for row in range(100):
        for k, flip in turns:
            one, other = (torch.rot90(i.flip(2) if flip else i, k, (1, 2)) for i in (clean, noisy))
            if torch.equal(batch.clean[row], one):
                assert torch.equal(batch.noisy[row], other)
                seen.add((k, flip))
    # Each of eight ways is missed by a hundred draws once in 78,000 trials.
    assert len(seen) == ways


def test_a_removed_offset_leaves_a_crop_at_its_clean_brightness() -> None:
    image = brighter(pair(256, 256), (slice(None), slice(None)), by=6)
    options = {"patch": 64, "max_offset": None, "window": 64}
    with_drift = TrainingStore([image], **options)
    without = TrainingStore([image], **options, remove_offset=True)
    one, other = (
        draw_batch(s, size=8, seed=1, step=0, augmentation="none") for s in (with_drift, without)
    )
    drift = 255 * (one.noisy - one.clean).mean(dim=(2, 3))
    left = 255 * (other.noisy - other.clean).mean(dim=(2, 3))
    # Five standard errors of 3 levels over 4,096 pixels, and the crop lies up to 7 pixels beside
    # the window that was measured.
    torch.testing.assert_close(drift, torch.full_like(drift, 6.0), atol=0.3, rtol=0)
    torch.testing.assert_close(left, torch.zeros_like(left), atol=0.3, rtol=0)
    assert torch.equal(one.clean, other.clean)
    # Only a constant a channel is taken: the noise keeps its shape.
    moved = one.noisy - other.noisy
    assert float(moved.flatten(2).std(2).max()) < 1e-6


def test_a_batch_moves_to_a_device() -> None:
    batch = draw_batch(store(pair()), size=2, seed=1, step=0, augmentation="none")
    moved = batch.to(torch.device("meta"))
    assert {t.device.type for t in (moved.clean, moved.noisy, moved.labels)} == {"meta"}
