"""How near a candidate's noise is to the real noise of the same test places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.benchmark.patches import PatchUnderTest
from pipeline.measure.metrics import AkldMetric, KldConvention, KldMetric
from pipeline.measure.noise_score import score_noise
from pipeline.pixels import to_unit64

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


def measure_fidelity(
    real: Sequence[PatchUnderTest], fake: Mapping[str, PatchUnderTest]
) -> Fidelity:
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
    kld, akld = KldMetric(convention), AkldMetric()
    scores = [
        score_noise(
            [other.noise],
            real=place.noise,
            clean=to_unit64(other.clean),
            metrics=[kld, akld],
        )
        for place, other in pairs
    ]
    reals = [score.real for score in scores if score.real is not None]
    return Fidelity(
        kld=_mean(score.distances[kld.title] for score in scores),
        kld_convention=str(convention),
        akld=_mean(score.distances[akld.title] for score in scores),
        # A place without any noise counts as uncorrelated.
        correlation=_mean(np.nan_to_num(score.fake.right) for score in scores),
        correlation_error=_mean(score.correlation_error for score in scores),
        std=_mean(score.fake.std for score in scores),
        real_std=_mean(real.std for real in reals),
        places=len(pairs),
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
