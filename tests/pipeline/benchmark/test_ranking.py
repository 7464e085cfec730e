"""Intervals cover what they should, gaps are paired, and resamples are of scenes."""

import numpy as np
import pytest

from pipeline.benchmark.ranking import Resampling

SCENES = [f"scene {i // 6}" for i in range(60)]


def table(rng: np.random.Generator, *, seeds: int = 3, between: float = 2.0) -> np.ndarray:
    """Return scores that vary by scene, by place and by seed."""
    scene = rng.normal(35, between, 10).repeat(6)
    return scene + rng.normal(0, 0.5, 60) + rng.normal(0, 0.05, (seeds, 1))


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    resampling = Resampling(SCENES, draws=500, seed=1)
    covered = 0
    for trial in range(200):
        found = resampling.mean(table(np.random.default_rng(trial)), "row")
        covered += found.low <= 35.0 <= found.high
    # Ten scenes: a percentile interval covers some 90 % where it says 95 %; 200 trials have a
    # standard error of 2 %.
    assert 0.82 <= covered / 200 <= 0.98


def test_a_gap_is_paired_so_that_it_does_not_feel_how_hard_scenes_are() -> None:
    rng = np.random.default_rng(1)
    one = table(rng, between=5.0)
    other = one - 0.2 + rng.normal(0, 0.02, one.shape)
    resampling = Resampling(SCENES, draws=1000, seed=1)
    gap, alone = resampling.gap(other, "other", one, "one"), resampling.mean(one, "one")
    assert gap.mean == pytest.approx(-0.2, abs=0.01)
    assert not gap.contains_zero
    assert gap.high - gap.low < 0.1 * (alone.high - alone.low)


def test_scenes_are_resampled_whole() -> None:
    # All places of a scene score alike: the interval is that of ten values, not of sixty.
    scores = np.repeat(np.random.default_rng(2).normal(30, 1, 10), 6)[None]
    whole = Resampling(SCENES, draws=4000, seed=1)
    places = Resampling([str(i) for i in range(60)], draws=4000, seed=1)
    wide, narrow = (r.mean(scores, "row") for r in (whole, places))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(6**0.5, rel=0.15)


def test_few_scenes_are_said_and_places_taken_instead() -> None:
    few = Resampling(["a", "a", "b", "b"], draws=100, seed=1)
    assert not few.by_scene
    assert few.clusters == 4
    assert Resampling(["a", "b", "c"], draws=100, seed=1).by_scene


def test_equal_scores_have_an_interval_of_no_width_and_no_gap() -> None:
    scores = np.full((2, 60), 31.5)
    found = Resampling(SCENES, draws=200, seed=1)
    mean = found.mean(scores, "row")
    assert (mean.mean, mean.low, mean.high) == pytest.approx((31.5, 31.5, 31.5))
    assert found.gap(scores, "row", scores, "real").contains_zero


def test_no_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="no test place"):
        Resampling([], draws=100, seed=1)
