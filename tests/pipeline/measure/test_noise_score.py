"""The one noise score: equal to the metrics by themselves, empty where there is no real noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.measure.metrics import AkldMetric, KldMetric, akld, kld, lag1_correlation
from pipeline.measure.noise_score import SOUND_OFFSET, NoiseLevel, is_sound, score_noise

METRICS = (KldMetric("noise-flow"), AkldMetric())


def noise(seed: int, sigma: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, sigma, (24, 32, 3))


def test_a_score_is_the_metrics_on_the_same_block() -> None:
    real, fake = noise(1), noise(2, 0.03) + 2 / 255
    score = score_noise([fake], real=real, clean=None, metrics=METRICS)
    assert score.distances == {
        "kld (noise-flow)": kld(real, fake, "noise-flow"),
        "akld (danet, 1 sample)": akld(real, fake),
    }
    assert score.fake.std == pytest.approx(fake.std() * 255)
    assert score.fake.offset == pytest.approx(fake.mean() * 255)
    assert (score.fake.right, score.fake.down) == lag1_correlation(fake)
    right = lag1_correlation(fake)[0] - lag1_correlation(real)[0]
    assert score.correlation_error == pytest.approx(abs(right))


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_the_reach_of_the_map_changes_no_neighbour(reach: int) -> None:
    near, far = NoiseLevel.of(noise(3)), NoiseLevel.of(noise(3), reach=reach)
    assert (far.right, far.down) == pytest.approx((near.right, near.down), abs=1e-12)
    assert far.correlation.reach == reach


def test_without_real_noise_there_are_levels_and_no_distances() -> None:
    score = score_noise([noise(4)], real=None, clean=None, metrics=METRICS)
    assert score.real is None
    assert score.distances == {}
    assert math.isnan(score.correlation_error)


def test_a_block_without_noise_counts_as_uncorrelated() -> None:
    flat = np.zeros((8, 8, 3))
    score = score_noise([flat], real=noise(5)[:8, :8], clean=None, metrics=())
    assert math.isnan(score.fake.right)
    assert score.real is not None
    assert score.correlation_error == abs(score.real.right)


def test_a_block_is_sound_up_to_the_limit_and_it_alone() -> None:
    assert is_sound(-SOUND_OFFSET)
    assert not is_sound(np.nextafter(SOUND_OFFSET, 2.0))
    assert is_sound(2.5, 3.0)
