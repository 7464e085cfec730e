"""Every metric keeps the contract, and the contract can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from noisemill.testing.metrics import CHECKS, MetricCase
from pipeline.kinds import METRICS
from pipeline.measure.metrics.akld import AkldMetric
from pipeline.measure.metrics.kld import KldMetric
from pipeline.measure.metrics.metric import PictureMetric
from pipeline.measure.metrics.quality import PsnrMetric, SsimMetric

CASES = {
    "akld": MetricCase(make=AkldMetric),
    "kld": MetricCase(make=KldMetric, permutations=True, flips=True),
    "psnr": MetricCase(make=PsnrMetric, permutations=True, flips=True),
    "ssim": MetricCase(make=SsimMetric, flips=True),
}
# It needs a generator with a density, and is tested beside it.
ELSEWHERE = {"nll"}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_contract(case: MetricCase, check: Callable[[MetricCase], None]) -> None:
    check(case)


def test_every_metric_has_a_case() -> None:
    assert set(CASES) | ELSEWHERE >= set(METRICS.names())


class Faulty(PictureMetric):
    """Mean square error, right in everything but what a subclass breaks."""

    name, better, about = "faulty", "lower", "Mean square error."
    seen = 0

    def measure(self, clean: Any, estimate: Any) -> float:
        return float(np.square(clean - estimate).mean())


class IsNoNumber(Faulty):
    def measure(self, clean: Any, estimate: Any) -> float:
        return float("nan")


class CountsItsCalls(Faulty):
    def measure(self, clean: Any, estimate: Any) -> float:
        self.seen += 1
        return super().measure(clean, estimate) * self.seen


class CountsAllCalls(Faulty):
    def measure(self, clean: Any, estimate: Any) -> float:
        CountsAllCalls.seen += 1
        return super().measure(clean, estimate) + CountsAllCalls.seen


class WritesInPlace(Faulty):
    def measure(self, clean: Any, estimate: Any) -> float:
        clean += 1
        return super().measure(clean, estimate)


class IsUpsideDown(Faulty):
    better = "higher"


class LooksAtOneCorner(Faulty):
    def measure(self, clean: Any, estimate: Any) -> float:
        return super().measure(clean[:4, :4], estimate[:4, :4])


class HasNothingToSay(Faulty):
    about = ""


FAULTS: list[tuple[type[Faulty], str]] = [
    (IsNoNumber, "its_value_is_a_number"),
    (CountsItsCalls, "it_keeps_no_state"),
    (CountsAllCalls, "merging_halves_equals_the_whole"),
    (WritesInPlace, "the_images_are_not_written_to"),
    (IsUpsideDown, "better_is_better"),
    (LooksAtOneCorner, "it_is_the_same_where_that_is_declared"),
    (HasNothingToSay, "what_is_told_of_it_is_json"),
]


@pytest.mark.parametrize(("faulty", "check"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_contract_catches(faulty: type[Faulty], check: str) -> None:
    with pytest.raises(AssertionError):
        CHECKS[check](MetricCase(make=faulty, permutations=True, flips=True))


def test_every_check_is_shown_to_fail() -> None:
    assert {check for _, check in FAULTS} == set(CHECKS)
