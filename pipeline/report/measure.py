"""The numbers of a report: noise of each generator beside the real one, pooled and cell by cell.

Two views of the same patches:

* :class:`NoiseProfile` pools all patches of a generator: histogram, variance against brightness,
  autocorrelation, channel covariance.
* :class:`Score` compares patch by patch and averages within a cell.

Both take *sound* patches only. Where there is real noise, patches without it are left out, so that
a generator and the camera are shown on the same pictures; and so are patches with a brightness
offset (:data:`~pipeline.measure.noise_score.SOUND_OFFSET`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.measure.metrics import AkldMetric, KldMetric, Metric
from pipeline.measure.metrics.base import Array, BlockValues, Floats
from pipeline.measure.metrics.correlation import (
    REACH,
    ChannelCovariance,
    CorrelationMap,
)
from pipeline.measure.metrics.kld import KldConvention
from pipeline.measure.metrics.moments import Moments, NoiseHistogram, VarianceByIntensity
from pipeline.measure.noise_score import NoiseLevel, NoiseScore, score_noise
from pipeline.measure.pair import ImagePair
from pipeline.pixels import to_unit64
from pipeline.report.collect import Cell, Patch, ReportSamples

__all__ = [
    "REAL",
    "CellTable",
    "NoiseProfile",
    "Score",
    "cell_tables",
    "edge_share",
    "profiles",
]

REAL = "real"
_EDGES = tuple(((np.arange(-255, 257) - 0.5) / 255.0).tolist())
_SMALLEST = REACH + 2


@dataclass
class NoiseProfile:
    """All the noise of one generator, or of the cameras; values in white levels.

    Args:
        channels: Channels of the images.
    """

    channels: int
    histogram: NoiseHistogram = field(default_factory=lambda: NoiseHistogram(_EDGES))
    variance: VarianceByIntensity = field(default_factory=VarianceByIntensity)
    correlation: CorrelationMap = field(default_factory=CorrelationMap)
    covariance: ChannelCovariance = field(init=False)
    moments: Moments = field(default_factory=Moments)
    patches: int = 0

    def __post_init__(self) -> None:
        self.covariance = ChannelCovariance(self.channels)

    def update(self, noise: Floats, clean: Array) -> None:
        """Add one patch: ``(H, W, C)`` noise in white levels, and its clean pixels as stored."""
        self.histogram.update(noise)
        self.variance.update(noise, to_unit64(clean))
        self.correlation.update(noise)
        self.covariance.update(noise)
        self.moments.update(noise)
        self.patches += 1


@dataclass
class Score:
    """Noise of one generator (or of the camera) in one cell; noise in grey levels of 255.

    ``kld`` and ``akld`` are empty for the camera itself and where there is no real noise.
    """

    std: BlockValues = field(default_factory=BlockValues)
    right: BlockValues = field(default_factory=BlockValues)
    down: BlockValues = field(default_factory=BlockValues)
    kld: BlockValues = field(default_factory=BlockValues)
    akld: BlockValues = field(default_factory=BlockValues)

    def update(self, level: NoiseLevel) -> None:
        """Add the level and neighbour correlation of one patch."""
        self.std.update(level.std)
        if np.isfinite(level.right):
            self.right.update(level.right)
            self.down.update(level.down)

    def compare(self, score: NoiseScore, metrics: Sequence[Metric]) -> None:
        """Add level, correlation and distances of one patch of generated noise."""
        self.update(score.fake)
        for metric in metrics:
            if metric.title in score.distances:
                getattr(self, metric.name).update(score.distances[metric.title])

    def merge(self, other: Score) -> None:
        """Add the patches of another."""
        for name in ("std", "right", "down", "kld", "akld"):
            getattr(self, name).merge(getattr(other, name))


@dataclass
class CellTable:
    """Scores of one cell.

    Args:
        cell: Camera and ISO; ``None`` for all cells together.
        scores: Generator key, and ``real`` first where there is real noise, to its score.
        used: Patches measured.
        offset: Patches left out for a brightness offset of the pair.
    """

    cell: Cell | None
    scores: dict[str, Score]
    used: int = 0
    offset: int = 0

    def merge(self, other: CellTable) -> None:
        """Add another cell."""
        for key, score in other.scores.items():
            self.scores.setdefault(key, Score()).merge(score)
        self.used += other.used
        self.offset += other.offset


def profiles(samples: ReportSamples) -> dict[str, NoiseProfile]:
    """Pool the noise of each generator, and of the cameras under ``real``.

    Args:
        samples: What was collected.

    Returns:
        ``real`` first where there is any, then generators in their order; those without a
        patch large enough to measure are left out.
    """
    keys = [REAL, *samples.generators]
    found: dict[str, NoiseProfile] = {}
    for patch in samples.patches:
        if (samples.has_real and patch.real is None) or not patch.sound:
            continue
        pairs = {REAL: patch.real, **patch.made}
        for key, pair in pairs.items():
            if pair is None or min(pair.clean.shape[:2]) < _SMALLEST:
                continue
            profile = found.setdefault(key, NoiseProfile(pair.clean.shape[2]))
            if profile.channels == pair.clean.shape[2]:
                profile.update(pair.noise, pair.clean)
    return {key: found[key] for key in keys if key in found}


def edge_share(pair: ImagePair) -> float:
    """Return how much of the noise is the image itself, moved or blurred.

    Where the two photographs of a pair are a fraction of a pixel apart, their difference is the
    gradient of the image times that shift; where one is sharper, it is a multiple of the Laplacian.
    Where the shift changes within the patch, the difference is still large just where the gradient
    is.

    Returns:
        The larger of two shares of variance, 0 to 1: of the noise, explained by one shift and one
        blur; and of its magnitude, explained by the gradient's. 0 in a flat image.
    """
    noise = pair.noise.mean(axis=2)
    down, right = np.gradient(to_unit64(pair.clean).mean(axis=2))
    laplacian = np.gradient(down, axis=0) + np.gradient(right, axis=1)
    return max(
        _explained(noise, [down, right, laplacian]),
        _explained(np.abs(noise), [np.hypot(down, right)]),
    )


def _explained(target: Floats, causes: Sequence[Floats]) -> float:
    """Return the coefficient of determination of a linear fit."""
    y = (target - target.mean()).ravel()
    energy = float(y @ y)
    if energy == 0.0:
        return 0.0
    x = np.stack([(cause - cause.mean()).ravel() for cause in causes], axis=1)
    fit = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(np.clip(fit @ y / energy, 0.0, 1.0))


def cell_tables(
    samples: ReportSamples, convention: KldConvention = KldConvention.NAFLOW
) -> list[CellTable]:
    """Measure cell by cell; the first table is all cells together where there are several."""
    tables = [
        _cell_table(cell, patches, samples, convention) for cell, patches in samples.cells.items()
    ]
    if len(tables) > 1:
        total = CellTable(None, {})
        for table in tables:
            total.merge(table)
        tables.insert(0, total)
    return tables


def _cell_table(
    cell: Cell, patches: Sequence[Patch], samples: ReportSamples, convention: KldConvention
) -> CellTable:
    table, metrics = CellTable(cell, {}), (KldMetric(convention), AkldMetric())
    for patch in patches:
        real = None if patch.real is None else patch.real.noise
        if not patch.sound:
            table.offset += 1
            continue
        table.used += 1
        if real is not None:
            table.scores.setdefault(REAL, Score()).update(NoiseLevel.of(real))
        for key, made in patch.made.items():
            noise = made.noise
            fits = real is not None and real.shape == noise.shape and min(noise.shape[:2]) > 3
            score = score_noise(
                [noise],
                real=real if fits else None,
                clean=to_unit64(made.clean),
                metrics=metrics,
            )
            table.scores.setdefault(key, Score()).compare(score, metrics)
    order = [REAL, *samples.generators]
    table.scores = {key: table.scores[key] for key in order if key in table.scores}
    return table
