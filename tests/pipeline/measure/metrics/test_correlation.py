"""Correlation maps against filtered white noise and numpy's own estimators; merging."""

import numpy as np
import pytest
from scipy.ndimage import correlate1d
from scipy.signal import correlate2d

from pipeline.measure.metrics.correlation import (
    ChannelCovariance,
    CorrelationMap,
    lag1_correlation,
    map_distance,
)


def white(seed: int, shape: tuple[int, ...] = (128, 160, 3)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, shape)


def measured(*blocks: np.ndarray, reach: int = 5) -> np.ndarray:
    sums = CorrelationMap(reach)
    for block in blocks:
        sums.update(block)
    return sums.result()


def test_white_noise_is_one_at_the_centre_and_zero_elsewhere() -> None:
    block = white(0)
    found = measured(block)
    assert found[5, 5] == 1.0
    found[5, 5] = 0.0
    assert np.abs(found).max() < 5 / np.sqrt(block.size)


def test_filtered_noise_has_the_autocorrelation_of_its_filter() -> None:
    kernel = np.array([1.0, 2.0, 0.5])
    block = correlate1d(white(1, (400, 400, 3)), kernel, axis=1, mode="wrap")
    found = measured(block)
    theory = np.correlate(kernel, kernel, "full") / (kernel @ kernel)
    np.testing.assert_allclose(found[5, 3:8], theory, atol=5 / np.sqrt(block.size))
    assert abs(found[6, 5]) < 5 * 1.5 / np.sqrt(block.size)


def test_map_equals_scipy_over_the_pairs_it_has() -> None:
    block = correlate1d(white(2, (24, 31, 1)), [1.0, 1.0], axis=0)[..., 0]
    centred = block - block.mean()
    full = correlate2d(centred, centred)
    pairs = correlate2d(np.ones_like(block), np.ones_like(block))
    ratio = full / pairs
    expected = ratio[23 - 3 : 23 + 4, 30 - 3 : 30 + 4] / ratio[23, 30]
    np.testing.assert_allclose(measured(block, reach=3), expected, rtol=1e-9)


def test_map_is_symmetric_about_its_centre_and_keeps_direction() -> None:
    diagonal = white(3)[:-1, :-1] + white(3)[1:, 1:]
    found = measured(diagonal)
    np.testing.assert_array_equal(found, found[::-1, ::-1])
    assert found[6, 6] > 0.4
    assert abs(found[6, 4]) < 0.05


def test_brightness_offset_does_not_correlate() -> None:
    block = white(4)
    offset = np.array([0.1, -0.2, 0.3])
    np.testing.assert_allclose(measured(block + offset), measured(block), atol=1e-9)


def test_lag_one_tells_horizontal_from_vertical() -> None:
    horizontal = correlate1d(white(5, (300, 300, 3)), [1.0, 1.0], axis=1)
    h, v = lag1_correlation(horizontal)
    assert h == pytest.approx(0.5, abs=0.01)
    assert v == pytest.approx(0.0, abs=0.01)
    assert (h, v) == tuple(measured(horizontal, reach=1)[[1, 2], [2, 1]])


def test_halves_merge_to_the_whole() -> None:
    blocks = [white(s) * (1 + s) for s in range(4)]
    first, second = CorrelationMap(), CorrelationMap()
    for i, block in enumerate(blocks):
        (first if i < 1 else second).update(block)
    first.merge(second)
    np.testing.assert_allclose(first.result(), measured(*blocks), rtol=1e-12)
    with pytest.raises(ValueError, match="reach"):
        first.merge(CorrelationMap(reach=2))


def test_map_distance_is_the_rms_off_the_centre() -> None:
    first, second = np.zeros((3, 3)), np.full((3, 3), 0.2)
    second[1, 1] = 9.0
    assert map_distance(first, second) == pytest.approx(0.2)
    assert map_distance(second, second) == 0.0
    with pytest.raises(ValueError, match="reach"):
        map_distance(first, np.zeros((5, 5)))


def test_no_noise_has_no_correlation() -> None:
    assert np.isnan(measured(np.zeros((16, 16, 3)))).all()


def test_channel_covariance_equals_numpy_and_merges() -> None:
    mix = np.array([[1.0, 0.3, 0.0], [0.0, 1.0, 0.5], [0.2, 0.0, 2.0]])
    block = white(6) @ mix + np.array([0.1, 0.0, -0.1])
    whole, first, second = (ChannelCovariance() for _ in range(3))
    whole.update(block)
    flat = block.reshape(-1, 3).T
    np.testing.assert_allclose(whole.result(), np.cov(flat, bias=True), rtol=1e-9)
    np.testing.assert_allclose(whole.correlation(), np.corrcoef(flat), rtol=1e-9)
    first.update(block)
    second.update(2 * block)
    first.merge(second)
    np.testing.assert_allclose(first.result(), 2.5 * np.cov(flat, bias=True), rtol=1e-9)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="more than 5 pixels"):
        measured(white(0, (5, 40, 3)))
    with pytest.raises(ValueError, match="3 channels"):
        ChannelCovariance().update(white(0, (8, 8, 1)))
