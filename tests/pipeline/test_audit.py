"""The audit: each fault that is put into a pair is found, and a sound pair has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import sqrt
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.audit import (
    audit_records,
    local_offset_map,
    measure_pair,
    pair_within,
    patch_within,
)
from pipeline.audit.shift import estimate_shift
from pipeline.images import read_pixels
from pipeline.manifest.models import AuditLimits, PairsSource, Splits
from pipeline.sources import scan

Texture = Callable[..., np.ndarray]
SIGMA = 6.0


def to_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).round().astype(np.uint8)


def white_noise(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SIGMA, shape)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """A textured picture far from black and white, (384, 512, 3)."""
    image = np.random.default_rng(0).normal(size=(384, 512, 3))
    smooth = cv2.GaussianBlur(image, (0, 0), 2)
    return to_bytes(np.clip(128 + smooth * 25 / smooth.std(), 40, 215))


def moved(image: np.ndarray, down: float, right: float) -> np.ndarray:
    matrix = np.float32([[1, 0, right], [0, 1, down]])
    size = (image.shape[1], image.shape[0])
    flags = cv2.INTER_CUBIC
    return cv2.warpAffine(image.astype(np.float32), matrix, size, flags=flags, borderMode=2)


def test_a_sound_pair_has_no_fault_and_its_measures_are_the_noise(clean: np.ndarray) -> None:
    audit = measure_pair(clean, to_bytes(clean + white_noise(clean.shape)))
    n = clean.size
    assert audit.verdict() == []
    assert abs(audit.offset) < 5 * SIGMA / sqrt(n)
    # Rounding to bytes adds 1/12 to the variance.
    assert audit.noise == pytest.approx(sqrt(SIGMA**2 + 1 / 12), rel=5 / sqrt(2 * n / 12))
    assert abs(audit.correlation_x) < 5 / sqrt(n / 12)
    assert abs(audit.correlation_y) < 5 / sqrt(n / 12)
    assert audit.clipped == 0
    assert audit.offsets.shape == (3, 4)
    assert audit.shift is not None
    assert audit.shift.pixels < 0.03


@pytest.mark.parametrize(
    ("offset", "suspect"), [(0.8, False), (-0.8, False), (1.6, True), (-1.6, True)]
)
def test_a_brightness_offset_is_measured_and_named(
    clean: np.ndarray, offset: float, suspect: bool
) -> None:
    audit = measure_pair(clean, to_bytes(clean + white_noise(clean.shape) + offset))
    assert audit.offset == pytest.approx(offset, abs=5 * SIGMA / sqrt(clean.size))
    assert any("brightness offset" in reason for reason in audit.verdict()) == suspect


def test_a_drift_that_cancels_overall_is_found_by_region(clean: np.ndarray) -> None:
    drift = np.linspace(5, -5, clean.shape[0])[:, None, None]
    audit = measure_pair(clean, to_bytes(clean + white_noise(clean.shape) + drift))
    assert abs(audit.offset) < 0.1
    expected = np.linspace(5, -5, 7)[1::2]
    assert np.abs(audit.offsets - expected[:, None]).max() < 5 * SIGMA / 128
    assert audit.far_regions(1.0) == 8
    reasons = audit.verdict()
    assert len(reasons) == 1
    assert "8 of 12 regions" in reasons[0]


def test_correlated_noise_shows_its_direction(clean: np.ndarray) -> None:
    white = white_noise((384, 513, 3))
    noise = (white[:, 1:] + white[:, :-1]) / sqrt(2)  # correlation 1/2 with the right neighbour
    audit = measure_pair(clean, to_bytes(clean + noise))
    tolerance = 5 / sqrt(clean.size / 12)
    assert audit.correlation_x == pytest.approx(0.5 / (1 + 1 / 12 / SIGMA**2), abs=tolerance)
    assert abs(audit.correlation_y) < 2 * tolerance
    assert audit.correlations_x.shape == (3, 4)


def test_region_measures_equal_those_of_the_region_cut_out(clean: np.ndarray) -> None:
    noisy = to_bytes(clean + white_noise(clean.shape) * np.linspace(0.5, 2, 512)[None, :, None])
    audit = measure_pair(clean, noisy)
    part = (slice(128, 256), slice(256, 384))
    noise = noisy[part].astype(float) - clean[part]
    assert audit.offsets[1, 2] == pytest.approx(noise.mean(), abs=1e-4)
    assert audit.noises[1, 2] == pytest.approx(sqrt(noise.var(axis=(0, 1)).mean()), rel=1e-4)
    assert audit.noises[0, 3] > 2 * audit.noises[0, 0]
    corner = noisy[256:, 384:].astype(float) - clean[256:, 384:]
    corner -= corner.mean(axis=(0, 1))
    right = (corner[:, 1:] * corner[:, :-1]).mean() / corner.var()
    down = (corner[1:] * corner[:-1]).mean() / corner.var()
    assert audit.correlations_x[2, 3] == pytest.approx(right, rel=1e-3)
    assert audit.correlations_y[2, 3] == pytest.approx(down, rel=1e-3)


@pytest.mark.parametrize(
    "shift", [(0.0, 0.0), (0.2, -0.3), (-1.5, 0.6), (5.0, -9.0), (40.25, 30.0)]
)
def test_a_shift_is_measured_under_noise_to_a_tenth_of_a_pixel(
    clean: np.ndarray, shift: tuple[float, float]
) -> None:
    noisy = to_bytes(moved(clean, *shift) + white_noise(clean.shape))
    found = estimate_shift(clean, noisy)
    assert found is not None
    assert found.down == pytest.approx(shift[0], abs=0.1)
    assert found.right == pytest.approx(shift[1], abs=0.1)
    named = any("misaligned" in reason for reason in measure_pair(clean, noisy).verdict())
    assert named == (np.hypot(*shift) > 0.5)


def test_an_offset_does_not_pass_for_a_shift(clean: np.ndarray) -> None:
    slope = np.linspace(-8, 8, clean.shape[1])[None, :, None]
    found = estimate_shift(clean, to_bytes(clean + white_noise(clean.shape) + slope))
    assert found is not None
    assert found.pixels < 0.05


def test_without_texture_no_shift_is_claimed() -> None:
    flat = np.full((384, 512, 3), 100, np.uint8)
    assert estimate_shift(flat, to_bytes(flat + white_noise(flat.shape))) is None
    small = np.full((16, 16, 1), 100, np.uint8)
    assert measure_pair(small, small).shift is None


def test_two_different_photographs_are_suspect(clean: np.ndarray, texture: Texture) -> None:
    other = texture(384, 512, seed=3)
    assert measure_pair(clean, other).verdict()


def test_clipped_samples_are_counted_at_both_ends_and_in_every_depth() -> None:
    clean = np.full((64, 64, 3), 128, np.uint8)
    noisy = clean.copy()
    noisy[:16], noisy[16:32] = 0, 255
    for factor, dtype in ((1, np.uint8), (257, np.uint16), (1 / 255, np.float32)):
        pair = [(image * np.float64(factor)).astype(dtype) for image in (clean, noisy)]
        audit = measure_pair(*pair, window=32)
        assert audit.clipped == 0.5
        assert audit.clippings.tolist() == [[1, 1], [0, 0]]
        assert any("clipped" in reason for reason in audit.verdict())


def test_measures_do_not_depend_on_the_depth(clean: np.ndarray) -> None:
    noisy = to_bytes(clean + white_noise(clean.shape) + 2)
    reference = measure_pair(clean, noisy)
    wide = measure_pair(clean.astype(np.uint16) * 257, noisy.astype(np.uint16) * 257)
    mixed = measure_pair(clean.astype(np.float32) / 255, noisy)
    for audit in (wide, mixed):
        assert audit.offset == pytest.approx(reference.offset, abs=1e-4)
        assert audit.noise == pytest.approx(reference.noise, rel=1e-4)


def test_pairs_that_cannot_be_compared_are_refused(clean: np.ndarray) -> None:
    with pytest.raises(ValueError, match="one shape"):
        measure_pair(clean, clean[:-1])
    with pytest.raises(TypeError, match="int32"):
        measure_pair(clean.astype(np.int32), clean.astype(np.int32))
    with pytest.raises(ValueError, match="window"):
        measure_pair(clean, clean, window=0)


def test_limits_of_the_manifest_replace_the_defaults(clean: np.ndarray) -> None:
    audit = measure_pair(clean, to_bytes(clean + white_noise(clean.shape) + 1.5))
    assert audit.verdict()
    assert audit.verdict(AuditLimits(max_offset=2.0)) == []
    assert "noise" in audit.verdict(AuditLimits(max_offset=2.0, max_noise=3.0))[0]
    json.dumps(audit.to_dict(), allow_nan=False)


@pytest.mark.parametrize("window", [1, 5, 64])
def test_the_offset_map_is_the_mean_of_the_box_around_each_pixel(window: int) -> None:
    rng = np.random.default_rng(2)
    clean, noisy = rng.integers(0, 256, (2, 300, 70, 3), dtype=np.uint8)
    result = local_offset_map(clean, noisy, window)
    assert result.shape == (300, 70)
    difference = noisy.astype(float) - clean
    for y, x in ((0, 0), (150, 35), (299, 69), (260, 3)):
        top, left = y - window // 2, x - window // 2
        box = difference[max(top, 0) : top + window, max(left, 0) : left + window]
        assert result[y, x] == pytest.approx(box.mean(), abs=1e-3)


def test_patches_are_held_against_the_limits_that_are_set(clean: np.ndarray) -> None:
    noisy = to_bytes(clean + white_noise(clean.shape) + 1.52)
    assert patch_within(clean, noisy, AuditLimits()) is None
    assert patch_within(clean, noisy, AuditLimits(max_offset=2, max_noise=10)) is None
    refused = {
        "offset of +1.5": patch_within(clean, noisy, AuditLimits(max_offset=1)),
        "noise of 6.0": patch_within(clean, noisy, AuditLimits(max_noise=5)),
        "clipped in 100": patch_within(clean, clean * 0, AuditLimits(max_clipped=0.1)),
    }
    for start, detail in refused.items():
        assert str(detail).startswith(start)
        assert "limit" in str(detail)


def test_pairs_are_held_against_the_limit_of_misalignment(clean: np.ndarray) -> None:
    noisy = to_bytes(moved(clean, 0.0, 2.0) + white_noise(clean.shape))
    assert pair_within(clean, noisy, AuditLimits()) is None
    assert pair_within(clean, noisy, AuditLimits(max_shift=3)) is None
    assert "misaligned by 2.0" in (pair_within(clean, noisy, AuditLimits(max_shift=1)) or "")


def test_records_are_audited_one_row_each_and_bad_ones_are_named(pair_folder: Path) -> None:
    source = PairsSource(
        type="pairs", path=str(pair_folder), clean="*_mean.png", noisy="*_Real.png"
    )
    records = scan([source], Splits()).records
    (pair_folder / "wall_Real.png").write_bytes(b"no more")
    rows = list(audit_records(records, window=16))
    assert [row.record.scene for row in rows] == ["desk", "wall"]
    assert rows[0].audit is not None
    assert rows[0].audit.noise == pytest.approx(5, rel=0.05)
    assert rows[1].audit is None
    assert "wall_Real.png" in rows[1].verdict()[0]
    json.dumps([row.to_dict() for row in rows], allow_nan=False)


@pytest.fixture(scope="module")
def polyu(data_dir: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    source = PairsSource(
        type="pairs", path=str(data_dir / "polyu"), metadata="metadata.csv", only=["val"]
    )
    return {
        record.scene: (read_pixels(record.uri), read_pixels(str(record.noisy_uri)))
        for record in scan([source], Splits()).records
    }


def test_the_known_faulty_blocks_of_real_pairs_are_found(
    polyu: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    limits = AuditLimits(max_offset=1.0)
    faulty = {}
    for scene, (clean, noisy) in polyu.items():
        corners = (
            (int(y), int(x))
            for y in np.linspace(0, clean.shape[0] - 256, 3)
            for x in np.linspace(0, clean.shape[1] - 256, 3)
        )
        places = [(slice(y, y + 256), slice(x, x + 256)) for y, x in corners]
        faulty[scene] = sum(patch_within(clean[p], noisy[p], limits) is not None for p in places)
    assert faulty == {
        "Canon5D2_desk": 8,
        "Canon5D2_mouse": 6,
        "Nikon_800_carbi": 8,
        "Nikon800_wall": 2,
        "SonyA7II_stair": 0,
    }


def test_drifting_real_pairs_are_suspect_and_sound_ones_are_not(
    polyu: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    audits = {scene: measure_pair(*pair) for scene, pair in polyu.items()}
    drifting = {
        scene for scene, audit in audits.items() if any("regions" in r for r in audit.verdict())
    }
    assert drifting == {"Canon5D2_desk", "Canon5D2_mouse", "Nikon_800_carbi"}
    assert audits["SonyA7II_stair"].verdict() == []
