"""What a metric is: a name with its convention, which way is better, and one measurement.

A metric compares either noise with noise, a block at a time (:class:`NoiseMetric`), or a picture
with a picture (:class:`PictureMetric`). It returns one number; means, medians and groups are made
of these numbers by :class:`~pipeline.measure.metrics.groups.Scores`, the same way for every metric.
Tables know from the class how to round, which way is better, and what to say of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pipeline.measure.metrics.base import Array, Floats

__all__ = ["Metric", "NoiseBlock", "NoiseMetric", "PictureMetric"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseBlock:
    """Real noise of one block, and noises that were generated for it; white levels.

    Args:
        real: ``(H, W, C)``.
        fakes: Generated noises, same shape, at least one; most metrics look at the first alone.
        clean: ``(H, W, C)`` in [0, 1], that the generated noise was put on; ``None`` where unknown.
    """

    real: Floats
    fakes: Sequence[Floats]
    clean: Floats | None = None


class Metric(ABC):
    """One way to compare.

    A class of our own is one line of :data:`pipeline.kinds.METRICS`, another distribution's an
    entry point in ``noisemill.metrics``; made without arguments, it is the usual convention.

    Attributes:
        name: In manifests and, with the convention behind it, above columns.
        compares: ``noise``, ``pictures``, or a ``density`` with noise.
        better: Which values are better, ``lower`` or ``higher``.
        unit: Of the value; empty for a pure number.
        digits: Decimals in tables.
        skewed: Whether a few bad blocks pull the mean away, so that tables show the median too.
        about: One line: what it measures and how.
        revision: Raised when its values change; rows of another are measured again.
    """

    name: ClassVar[str]
    compares: ClassVar[Literal["noise", "pictures", "density"]]
    better: ClassVar[Literal["lower", "higher"]]
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 4
    skewed: ClassVar[bool] = False
    about: ClassVar[str]
    revision: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """The name with the convention, ``kld (naflow)``: a value never travels without it."""
        return self.name

    def to_dict(self) -> dict[str, Any]:
        """Return what is told of it, as JSON values."""
        return {
            "name": self.name,
            "better": self.better,
            "unit": self.unit,
            "digits": self.digits,
            "skewed": self.skewed,
            "about": self.about,
            "revision": self.revision,
        }


class NoiseMetric(Metric):
    """Compares generated noise with the real noise of its block."""

    compares = "noise"

    @abstractmethod
    def measure(self, block: NoiseBlock) -> float:
        """Return the value of one block; not a number where it cannot be measured."""


class PictureMetric(Metric):
    """Compares a denoised picture with the clean one."""

    compares = "pictures"

    @abstractmethod
    def measure(self, clean: Array, estimate: Array) -> float:
        """Return the value of one picture.

        Args:
            clean: ``(H, W, C)``: unsigned integers of full range, or floats with white at 1.
            estimate: Same shape; either type.
        """
