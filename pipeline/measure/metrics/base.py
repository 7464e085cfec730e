"""What every noise metric is: sums that can be made in pieces and put together.

Notation: ``noise = noisy - clean`` in white levels (1/255 is one grey level), ``(H, W, C)``. A
metric is two things: a frozen description of its convention, and an *accumulator* with

    update(...)    add one block
    merge(other)   add another accumulator of the same convention
    result()       the value

Merging the halves gives the whole, so blocks may be measured anywhere and in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "BlockValues", "Floats", "as_noise", "same_convention"]

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass
class BlockValues:
    """The values of a metric, one a block, and their mean and median.

    The values themselves are kept: a median cannot be merged from medians.
    """

    values: list[float] = field(default_factory=list)

    def update(self, value: float) -> None:
        """Add one block."""
        self.values.append(float(value))

    def merge(self, other: BlockValues) -> None:
        """Add the blocks of another."""
        self.values.extend(other.values)

    @property
    def mean(self) -> float:
        """Mean over blocks; not a number without any."""
        return float(np.mean(self.values)) if self.values else float("nan")

    @property
    def median(self) -> float:
        """Median over blocks; not a number without any."""
        return float(np.median(self.values)) if self.values else float("nan")


def as_noise(noise: Array, name: str = "noise") -> Floats:
    """Return noise as float64 ``(H, W, C)``.

    Args:
        noise: ``(H, W)`` or ``(H, W, C)`` real numbers in white levels.
        name: What to call it in an error.

    Raises:
        TypeError: If it is unsigned, in which a difference has already wrapped around.
        ValueError: If it has another number of dimensions, is empty or is not finite.
    """
    if np.issubdtype(noise.dtype, np.unsignedinteger):
        raise TypeError(
            f"{name} is {noise.dtype}, where negative differences wrap around. "
            "Convert the images to float before subtracting."
        )
    values = np.asarray(noise, dtype=np.float64)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.size == 0:
        raise ValueError(f"{name} must be (H, W) or (H, W, C); its shape is {noise.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite; reject such images before this.")
    return values


def same_convention(mine: object, other: object, what: str) -> None:
    """Refuse to merge accumulators that measure different things.

    Raises:
        ValueError: If the two conventions differ.
    """
    if mine != other:
        raise ValueError(f"cannot merge {what} {other} into {mine}; values differ between them.")
