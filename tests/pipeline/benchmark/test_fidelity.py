"""Distances of a candidate's noise: nothing for the noise itself, finite for no noise at all."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.benchmark.fidelity import measure_fidelity
from pipeline.benchmark.patches import PatchUnderTest


def place(uri: str, noise: np.ndarray, *, source: str = "") -> PatchUnderTest:
    clean = np.full((32, 32, 3), 120, np.uint8)
    return PatchUnderTest(
        uri=uri,
        source_uri=source,
        clean=clean,
        noisy=(clean + noise).astype(np.uint8),
        scene="s",
        camera="X",
        iso=100,
        y=0,
        x=0,
        domain="srgb",
    )


def grey(seed: int, level: float) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(0, level, (32, 32, 3))).astype(int)


def test_the_noise_itself_is_at_no_distance() -> None:
    real = [place(f"r{i}", grey(i, 6)) for i in range(3)]
    same = {f"r{i}": place(f"c{i}", grey(i, 6), source=f"r{i}") for i in range(3)}
    found = measure_fidelity(real, same)
    assert (found.kld, found.akld, found.correlation_error) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.std == found.real_std == pytest.approx(6, rel=0.05)
    assert (found.places, found.kld_convention) == (3, "naflow")


def test_a_candidate_without_noise_at_a_place_still_has_figures() -> None:
    nothing = {"r": place("c", np.zeros((32, 32, 3), int), source="r")}
    found = measure_fidelity([place("r", grey(1, 6))], nothing)
    assert all(np.isfinite(value) for value in (found.kld, found.akld, found.correlation_error))
    assert found.std == 0


def test_places_that_the_candidate_lacks_are_left_out_and_counted() -> None:
    real = [place(f"r{i}", grey(i, 6)) for i in range(3)]
    found = measure_fidelity(real, {"r1": place("c", grey(9, 6), source="r1")})
    assert found.places == 1
    with pytest.raises(ValueError, match="none of the test places"):
        measure_fidelity(real, {})
