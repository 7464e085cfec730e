"""The contract of a metric, as checks that any implementation can be put through.

    class TestMyMetric(MetricContract):
        def case(self) -> MetricCase:
            return MetricCase(make=MyMetric, flips=True)

What is measured at once by two people and merged must be what one measured: values are pooled by
:class:`pipeline.measure.metrics.groups.Scores`, so a metric must depend on its own block alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.measure.metrics.metric import Metric, NoiseBlock, NoiseMetric, PictureMetric

__all__ = ["CHECKS", "MetricCase", "MetricContract"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MetricCase:
    """A metric, and what leaves its value as it is.

    Args:
        make: Makes the metric.
        size: Height and width of the blocks.
        permutations: Whether pixels may change places, in both images alike.
        flips: Whether both images may be mirrored.
        tolerance: Relative difference allowed between values that should be equal.
    """

    make: Callable[[], Metric]
    size: tuple[int, int] = (64, 48)
    permutations: bool = False
    flips: bool = False
    tolerance: float = 1e-6


@dataclass(frozen=True)
class Images:
    """A clean image, and two noises of which the second is the more unlike the first the more."""

    clean: Floats
    real: Floats
    fake: Floats

    def arranged(self, arrange: Callable[[Floats], Floats]) -> Images:
        return Images(arrange(self.clean), arrange(self.real), arrange(self.fake))


def images(case: MetricCase, *, seed: int = 6, sigma: float = 0.04) -> Images:
    """Return white levels, ``(H, W, 3)`` each."""
    rng = np.random.default_rng(seed)
    shape = (*case.size, 3)
    clean = rng.uniform(0.2, 0.8, shape)
    return Images(clean, rng.normal(0, 0.03, shape), rng.normal(0, sigma, shape))


def value(metric: Metric, made: Images) -> float:
    """Return the metric of the fake noise, or of an estimate that is off by it."""
    if isinstance(metric, NoiseMetric):
        return float(
            metric.measure(NoiseBlock(real=made.real, fakes=[made.fake], clean=made.clean))
        )
    assert isinstance(metric, PictureMetric), "neither a NoiseMetric nor a PictureMetric"
    return float(metric.measure(made.clean, made.clean + made.fake))


def check_its_value_is_a_number(case: MetricCase) -> None:
    assert math.isfinite(value(case.make(), images(case)))


def check_it_keeps_no_state(case: MetricCase) -> None:
    metric, made = case.make(), images(case)
    first = value(metric, made)
    value(metric, images(case, seed=7))
    assert value(metric, made) == first, "a block's value depends on the one before"
    assert value(case.make(), made) == first, "a second instance gave another value"


def check_the_images_are_not_written_to(case: MetricCase) -> None:
    made = images(case)
    value(case.make(), made)
    again = images(case)
    for name in ("clean", "real", "fake"):
        assert np.array_equal(getattr(made, name), getattr(again, name)), f"{name} was written to"


def check_better_is_better(case: MetricCase) -> None:
    metric = case.make()
    near = value(metric, images(case, sigma=0.03 if metric.compares == "noise" else 0.01))
    far = value(metric, images(case, sigma=0.12))
    assert metric.better in ("lower", "higher")
    assert (near < far) == (metric.better == "lower"), f"near is {near:g}, far is {far:g}"


def check_merging_halves_equals_the_whole(case: MetricCase) -> None:
    metric = case.make()
    blocks = [images(case, seed=seed) for seed in range(4)]
    whole = [value(metric, block) for block in blocks]
    halves = (
        [value(case.make(), block) for block in blocks[2:]],
        [value(case.make(), block) for block in blocks[:2]],
    )
    assert halves[1] + halves[0] == whole


def check_it_is_the_same_where_that_is_declared(case: MetricCase) -> None:
    metric, made = case.make(), images(case)
    order = np.random.default_rng(8).permutation(case.size[0] * case.size[1])
    ways: dict[str, Callable[[Floats], Floats]] = {}
    if case.flips:
        ways |= {"up and down": lambda x: x[::-1], "left and right": lambda x: x[:, ::-1]}
    if case.permutations:
        ways["in another order"] = lambda x: x.reshape(-1, x.shape[2])[order].reshape(x.shape)
    for way, arrange in ways.items():
        ours = value(metric, made.arranged(lambda x, a=arrange: np.ascontiguousarray(a(x))))  # type: ignore[misc]
        assert ours == pytest.approx(value(metric, made), rel=case.tolerance), way


def check_what_is_told_of_it_is_json(case: MetricCase) -> None:
    metric = case.make()
    assert metric.compares in ("noise", "pictures")
    assert metric.about
    assert metric.title
    assert metric.revision >= 1
    json.dumps(metric.to_dict(), allow_nan=False)


CHECKS: dict[str, Callable[[MetricCase], None]] = {
    name.removeprefix("check_"): check
    for name, check in sorted(globals().items())
    if name.startswith("check_")
}


class MetricContract:
    """The contract as tests; derive, call it ``Test...``, and say what the case is."""

    def case(self) -> MetricCase:
        """Return the metric and what leaves its value as it is."""
        raise NotImplementedError("a MetricContract needs case(), which returns a case.")

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_contract(self, check: Callable[[MetricCase], None]) -> None:
        check(self.case())
