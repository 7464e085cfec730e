"""AKLD: window, padding, clamp and direction against scipy and closed forms; merging."""

from math import log

import numpy as np
import pytest
from scipy.ndimage import correlate1d

from pipeline.measure.metrics.akld import AkldMetric, akld, local_variance
from pipeline.measure.metrics.metric import NoiseBlock

TABLE = [0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125]


def noise(seed: int, shape: tuple[int, ...] = (40, 33, 3), sigma: float = 0.03) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, shape)


def scipy_variance(values: np.ndarray) -> np.ndarray:
    squared = values**2
    for axis in (0, 1):
        squared = correlate1d(squared, TABLE, axis=axis, mode="mirror")
    return squared


def test_local_variance_equals_scipy() -> None:
    values = noise(0)
    np.testing.assert_allclose(local_variance(values), scipy_variance(values), rtol=1e-12)


def test_local_variance_equals_a_sum_by_hand_in_the_corner() -> None:
    values = noise(1, (9, 9, 1))
    index = [3, 2, 1, 0, 1, 2, 3]
    expected = sum(
        TABLE[i] * TABLE[j] * values[index[i], index[j], 0] ** 2 for i in range(7) for j in range(7)
    )
    assert local_variance(values)[0, 0, 0] == pytest.approx(expected, rel=1e-12)


def test_akld_equals_the_gaussian_formula_over_scipy_variances() -> None:
    real, fake = noise(2), noise(3, sigma=0.04)
    v_r, v_f = scipy_variance(real), scipy_variance(fake)
    r = np.clip(v_f / v_r, 0.1, 10)
    kl_fake_from_real = 0.5 * (-np.log(r) + r - 1)
    assert akld(real, fake) == pytest.approx(kl_fake_from_real.mean(), rel=1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_scaled_noise_gives_the_divergence_of_two_gaussians(scale: float) -> None:
    real = noise(4)
    assert akld(real, scale * real) == pytest.approx(0.5 * (-log(scale**2) + scale**2 - 1))


def test_ratio_is_clamped_on_both_sides() -> None:
    real = noise(5)
    assert akld(real, 0 * real) == pytest.approx(0.5 * (log(10) - 0.9))
    assert akld(real, 100 * real) == pytest.approx(0.5 * (9 - log(10)))


def test_floor_makes_two_empty_noises_equal() -> None:
    empty = np.zeros((8, 8, 3))
    assert akld(empty, empty) == 0.0
    assert local_variance(empty).min() == 1e-10


def test_two_draws_of_white_noise_sit_at_the_floor_of_the_window() -> None:
    # 1 / sum of squared weights is about 25 samples a window; KL is then near 1/25.
    value = akld(noise(6, (128, 128, 3)), noise(7, (128, 128, 3)))
    assert value == pytest.approx(0.042, abs=0.003)


def test_samples_are_averaged_before_blocks() -> None:
    real, fakes = noise(8), [noise(s, sigma=0.02 + 0.01 * s) for s in range(3)]
    metric = AkldMetric(samples=3)
    found = metric.measure(NoiseBlock(real=real, fakes=fakes))
    assert found == pytest.approx(np.mean([akld(real, fake) for fake in fakes]))
    with pytest.raises(ValueError, match="needs 3"):
        metric.measure(NoiseBlock(real=real, fakes=fakes[:2]))


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="pixel by pixel"):
        akld(noise(0), noise(0)[:, :-1])
    with pytest.raises(ValueError, match="at least 4 pixels"):
        local_variance(np.zeros((3, 9, 3)))
