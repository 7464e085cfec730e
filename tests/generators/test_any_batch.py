"""Parametric noise does not know its batch: any division into batches gives the same bits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import generators
from noisemill.testing.generators import GeneratorCase, make_request, take_rows

PARAMETRIC: dict[str, dict[str, Any]] = {
    "awgn": {"sigma": [5, 25]},
    "spatially-variant-awgn": {"sigma": [0, 50]},
    "heteroscedastic": {"beta1": 0.01, "beta2": 1e-4},
    "poisson-gaussian": {"gain": 0.001, "read_noise": 0.005},
    "camera": {"camera": "phone", "iso": [100, 800]},
}
ROWS = 7


@pytest.mark.parametrize("name", PARAMETRIC)
@given(cuts=st.sets(st.integers(1, ROWS - 1)), order=st.permutations(range(ROWS)))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_division_into_batches_gives_the_same_rows(
    name: str, cuts: set[int], order: list[int]
) -> None:
    generator = generators.create(name, params=PARAMETRIC[name])
    case = GeneratorCase(make=lambda: generator, size=(12, 16), seeds=tuple(range(40, 40 + ROWS)))
    request = make_request(case)
    whole = generator.sample(request)
    bounds = [0, *sorted(cuts), ROWS]
    for start, stop in pairwise(bounds):
        rows = list(order[start:stop])
        part = generator.sample(take_rows(request, rows))
        assert torch.equal(part.noisy, whole.noisy[rows])
        assert torch.equal(part.clean, whole.clean[rows])
        assert list(part.params) == [whole.params[i] for i in rows]


def test_rows_differ_though_their_clean_images_are_equal() -> None:
    generator = generators.create("awgn", params={"sigma": 25})
    case = GeneratorCase(make=lambda: generator, size=(8, 8), seeds=(1, 2))
    noisy = generator.sample(make_request(case)).noisy.numpy()
    assert not np.array_equal(noisy[0], noisy[1])
