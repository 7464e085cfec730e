"""Measuring noise: one block against its real partner, and the sums over blocks.

A block gives named values (:class:`~pipeline.measure.metrics.groups.Scores`): distances from the
real noise of the same block, level and neighbour correlation of both. Beside them stand sums that
need no partner (:class:`NoiseSums`): correlation map, spectrum, variance by intensity, channel
covariance, histogram. Those are taken over *sound* blocks only
(:func:`~pipeline.measure.noise_score.is_sound`).

The convention of a value is part of its name: ``kld (naflow)``, ``akld (danet, 1 sample)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.evaluation.likeness import LIKENESS, likeness
from pipeline.evaluation.metrics import noise_metrics
from pipeline.manifest.evaluation import EvaluationMetrics
from pipeline.measure.metrics import (
    Cell,
    ChannelCovariance,
    CorrelationMap,
    GroupSums,
    KldConvention,
    Moments,
    NllMetric,
    NoiseMetric,
    PooledKld,
    RadialSpectrum,
    Scores,
    VarianceByIntensity,
    map_distance,
    spectrum_distance,
)
from pipeline.measure.metrics.base import Array, Floats
from pipeline.measure.metrics.correlation import REACH
from pipeline.measure.noise_score import GREY, NoiseLevel, is_sound, score_noise

__all__ = ["OFFSET", "SMALLEST", "Measured", "NoiseMeasure", "NoiseSums", "pooled_distances"]

OFFSET = "offset"
SMALLEST = REACH + 2


@dataclass
class NoiseSums:
    """All noise of one kind in one cell; values in white levels.

    Args:
        conventions: Of the pooled KLD's histograms.
    """

    conventions: tuple[KldConvention, ...] = ()
    correlation: CorrelationMap = field(default_factory=CorrelationMap)
    spectrum: RadialSpectrum = field(default_factory=RadialSpectrum)
    variance: VarianceByIntensity = field(default_factory=VarianceByIntensity)
    moments: Moments = field(default_factory=Moments)
    covariance: ChannelCovariance | None = None
    histograms: dict[KldConvention, PooledKld] = field(init=False)
    blocks: int = 0

    def __post_init__(self) -> None:
        self.histograms = {name: PooledKld(name) for name in self.conventions}

    def update(
        self, noise: Floats, clean: Floats, *, real: bool, correlation: CorrelationMap
    ) -> None:
        """Add one block.

        Args:
            noise: ``(H, W, C)`` in white levels.
            clean: The clean image in [0, 1], same shape.
            real: Whether it is real noise, the first of a KLD's two sides.
            correlation: The block's own map, measured already.
        """
        if self.covariance is None:
            self.covariance = ChannelCovariance(noise.shape[2])
        self.correlation.merge(correlation)
        self.spectrum.update(noise)
        self.variance.update(noise, clean)
        self.moments.update(noise)
        self.covariance.update(noise)
        for histogram in self.histograms.values():
            if real:
                histogram.update_real(noise)
            else:
                histogram.update_fake(noise, clean=clean)
        self.blocks += 1

    def merge(self, other: NoiseSums) -> None:
        """Add the blocks of another."""
        self.correlation.merge(other.correlation)
        self.spectrum.merge(other.spectrum)
        self.variance.merge(other.variance)
        self.moments.merge(other.moments)
        if other.covariance is not None:
            if self.covariance is None:
                self.covariance = ChannelCovariance(other.covariance.channels)
            self.covariance.merge(other.covariance)
        for name, histogram in self.histograms.items():
            histogram.merge(other.histograms[name])
        self.blocks += other.blocks

    def to_dict(self) -> dict[str, Any]:
        """Return what is drawn and stored, as JSON values; lists of numbers, ``None`` for none."""
        spectrum, variance, moments = (
            self.spectrum.result(),
            self.variance.result(),
            self.moments.result(),
        )
        covariance = None if self.covariance is None else self.covariance.result() * GREY**2
        return {
            "blocks": self.blocks,
            "correlation map": _listed(self.correlation.result()),
            "spectrum": {
                "frequency, cycles/pixel": _listed(spectrum.frequency),
                "power, grey levels^2": _listed(spectrum.power * GREY**2),
            },
            "variance by intensity": {
                "clean value": _listed(variance.intensity),
                "variance, grey levels^2": _listed(variance.variance * GREY**2),
                "samples": _listed(variance.samples),
            },
            "channel covariance, grey levels^2": None
            if covariance is None
            else _listed(covariance),
            "mean, grey levels": _number(moments.mean * GREY),
            "std, grey levels": _number(moments.std * GREY),
            "skewness": _number(moments.skewness),
            "excess kurtosis": _number(moments.excess_kurtosis),
        }


@dataclass
class Measured:
    """Everything about one row of an evaluation of noise; picklable, and it merges.

    Args:
        names: Of the block values.
        conventions: Of the pooled KLD.
        declared: What each metric says of itself.
    """

    names: tuple[str, ...]
    conventions: tuple[KldConvention, ...]
    declared: Mapping[str, Any] = field(default_factory=dict)
    scores: GroupSums[Scores] = field(init=False)
    made: dict[Cell, NoiseSums] = field(default_factory=dict)
    real: dict[Cell, NoiseSums] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scores = GroupSums(_Empty(self.names))

    def merge(self, other: Measured) -> None:
        """Add the blocks of another."""
        self.scores.merge(other.scores)
        for mine, theirs in ((self.made, other.made), (self.real, other.real)):
            for cell, sums in theirs.items():
                mine.setdefault(cell, NoiseSums(self.conventions)).merge(sums)

    def noise(self, side: str) -> GroupSums[NoiseSums]:
        """Return the sums of one side, ``made`` or ``real``, by cell."""
        return GroupSums(lambda: NoiseSums(self.conventions), dict(getattr(self, side)))


@dataclass(frozen=True)
class _Empty:
    """Makes empty scores; a class, because a lambda does not travel to workers."""

    names: tuple[str, ...]

    def __call__(self) -> Scores:
        return Scores(self.names)


@dataclass(frozen=True)
class NoiseMeasure:
    """Measures blocks by a manifest's conventions.

    Args:
        metrics: The manifest's part.
        nll: Whether the generator has a density.
    """

    metrics: EvaluationMetrics
    nll: bool = False

    @property
    def conventions(self) -> tuple[KldConvention, ...]:
        """The KLD's conventions."""
        return tuple(KldConvention(name) for name in self.metrics.kld)

    @cached_property
    def distances(self) -> tuple[NoiseMetric, ...]:
        """What a block's noise is held against its real noise by."""
        return noise_metrics(self.metrics)

    @property
    def density(self) -> NllMetric:
        """The likelihood's metric."""
        return NllMetric(self.metrics.nll)

    @property
    def declared(self) -> dict[str, Any]:
        """What each metric says of itself, by title, as JSON values."""
        density = [self.density] if self.nll else []
        return {metric.title: metric.to_dict() for metric in (*self.distances, *density)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the block values."""
        sides = [
            f"{side}{value}"
            for side in ("", "real ")
            for value in ("correlation right", "correlation down", "std")
        ]
        return (*self.declared, *sides, LIKENESS, OFFSET)

    def empty(self) -> Measured:
        """Return sums without blocks."""
        return Measured(self.names, self.conventions, self.declared)

    def add(
        self,
        sums: Measured,
        cell: Cell,
        *,
        clean: Floats,
        fakes: Sequence[Floats],
        real: Floats | None,
        real_clean: Floats | None = None,
        nll: float = float("nan"),
    ) -> None:
        """Measure one block and add it.

        Args:
            sums: Where it is added.
            cell: What the block is of.
            clean: ``(H, W, C)`` in [0, 1], that the generated noise was put on.
            fakes: Generated noises in white levels, same shape; the first is measured by itself,
                all of them by AKLD.
            real: Real noise of the block, same shape, if there is any.
            real_clean: The clean image of the real noise; ``clean`` if absent.
            nll: Of the real noise under the generator, nats a dimension.
        """
        score = score_noise(fakes, real=real, clean=clean, metrics=self.distances, reach=REACH)
        values = {name: float("nan") for name in self.names}
        values |= _side("", score.fake)
        sound = True
        if real is not None and score.real is not None:
            values |= {**_side("real ", score.real), **score.distances, OFFSET: score.real.offset}
            values[LIKENESS] = likeness(real, fakes[0])
            sound = is_sound(score.real.offset, self.metrics.sound_offset)
            if sound:
                self._sums(sums.real, cell).update(
                    real,
                    clean if real_clean is None else real_clean,
                    real=True,
                    correlation=score.real.correlation,
                )
        if self.nll:
            values[self.density.title] = nll
        sums.scores.at(cell).update(values)
        if sound:
            self._sums(sums.made, cell).update(
                fakes[0], clean, real=False, correlation=score.fake.correlation
            )

    def add_real(self, sums: Measured, cell: Cell, *, clean: Floats, real: Floats) -> bool:
        """Add a block of real noise without a generated one; return True if it is sound."""
        level = NoiseLevel.of(real, reach=REACH)
        sound = is_sound(level.offset, self.metrics.sound_offset)
        if sound:
            self._sums(sums.real, cell).update(
                real, clean, real=True, correlation=level.correlation
            )
        return sound

    def _sums(self, side: dict[Cell, NoiseSums], cell: Cell) -> NoiseSums:
        """Return the sums of a cell's camera and ISO; images are not told apart, for memory."""
        return side.setdefault(cell._replace(image=None), NoiseSums(self.conventions))


def pooled_distances(real: NoiseSums, made: NoiseSums) -> dict[str, float | None]:
    """Return how far generated noise as a whole is from real noise as a whole.

    Args:
        real: Sums over real blocks.
        made: Sums over generated blocks; of the same blocks or of others.

    Returns:
        Name with convention to value; ``None`` where a side is empty.
    """
    if not real.blocks or not made.blocks:
        return {}
    found: dict[str, float | None] = {}
    for name, histogram in made.histograms.items():
        both = PooledKld(name)
        both.merge(histogram)
        both.merge(real.histograms[name])
        found[f"kld ({name}, pooled)"] = _number(both.result())
    reach = made.correlation.reach
    found[f"correlation distance (rms, reach {reach})"] = _number(
        map_distance(real.correlation.result(), made.correlation.result())
    )
    found["spectrum distance (rms dB)"] = _number(
        spectrum_distance(real.spectrum.result(), made.spectrum.result())
    )
    return found


def _side(prefix: str, level: NoiseLevel) -> Mapping[str, float]:
    return {
        f"{prefix}correlation right": level.right,
        f"{prefix}correlation down": level.down,
        f"{prefix}std": level.std,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _listed(values: Array) -> Any:
    """Return nested lists of numbers, ``None`` for what is none."""
    if values.ndim > 1:
        return [_listed(row) for row in values]
    return [_number(round(float(value), 10)) for value in values]
