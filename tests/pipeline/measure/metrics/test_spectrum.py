"""The power spectrum against Parseval, white noise, a known filter and scipy's periodogram."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate1d
from scipy.signal import periodogram

from pipeline.measure.metrics.spectrum import RadialSpectrum, spectrum_distance


def white(seed: int, shape: tuple[int, ...] = (48, 64, 3), sigma: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, shape)


def measured(*blocks: np.ndarray, rings: int = 32) -> RadialSpectrum:
    sums = RadialSpectrum(rings)
    for block in blocks:
        sums.update(block)
    return sums


@pytest.mark.parametrize("shape", [(48, 64, 3), (31, 33), (32, 21, 1)])
def test_mean_power_is_the_variance(shape: tuple[int, ...]) -> None:
    block = white(0, shape)
    found = measured(block).result()
    total = np.nansum(found.power * found.samples)
    channels = block.reshape(*shape[:2], -1)
    # Each channel's own mean is no noise, and its coefficient is not counted.
    assert total / block.size == pytest.approx(channels.var(axis=(0, 1)).mean(), rel=1e-12)
    assert found.samples.sum() == block.size - channels.shape[2]


def test_white_noise_is_flat() -> None:
    found = measured(*(white(seed) for seed in range(8))).result()
    # The power of a coefficient is exponential: its mean has the relative error 1 / sqrt(n), and
    # n counts every coefficient twice, being the mirror image of another.
    error = np.abs(found.power / 0.02**2 - 1) / np.sqrt(2 / found.samples)
    assert error.max() < 5


def test_filtered_noise_has_the_gain_of_its_filter() -> None:
    kernel = np.array([1.0, 2.0, 1.0]) / 4
    block = white(1, (256, 256, 3))
    for axis in (0, 1):
        block = correlate1d(block, kernel, axis=axis, mode="wrap")
    down, right = np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij")
    gain = (np.cos(np.pi * down) * np.cos(np.pi * right)) ** 4 * 0.02**2
    ring = np.minimum((np.hypot(down, right) / 0.5**0.5 * 32).astype(int), 31)
    theory = [gain[ring == i].mean() for i in range(12)]
    np.testing.assert_allclose(measured(block).result().power[:12], theory, rtol=0.1)


def test_rows_alone_agree_with_scipys_periodogram() -> None:
    block = white(2, (1, 64, 1))
    frequency, density = periodogram(block[0, :, 0], return_onesided=False, detrend="constant")
    ring = np.minimum((np.abs(frequency) / 0.5**0.5 * 8).astype(int), 7)
    found = measured(block, rings=8).result()
    for i in range(6):
        inside = (ring == i) & (frequency != 0)
        assert found.power[i] == pytest.approx(density[inside].mean(), rel=1e-9)


def test_distance_is_zero_to_itself_and_three_decibels_to_twice_the_power() -> None:
    one, two = measured(white(3)).result(), measured(np.sqrt(2) * white(3)).result()
    assert spectrum_distance(one, one) == 0.0
    assert spectrum_distance(one, two) == pytest.approx(10 * np.log10(2), rel=1e-9)
    with pytest.raises(ValueError, match="different rings"):
        spectrum_distance(one, measured(white(3), rings=8).result())
