"""Functions of tensors whose bits are the same on every processor.

Sums, differences, products, quotients and square roots of floats are correctly rounded by IEEE 754,
each by itself. Everything else is not: torch hands whole tensors to vector libraries that differ
between processors and lengths, and one of them is even its square root (20 % of random float32
values are off by one unit in the last place on an AMD EPYC, 0.6 % on an Intel Xeon). One such unit
in an expected photon count may decide a draw, and all draws after it shift.

So parametric noise uses torch for the four operations and these for the rest. They are series of
the four operations in float64, term by term in a fixed order, good to some units in the last place
of float64; rounded to float32 they are the correctly rounded value but for one in some 10^8.
numpy's square root is the processor's own instruction.

Sums over many values are left to numpy, whose pairwise order is fixed; torch's follows the width of
the processor's registers.

Source for the reductions of the arguments: Muller 2016, "Elementary functions", chapter 11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["asin", "exp", "power", "sin", "sqrt"]

Array = NDArray[np.float64]

# ln 2 in two parts: k times the first is exact for every exponent k, and both together hold it to
# 87 bits.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_SQRT_HALF_BITS = np.float64(0.5**0.5).view(np.int64)
_HALF_PI = 0.5 * math.pi
# Highest power first; the first term left out is below 1e-17 of the sum, where |x| is at most
# ln 2 / 2 for e^x, 0.172 for 2 artanh(x) / x in x^2, 1 for sin(x) / x and 1/2 for asin(x) / x.
_EXP = [1.0 / math.factorial(n) for n in range(13, -1, -1)]
_ARTANH = [2.0 / (2 * n + 1) for n in range(10, -1, -1)]
_SIN = [(-1) ** n / math.factorial(2 * n + 1) for n in range(9, -1, -1)]
_ASIN = [math.comb(2 * n, n) / (4**n * (2 * n + 1)) for n in range(23, -1, -1)]
_BLOCK = 16384  # values whose intermediate results stay in the second cache


def sqrt(x: Tensor) -> Tensor:
    """Return the correctly rounded square root; any shape, x >= 0, on the CPU."""
    return torch.from_numpy(np.sqrt(x.numpy()))


def exp(x: Tensor) -> Tensor:
    """Return e^x in the type of ``x``; any shape, on the CPU.

    Example:
        >>> exp(torch.tensor([0.0, 1.0]).double()).tolist()
        [1.0, 2.7182818284590455]
    """
    return _by_blocks(_exp, x)


def power(x: Tensor, exponent: float) -> Tensor:
    """Return x to a power that is first rounded to the type of ``x``, as torch does.

    Args:
        x: Any shape, normal and > 0, on the CPU.
        exponent: Any number for which the result is normal.

    Example:
        >>> power(torch.tensor([1.0, 4.0]), 1.5).tolist()
        [1.0, 8.0]
    """
    rounded = float(torch.tensor(exponent, dtype=x.dtype))
    return _by_blocks(lambda values: _exp(_log(values) * rounded), x)


def sin(x: Tensor) -> Tensor:
    """Return the sine of angles within [-1, 1], in the type of ``x``; any shape, on the CPU."""
    return _by_blocks(lambda values: values * _series(_SIN, values * values), x)


def asin(x: Tensor) -> Tensor:
    """Return the arc sine of values in [-1, 1], in their type; any shape, on the CPU.

    Example:
        >>> asin(torch.tensor([-1.0, 0.0, 0.5]).double()).tolist()
        [-1.5707963267948966, 0.0, 0.5235987755982988]
    """
    return _by_blocks(_asin, x)


def _by_blocks(function: Callable[[Array], Array], x: Tensor) -> Tensor:
    """Apply a function of ``(N,)`` float64 to a tensor's values, a cache-full at a time."""
    values = x.double().contiguous().numpy().reshape(-1)
    result = np.empty_like(values)
    for start in range(0, len(values), _BLOCK):
        result[start : start + _BLOCK] = function(values[start : start + _BLOCK])
    return torch.from_numpy(result.reshape(x.shape)).to(x.dtype)


def _exp(x: Array) -> Array:
    # e^x = 2^k e^r with |r| <= ln 2 / 2.
    k = np.rint(x * (1.0 / (_LN2_HIGH + _LN2_LOW)))
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    scaled: Array = np.ldexp(_series(_EXP, r), k.astype(np.int32))
    return scaled


def _log(x: Array) -> Array:
    # x = 2^k m with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh f with f = (m - 1) / (m + 1).
    bits = x.view(np.int64)
    shift = (bits - _SQRT_HALF_BITS) >> 52
    k, m = shift.astype(np.float64), (bits - (shift << 52)).view(np.float64)
    f = (m - 1.0) / (m + 1.0)
    logarithm: Array = k * _LN2_HIGH + (f * _series(_ARTANH, f * f) + k * _LN2_LOW)
    return logarithm


def _asin(x: Array) -> Array:
    # Towards the ends asin x = pi / 2 - 2 asin(sqrt((1 - x) / 2)), so the series sees [0, 1/2].
    size = np.abs(x)
    near_one = size > 0.5
    argument = np.where(near_one, np.sqrt((1.0 - size) * 0.5), size)
    angle = argument * _series(_ASIN, argument * argument)
    return np.copysign(np.where(near_one, _HALF_PI - 2.0 * angle, angle), x)


def _series(coefficients: Sequence[float], x: Array) -> Array:
    """Return the polynomial with these coefficients, highest power first (Horner's rule)."""
    result = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result *= x
        result += coefficient
    return result
