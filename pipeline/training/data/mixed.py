"""Batches mixed row by row from several inputs, and the share of them that one process takes.

Row i of step s comes from the input that (seed, s, i) draws, and is that input's row i of step s.
So a batch may be made in parts, by as many processes as there are, and is the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from generators.base import Domain
from generators.capture import CaptureMetadata
from generators.seeds import batch_rng
from generators.training import TrainingBatch
from pipeline.training.data.batches import Batches
from pipeline.training.data.pair_rows import Rows

__all__ = ["BatchRows", "MixedBatches", "select_rows"]

_IMAGES = ("clean", "noisy", "second")


class BatchRows:
    """Rows of whole batches.

    Args:
        batches: The batches.
        domain: Of their images.
    """

    def __init__(self, batches: Batches, domain: Domain) -> None:
        self.domain = domain
        self._batches = batches

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self._batches.channels

    def rows(self, step: int, numbers: Sequence[int]) -> TrainingBatch:
        """Return some rows of a step's batch."""
        return select_rows([self._batches.batch(step)], [(0, number) for number in numbers])


class MixedBatches:
    """Batches of rows of several inputs.

    Args:
        inputs: The inputs; at least one.
        weights: Their shares of the rows, > 0.
        size: Rows of a whole batch, B.
        seed: The training's seed.
        share: Which of these rows this process takes.

    Raises:
        ValueError: If the inputs' images differ in domain or channels.
    """

    captures: tuple[tuple[str, int], ...] = ()

    def __init__(
        self,
        inputs: Sequence[Rows],
        weights: Sequence[float],
        *,
        size: int,
        seed: int,
        share: range,
    ) -> None:
        kinds = {(one.domain, one.channels) for one in inputs}
        if len(kinds) != 1:
            found = " and ".join(f"{domain} of {count} channels" for domain, count in sorted(kinds))
            raise ValueError(f"the inputs give {found}; mix inputs of one kind of image.")
        self._inputs, self._size, self._seed, self._share = list(inputs), size, seed, share
        self._shares = np.array(weights, np.float64) / sum(weights)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self._inputs[0].channels

    def batch(self, step: int) -> TrainingBatch:
        """Return this process's rows of a step's batch; equal numbers give equal rows."""
        if len(self._inputs) == 1:
            return self._inputs[0].rows(step, self._share)
        rng = batch_rng(self._seed, step, "inputs")
        drawn = rng.choice(len(self._inputs), size=self._size, p=self._shares)
        parts: list[TrainingBatch] = []
        places: dict[int, tuple[int, int]] = {}
        for number, one in enumerate(self._inputs):
            mine = [row for row in self._share if drawn[row] == number]
            if mine:
                places |= {row: (len(parts), k) for k, row in enumerate(mine)}
                parts.append(one.rows(step, mine))
        return select_rows(parts, [places[row] for row in self._share])


def select_rows(parts: Sequence[TrainingBatch], places: Sequence[tuple[int, int]]) -> TrainingBatch:
    """Return chosen rows of several batches as one batch.

    Args:
        parts: Batches that carry the same images.
        places: Part and row in it of each row.
    """
    images = {
        name: torch.stack([getattr(parts[part], name)[row] for part, row in places])
        for name in _IMAGES
        if getattr(parts[0], name) is not None
    }
    capture = CaptureMetadata(
        camera=tuple(parts[part].capture.camera[row] for part, row in places),
        iso=tuple(parts[part].capture.iso[row] for part, row in places),
    )
    labels = torch.stack([parts[part].labels[row] for part, row in places])
    return TrainingBatch(capture=capture, labels=labels, **images)
