"""From scores to a ranking: means, bootstrap intervals, paired gaps.

A row's scores form a table, one line a seed and one column a test place. Places of one scene share
its subject, its light and its sensor, so they are no independent draws: the bootstrap resamples
whole *scenes* (and seeds), not places. With fewer than three scenes there is nothing to resample
but places, and the result says so. Two rows are compared on the same resample, which takes out how
hard the scenes are: the interval of a gap is much narrower than the intervals of the two means.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.seeds import patch_seed, stream_rng

__all__ = ["Interval", "Resampling", "Scores"]

Scores = NDArray[np.float64]
"""``(seeds, places)`` of one row."""
LEVEL = 0.95
FEWEST_SCENES = 3


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @property
    def contains_zero(self) -> bool:
        """Whether 0 lies in the interval."""
        return self.low <= 0.0 <= self.high


class Resampling:
    """Resamples of the test places, the same for every row.

    Args:
        scenes: Scene of each place.
        draws: How many resamples.
        seed: They follow from it.

    Raises:
        ValueError: If there is no place.
    """

    def __init__(self, scenes: Sequence[str], *, draws: int, seed: int) -> None:
        if not scenes:
            raise ValueError("no test place is left; test on other photographs.")
        names = sorted(set(scenes))
        self.by_scene = len(names) >= FEWEST_SCENES
        if self.by_scene:
            self._cluster = np.array([names.index(scene) for scene in scenes])
        else:
            self._cluster = np.arange(len(scenes))
        self.clusters = int(self._cluster.max()) + 1
        rng = stream_rng(patch_seed(seed, "bootstrap"), "scenes")
        equal = np.full(self.clusters, 1.0 / self.clusters)
        self._weights = rng.multinomial(self.clusters, equal, size=draws).astype(np.float64)
        self._places = self._weights @ np.bincount(self._cluster).astype(np.float64)
        self._seed, self._draws = seed, draws

    def mean(self, scores: Scores, row: str) -> Interval:
        """Return the mean of a row over seeds and places.

        Args:
            scores: ``(seeds, places)``.
            row: Name of the row; its seeds are resampled by a stream of its own.
        """
        return self._interval(scores, self._means(scores, row))

    def gap(self, scores: Scores, row: str, other: Scores, other_row: str) -> Interval:
        """Return mean(scores) - mean(other), on the same places in each resample."""
        drawn = self._means(scores, row) - self._means(other, other_row)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(scores.mean() - other.mean()), float(low), float(high))

    def _interval(self, scores: Scores, drawn: NDArray[np.float64]) -> Interval:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(scores.mean()), float(low), float(high))

    def _means(self, scores: Scores, row: str) -> NDArray[np.float64]:
        """Return the mean of each resample, ``(draws,)``."""
        seeds = len(scores)
        sums = np.stack(
            [np.bincount(self._cluster, weights=line, minlength=self.clusters) for line in scores]
        )
        rng = stream_rng(patch_seed(self._seed, "bootstrap"), f"seeds {row}")
        chosen = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=self._draws) / seeds
        found: NDArray[np.float64] = (
            np.einsum("ds,sc,dc->d", chosen, sums, self._weights) / self._places
        )
        return found
