"""The batch of every step, as a function of (seed, step).

Crops are drawn uniformly over photographs and over the positions a photograph allows. Because the
batch of a step follows from the step's number alone, resuming needs no reader state: the data
position *is* the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from generators.capture import CaptureMetadata
from generators.seeds import batch_rng
from generators.training import DataUse, TrainingBatch
from pipeline.pixels import Pixels, to_unit_nchw
from pipeline.training.data.crop_positions import GRID
from pipeline.training.data.store import TrainingStore

__all__ = ["Augmentation", "Batches", "StoreBatches", "draw_batch", "turned", "views"]

Augmentation = Literal["none", "flips", "flips-and-rotations"]
View = Literal["clean", "noisy", "second"]
_VIEWS: dict[DataUse, tuple[View, ...]] = {
    "pairs": ("clean", "noisy"),
    "noisy-pairs": ("noisy", "second"),
    "single-noisy": ("noisy",),
    "clean": ("clean",),
}


def views(use: DataUse) -> tuple[View, ...]:
    """Return which images of a row a use of the data may see."""
    return _VIEWS[use]


class Batches(Protocol):
    """Where training batches come from."""

    @property
    def captures(self) -> tuple[tuple[str, int], ...]:
        """Every (camera, ISO), sorted; labels index it; empty where neither is known."""
        ...

    @property
    def channels(self) -> int:
        """Channels of the images."""
        ...

    def batch(self, step: int) -> TrainingBatch:
        """Return the batch of a step; equal numbers give equal batches."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBatches:
    """Batches drawn from a store.

    Args:
        store: The scenes.
        size: B.
        seed: The training's seed.
        augmentation: How crops are turned.
        use: Which images of a scene the batches carry.
    """

    store: TrainingStore
    size: int
    seed: int
    augmentation: Augmentation
    use: DataUse

    @property
    def captures(self) -> tuple[tuple[str, int], ...]:
        """Every (camera, ISO) of the scenes, sorted; none where they are unknown."""
        return tuple(capture for capture in self.store.captures if capture != ("", 0))

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.store.images[0].shape[2]

    def batch(self, step: int) -> TrainingBatch:
        """Return the batch of a step."""
        return draw_batch(
            self.store,
            size=self.size,
            seed=self.seed,
            step=step,
            augmentation=self.augmentation,
            use=self.use,
        )


def draw_batch(
    store: TrainingStore,
    *,
    size: int,
    seed: int,
    step: int,
    augmentation: Augmentation,
    use: DataUse = "pairs",
) -> TrainingBatch:
    """Draw the batch of one step.

    Args:
        store: The scenes.
        size: B.
        seed: The training's seed.
        step: Number of the step; equal numbers give equal batches.
        augmentation: How crops are turned.
        use: Which images of a scene the batch carries.

    Raises:
        ValueError: If a scene lacks one of these images.
    """
    rng = batch_rng(seed, step, "crops")
    names = views(use)
    crops: dict[str, list[Pixels]] = {name: [] for name in names}
    rows, offsets = [], []
    for _ in range(size):
        index = int(rng.integers(len(store.images)))
        image, positions = store.images[index], store.positions[index]
        place = int(rng.integers(len(positions)))
        y, x = positions[place] + rng.integers(GRID, size=2)
        height, width, _ = image.shape
        y, x = min(int(y), height - store.patch), min(int(x), width - store.patch)
        turn = rng.integers(2, size=3)
        there = image.images()
        for name in names:
            if name not in there:
                raise ValueError(
                    f"{image.scene} has no {name} image, which training on {use} needs; give "
                    "sources that have it."
                )
            crop = there[name][y : y + store.patch, x : x + store.patch]
            crops[name].append(turned(crop, turn, augmentation))
        rows.append(index)
        offsets.append(store.offsets[index][place])
    stacked = {name: to_unit_nchw(np.stack(crops[name])) for name in names}
    if "clean" in stacked and "noisy" in stacked:
        drift = torch.from_numpy(np.stack(offsets))[:, :, None, None] / 255.0
        stacked["noisy"] = stacked["noisy"] - drift
    capture = CaptureMetadata(
        camera=tuple(store.images[row].camera or None for row in rows),
        iso=tuple(store.images[row].iso or None for row in rows),
    )
    labels = torch.tensor([store.labels[row] for row in rows])
    return TrainingBatch(capture=capture, labels=labels, **stacked)


def turned(patch: NDArray[Any], turn: NDArray[np.int64], how: Augmentation) -> NDArray[Any]:
    """Return an ``(H, W, C)`` crop turned by three zeros or ones, as far as allowed."""
    if how == "none":
        return patch
    if turn[0]:
        patch = patch[::-1]
    if turn[1]:
        patch = patch[:, ::-1]
    if turn[2] and how == "flips-and-rotations":
        patch = patch.swapaxes(0, 1)
    return patch
