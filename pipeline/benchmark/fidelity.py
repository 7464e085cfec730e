"""How near a candidate's noise is to the real noise of the same test places."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.benchmark.patches import Place
from pipeline.corpus.columns import white_level
from pipeline.measure.metrics.akld import akld
from pipeline.measure.metrics.base import Floats
from pipeline.measure.metrics.correlation import lag1_correlation
from pipeline.measure.metrics.kld import KldConvention, kld

__all__ = ["Fidelity", "measure_fidelity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Means over the test places.

    Args:
        kld: Histogram KLD, nats.
        kld_convention: How it was measured.
        akld: AKLD of one sample, nats.
        correlation: Of the noise with its right neighbour.
        correlation_error: Mean absolute difference of that from the real noise's.
        std: Standard deviation of the noise, grey levels of 255.
        real_std: The same of the real noise.
        places: How many.
    """

    kld: float
    kld_convention: str
    akld: float
    correlation: float
    correlation_error: float
    std: float
    real_std: float
    places: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def _correlation(noise: Floats) -> float:
    """Return the correlation with the right neighbour; 0 where a place has no noise at all."""
    found = lag1_correlation(noise)[0]
    return found if math.isfinite(found) else 0.0


def measure_fidelity(real: Sequence[Place], fake: Mapping[str, Place]) -> Fidelity:
    """Compare noise place by place, and return the means.

    Args:
        real: The test places.
        fake: A candidate's rows by the URI of the real row that each was made on.

    Raises:
        ValueError: If the candidate has noise for none of the places.
    """
    pairs = [(place, fake[place.uri]) for place in real if place.uri in fake]
    if not pairs:
        raise ValueError(
            "the candidate made noise for none of the test places; see rejected.jsonl."
        )
    convention = KldConvention.NOISE_FLOW if pairs[0][0].domain == "raw" else KldConvention.NAFLOW
    rows = []
    for place, other in pairs:
        own, noise = place.noise, other.noise
        clean = other.clean.astype(np.float64) / white_level(other.clean.dtype)
        own_correlation, correlation = _correlation(own), _correlation(noise)
        rows.append(
            (
                kld(own, noise, convention, clean=clean),
                akld(own, noise),
                correlation,
                abs(correlation - own_correlation),
                float(noise.std()) * 255.0,
                float(own.std()) * 255.0,
            )
        )
    means = np.mean(rows, axis=0)
    return Fidelity(
        kld=float(means[0]),
        kld_convention=str(convention),
        akld=float(means[1]),
        correlation=float(means[2]),
        correlation_error=float(means[3]),
        std=float(means[4]),
        real_std=float(means[5]),
        places=len(pairs),
    )
