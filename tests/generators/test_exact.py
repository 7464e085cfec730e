"""Functions whose bits are the same everywhere are also right, whatever surrounds a value."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from generators import exact

Function = Callable[[Tensor], Tensor]
# Ours, numpy's in extended precision, and where.
CASES: dict[str, tuple[Function, Callable[..., np.ndarray], tuple[float, float]]] = {
    "sqrt": (exact.sqrt, np.sqrt, (0.0, 4.0)),
    "exp": (exact.exp, np.exp, (-80.0, 80.0)),
    "sin": (exact.sin, np.sin, (-1.0, 1.0)),
    "asin": (exact.asin, np.arcsin, (-1.0, 1.0)),
    "square": (lambda x: exact.power(x, 2.0), np.square, (1e-6, 4.0)),
    "root": (lambda x: exact.power(x, 0.5), np.sqrt, (1e-6, 4.0)),
}


def values(ends: tuple[float, float], *, dtype: torch.dtype) -> Tensor:
    return torch.linspace(*ends, 20_001, dtype=dtype)


@pytest.mark.parametrize("name", CASES)
def test_float32_results_are_correctly_rounded(name: str) -> None:
    function, reference, ends = CASES[name]
    x = values(ends, dtype=torch.float32)
    expected = reference(x.numpy().astype(np.longdouble)).astype(np.float32)
    # A result within some units of float64 of the middle between two float32: one in 10^8.
    assert np.array_equal(function(x).numpy(), expected)


@pytest.mark.parametrize("name", CASES)
def test_float64_results_are_within_some_units_in_the_last_place(name: str) -> None:
    function, reference, ends = CASES[name]
    x = values(ends, dtype=torch.float64)
    expected = reference(x.numpy().astype(np.longdouble)).astype(np.float64)
    # A power takes the error of its logarithm times its exponent, here up to 28.
    units = 64 if name in ("square", "root") else 8
    np.testing.assert_allclose(function(x).numpy(), expected, rtol=units * 2.0**-53, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_a_value_does_not_depend_on_its_neighbours_or_its_place(name: str) -> None:
    function, _, ends = CASES[name]
    x = values(ends, dtype=torch.float32)
    every = function(x)
    assert torch.equal(function(x[7:8]), every[7:8])
    assert torch.equal(function(x[1::3]), every[1::3])
    assert torch.equal(function(x[:20_000].reshape(4, 50, 100)).flatten(), every[:20_000])


def test_the_ends_are_exact() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0])
    assert exact.asin(x).double().tolist() == pytest.approx([-math.pi / 2, 0.0, math.pi / 2])
    assert exact.sin(x)[1] == 0
    assert exact.exp(torch.tensor([-1e3, 0.0])).tolist() == [0.0, 1.0]
    assert exact.power(torch.tensor([1.0]), 2.4).tolist() == [1.0]


def test_an_exponent_is_rounded_as_torch_rounds_it() -> None:
    x = values((0.01, 1.0), dtype=torch.float32)
    expected = np.power(x.numpy().astype(np.longdouble), np.longdouble(np.float32(2.4)))
    assert np.array_equal(exact.power(x, 2.4).numpy(), expected.astype(np.float32))
