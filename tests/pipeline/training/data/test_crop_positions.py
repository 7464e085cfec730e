"""Crops are allowed where clean and noisy keep one brightness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.training.data.crop_positions import allowed_positions
from tests.contracts.scenes import brighter, pair


def test_without_a_limit_every_place_of_the_grid_is_allowed() -> None:
    positions, offsets = allowed_positions(pair(96, 128), patch=32, max_offset=None, window=64)
    assert len(positions) == len(offsets) == (64 // 8 + 1) * (96 // 8 + 1)
    assert positions.min() == 0
    assert (positions.max(axis=0) == (64, 96)).all()


@pytest.mark.parametrize("window", [32, 64])
def test_places_are_those_whose_window_keeps_its_brightness(window: int) -> None:
    image = brighter(pair(), (slice(40, 60), slice(50, 90)), by=8)
    positions, offsets = allowed_positions(image, patch=32, max_offset=1.0, window=window)
    found = {(int(y), int(x)): row for (y, x), row in zip(positions, offsets, strict=True)}
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
    positions, _ = allowed_positions(drifting, patch=32, max_offset=1.0, window=32)
    # A crop may reach a third of its width into the half that drifts by 3: (x - 32) / 32 * 3 <= 1.
    assert set(positions[:, 1].tolist()) == {0, 8, 16, 24, 32, 40}
    assert len(positions) == 6 * 9


def test_drifts_of_opposite_channels_cancel_but_are_reported() -> None:
    image = pair()
    noisy = image.noisy.astype(int)
    noisy[..., 0] += 5
    noisy[..., 2] -= 5
    image = replace(image, noisy=noisy.astype(np.uint8))
    positions, offsets = allowed_positions(image, patch=32, max_offset=1.0, window=32)
    assert len(positions) == 13 * 9
    # Noise of 3 levels over 1,024 pixels: five standard errors are 0.47.
    np.testing.assert_allclose(offsets, np.tile([5.0, 0.0, -5.0], (len(positions), 1)), atol=0.5)


def test_a_picture_smaller_than_the_crop_has_no_place() -> None:
    positions, offsets = allowed_positions(pair(24, 128), patch=32, max_offset=1.0, window=32)
    assert positions.shape == (0, 2)
    assert offsets.shape == (0, 3)
