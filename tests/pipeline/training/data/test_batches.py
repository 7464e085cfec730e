"""A step's batch follows from its number, and its images stay together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.training.data.batches import Augmentation, draw_batch
from pipeline.training.data.store import TrainingStore
from pipeline.training.data.training_image import TrainingImage
from tests.contracts.scenes import brighter, pair, store


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
