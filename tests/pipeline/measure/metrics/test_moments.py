"""Histogram, moments and variance curve against numpy and scipy; merging."""

import numpy as np
import pytest
from scipy import stats

from pipeline.measure.metrics.moments import Moments, NoiseHistogram, VarianceByIntensity

RNG = np.random.default_rng(11)
SKEWED = RNG.gamma(2.0, 0.01, (60, 50, 3)) - 0.02
EDGES = tuple(np.linspace(-0.02, 0.05, 29).tolist())


def test_moments_equal_scipy() -> None:
    sums = Moments()
    sums.update(SKEWED)
    found = sums.result()
    flat = SKEWED.ravel()
    assert found.samples == flat.size
    assert found.mean == pytest.approx(flat.mean())
    assert found.std == pytest.approx(flat.std())
    assert found.skewness == pytest.approx(stats.skew(flat))
    assert found.excess_kurtosis == pytest.approx(stats.kurtosis(flat))


def test_histogram_is_a_density_over_all_samples() -> None:
    sums = NoiseHistogram(EDGES)
    sums.update(SKEWED)
    inside = np.mean((EDGES[0] <= SKEWED) & (EDGES[-1] >= SKEWED))
    assert inside < 1
    assert np.sum(sums.result() * np.diff(EDGES)) == pytest.approx(inside)
    expected = np.histogram(SKEWED, bins=EDGES)[0]
    np.testing.assert_array_equal(sums.counts, expected)


def test_variance_follows_a_heteroscedastic_line() -> None:
    clean = RNG.uniform(0, 1, (400, 400, 3))
    noise = RNG.normal(0, 1, clean.shape) * np.sqrt(1e-3 * clean + 1e-4)
    sums = VarianceByIntensity(bins=16)
    sums.update(noise + 0.05, clean)
    curve = sums.result()
    expected = 1e-3 * curve.intensity + 1e-4
    errors = (curve.variance - expected) / (expected * np.sqrt(2 / curve.samples))
    assert np.abs(errors).max() < 5
    assert curve.samples.sum() == clean.size


def test_variance_curve_equals_numpy_in_a_bin_and_is_open_where_empty() -> None:
    clean = np.array([[0.1, 0.1, 0.9, 1.0]])
    noise = np.array([[1.0, 3.0, -2.0, 4.0]])
    sums = VarianceByIntensity(bins=4)
    sums.update(noise, clean)
    curve = sums.result()
    np.testing.assert_array_equal(curve.variance, [1.0, np.nan, np.nan, 9.0])
    np.testing.assert_array_equal(curve.intensity, [0.125, 0.375, 0.625, 0.875])


def test_halves_merge_to_the_whole() -> None:
    clean = RNG.uniform(0, 1, SKEWED.shape)
    parts = [slice(0, 13), slice(13, 60)]
    moments = [Moments() for _ in range(3)]
    histograms = [NoiseHistogram(EDGES) for _ in range(3)]
    curves = [VarianceByIntensity() for _ in range(3)]
    for i, rows in enumerate([*parts, slice(None)]):
        moments[i].update(SKEWED[rows])
        histograms[i].update(SKEWED[rows])
        curves[i].update(SKEWED[rows], clean[rows])
    moments[0].merge(moments[1])
    histograms[0].merge(histograms[1])
    curves[0].merge(curves[1])
    np.testing.assert_allclose(moments[0].sums, moments[2].sums, rtol=1e-12)
    np.testing.assert_array_equal(histograms[0].result(), histograms[2].result())
    np.testing.assert_allclose(curves[0].sums, curves[2].sums, rtol=1e-9, atol=1e-12)


def test_unlike_accumulators_do_not_merge() -> None:
    with pytest.raises(ValueError, match="edges"):
        NoiseHistogram(EDGES).merge(NoiseHistogram(EDGES[1:]))
    with pytest.raises(ValueError, match="bins"):
        VarianceByIntensity(8).merge(VarianceByIntensity(16))


def test_nothing_and_constants_have_no_shape() -> None:
    assert np.isnan(Moments().result().mean)
    sums = Moments()
    sums.update(np.full((4, 4), 0.25))
    found = sums.result()
    assert (found.mean, found.std) == (0.25, 0.0)
    assert np.isnan(found.skewness)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="clean is"):
        VarianceByIntensity().update(np.zeros((4, 4, 3)), np.zeros((4, 4)))
