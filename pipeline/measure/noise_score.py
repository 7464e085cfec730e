"""The one noise score of a block: level and grain of a noise, and its distances from the real one.

Evaluation, benchmark, report, training and cards all measure a block here, so one number means the
same in each of them. Plain numpy: a training imports it where there is no Ray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.measure.metrics.base import Floats
from pipeline.measure.metrics.correlation import CorrelationMap
from pipeline.measure.metrics.metric import NoiseBlock, NoiseMetric

__all__ = [
    "GREY",
    "SOUND_OFFSET",
    "NoiseLevel",
    "NoiseScore",
    "distances",
    "is_sound",
    "score_noise",
]

GREY = 255.0
SOUND_OFFSET = 1.0
"""Largest |mean(noisy - clean)| of a sound block's real noise, grey levels.

Beyond it the two photographs of the pair differ in brightness, which no noise model explains and
which swamps every mean.
"""


@dataclass(frozen=True, slots=True, eq=False)
class NoiseLevel:
    """Level and grain of one noise of one block.

    Args:
        offset: Mean, grey levels.
        std: Standard deviation, grey levels.
        right: Correlation with the right neighbour; not a number where there is no noise.
        down: Correlation with the lower neighbour.
        correlation: The map that the two are from.
    """

    offset: float
    std: float
    right: float
    down: float
    correlation: CorrelationMap

    @classmethod
    def of(cls, noise: Floats, *, reach: int = 1) -> NoiseLevel:
        """Measure a noise.

        Args:
            noise: ``(H, W, C)`` in white levels.
            reach: Of the correlation map, pixels.
        """
        correlation = CorrelationMap(reach)
        correlation.update(noise)
        grid = correlation.result()
        return cls(
            offset=float(noise.mean()) * GREY,
            std=float(noise.std()) * GREY,
            right=float(grid[reach, reach + 1]),
            down=float(grid[reach + 1, reach]),
            correlation=correlation,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseScore:
    """What was measured on one block.

    Args:
        fake: Level and grain of the generated noise.
        real: The same of the real noise; ``None`` where there is none.
        distances: Title of each metric to its value; empty without real noise.
    """

    fake: NoiseLevel
    real: NoiseLevel | None = None
    distances: Mapping[str, float] = field(default_factory=dict)

    @property
    def correlation_error(self) -> float:
        """How far the correlation with the right neighbour is from that of the real noise.

        A block without any noise counts as uncorrelated. Not a number without real noise.
        """
        if self.real is None:
            return math.nan
        return abs(_known(self.fake.right) - _known(self.real.right))


def is_sound(offset: float, limit: float = SOUND_OFFSET) -> bool:
    """Return True if a pair's brightness offset, grey levels, is within the limit."""
    return abs(offset) <= limit


def score_noise(
    fakes: Sequence[Floats],
    *,
    real: Floats | None,
    clean: Floats | None,
    metrics: Sequence[NoiseMetric],
    reach: int = 1,
) -> NoiseScore:
    """Score the generated noise of one block.

    Args:
        fakes: Generated noises ``(H, W, C)`` in white levels; level and grain are the first one's.
        real: Real noise of the block, same shape, if there is any.
        clean: ``(H, W, C)`` in [0, 1], that the generated noise was put on.
        metrics: What to hold it against the real noise by.
        reach: Of the correlation maps, pixels.
    """
    level = NoiseLevel.of(fakes[0], reach=reach)
    if real is None:
        return NoiseScore(fake=level)
    return NoiseScore(
        fake=level,
        real=NoiseLevel.of(real, reach=reach),
        distances=distances(NoiseBlock(real=real, fakes=fakes, clean=clean), metrics),
    )


def distances(block: NoiseBlock, metrics: Sequence[NoiseMetric]) -> dict[str, float]:
    """Return the value of each metric on a block, by title."""
    return {metric.title: metric.measure(block) for metric in metrics}


def _known(correlation: float) -> float:
    return correlation if math.isfinite(correlation) else 0.0
