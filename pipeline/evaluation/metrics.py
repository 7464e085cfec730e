"""Which metrics an evaluation takes, and what its tables know of each.

The manifest names conventions of the metrics that have some, and others under ``metrics.also``:
those of :data:`~pipeline.kinds.METRICS`, another distribution's among them. A row keeps what each
of its metrics says of itself, so its tables can be made where that distribution is not installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.kinds import METRICS
from pipeline.manifest.evaluation import EvaluationMetrics
from pipeline.measure.metrics import (
    QUALITY_CONVENTIONS,
    AkldMetric,
    KldMetric,
    Metric,
    NoiseMetric,
    PictureMetric,
    PsnrMetric,
    QualityConvention,
    SsimMetric,
)

__all__ = ["Shown", "noise_metrics", "picture_metrics", "shown"]


@dataclass(frozen=True, slots=True)
class Shown:
    """How tables show a measure; the defaults are those of a measure that is no metric.

    Args:
        name: Of the metric; empty for another measure.
        better: ``lower`` or ``higher``.
        digits: Decimals.
        skewed: Whether the median stands beside the mean.
    """

    name: str = ""
    better: str = "lower"
    digits: int = 2
    skewed: bool = False


def noise_metrics(metrics: EvaluationMetrics) -> tuple[NoiseMetric, ...]:
    """Return what noise is held against real noise by.

    Raises:
        ValueError: If another metric is unknown, or compares something else.
    """
    others = [other for other in _others(metrics, NoiseMetric) if isinstance(other, NoiseMetric)]
    return (*map(KldMetric, metrics.kld), AkldMetric(metrics.akld_samples), *others)


def picture_metrics(metrics: EvaluationMetrics) -> tuple[PictureMetric, ...]:
    """Return what denoised pictures are held against clean ones by; errors as `noise_metrics`."""
    others = [one for one in _others(metrics, PictureMetric) if isinstance(one, PictureMetric)]
    with_ssim = [n for n in metrics.quality if QUALITY_CONVENTIONS[QualityConvention(n)].window]
    return (*map(PsnrMetric, metrics.quality), *map(SsimMetric, with_ssim), *others)


def shown(figures: Iterable[Mapping[str, Any]], title: str) -> Shown:
    """Return how to show a measure.

    Args:
        figures: Of the rows; those of earlier versions say nothing of their metrics.
        title: The measure, with its convention.
    """
    told = (of_row.get("metrics", {}).get(title) for of_row in figures)
    kept = next((one for one in told if one is not None), None)
    if kept is None:
        name = title.partition(" (")[0]
        if name not in METRICS.built_in:
            return Shown()
        kept = METRICS.load(name)().to_dict()
    return Shown(**{key: kept[key] for key in ("name", "better", "digits", "skewed")})


def _others(metrics: EvaluationMetrics, kind: type[Metric]) -> list[Metric]:
    made = []
    for name in metrics.also:
        metric = METRICS.load(name)()
        if not isinstance(metric, kind):
            compares = getattr(metric, "compares", "nothing")
            fitting = "noise" if kind is NoiseMetric else "pictures"
            raise ValueError(
                f"metrics.also: '{name}' of {METRICS.owner(name)} compares {compares}, and this "
                f"evaluation compares {fitting}; leave it out."
            )
        made.append(metric)
    return made
