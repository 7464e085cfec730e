"""Negative log-likelihood: how surprised a noise model with a density is by real noise.

    NLL = -log p(noisy | clean) / D    nats a dimension, D = C * H * W, the white level at 1

Stored images are whole grey levels, and a density can be made as large as one likes on whole
numbers. So two conventions exist, and a value never travels without its own:

    as-stored     the stored values themselves, as Noise Flow and its successors evaluate them
    dequantised   uniform noise of one grey level is added first (a seeded draw for each block);
                  the value is then a bound on the code length of the grey levels,
                  bits a dimension = NLL / ln 2 + log2(255)

Values can be below 0: a density is no probability. Only equal conventions on equal blocks compare.

Source: Theis et al. 2016, "A note on the evaluation of generative models", section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import log

from pipeline.measure.metrics.base import same_convention
from pipeline.measure.metrics.metric import Metric

__all__ = ["Nll", "NllConvention", "NllMetric", "NllValue", "bits_per_dimension"]


class NllConvention(StrEnum):
    """Names of the conventions; see the module's table."""

    AS_STORED = "as-stored"
    DEQUANTISED = "dequantised"


@dataclass(frozen=True, slots=True)
class NllMetric(Metric):
    """NLL of each block's real noise under a generator that has a density.

    Args:
        convention: How it is measured.
    """

    convention: NllConvention | str = NllConvention.DEQUANTISED

    name = "nll"
    compares = "density"
    better = "lower"
    unit = "nats/dimension"
    about = "-log p(noisy | clean) / dimensions, nats, white level 1"

    @property
    def title(self) -> str:
        """See :class:`Metric`."""
        return f"nll ({self.convention})"


@dataclass(frozen=True, slots=True)
class NllValue:
    """A negative log-likelihood that carries its convention.

    Args:
        convention: How it was measured.
        per_dimension: Over all dimensions together, nats a dimension.
        dimensions: How many.
        blocks: Of how many blocks.
    """

    convention: NllConvention
    per_dimension: float
    dimensions: int
    blocks: int


@dataclass
class Nll:
    """Negative log-likelihood a dimension, pooled over blocks of any sizes."""

    convention: NllConvention = NllConvention.DEQUANTISED
    nats: float = 0.0
    dimensions: int = 0
    blocks: int = 0

    def __post_init__(self) -> None:
        self.convention = NllConvention(self.convention)

    def update(self, log_density: float, dimensions: int) -> float:
        """Add one block and return its own value, nats a dimension.

        Args:
            log_density: log p(noisy | clean) of the block, nats.
            dimensions: C * H * W.

        Raises:
            ValueError: If ``dimensions`` is not positive.
        """
        if dimensions < 1:
            raise ValueError(f"a block has at least 1 dimension; got {dimensions}.")
        self.nats -= log_density
        self.dimensions += dimensions
        self.blocks += 1
        return -log_density / dimensions

    def merge(self, other: Nll) -> None:
        """Add the blocks of another accumulator of the same convention."""
        same_convention(self.convention, other.convention, "NLL of convention")
        self.nats += other.nats
        self.dimensions += other.dimensions
        self.blocks += other.blocks

    def result(self) -> NllValue:
        """Return the value; not a number without blocks."""
        value = self.nats / self.dimensions if self.dimensions else float("nan")
        return NllValue(self.convention, value, self.dimensions, self.blocks)


def bits_per_dimension(nll: float, levels: int = 255) -> float:
    """Return the code length of stored values that a dequantised NLL stands for.

    Args:
        nll: Nats a dimension, white level at 1, convention ``dequantised``.
        levels: Stored levels a white level.

    Example:
        >>> round(bits_per_dimension(-log(255)), 6)
        0.0
    """
    return (nll + log(levels)) / log(2)
