"""Training pairs in memory, and the batch of every step as a function of (seed, step).

A store of pairs is one HDF5 file (written by :mod:`pipeline.training.store`), so a machine without
OpenCV or Ray can train from it. Crops are drawn uniformly over photographs and over the places a
photograph allows; places whose local brightness offset is too large are left out, since a pair that
drifts teaches drift, not noise.

A pair may also drift smoothly: lamps flicker, and a rolling shutter turns that into bands of
brightness. Subtracting each crop's local offset keeps such pairs (``remove_offset``).

Because the batch of a step follows from the step's number alone, resuming needs no reader state:
the data position *is* the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.seeds import batch_rng

__all__ = ["Augmentation", "Batch", "PairImage", "PairStore", "allowed_places", "draw_batch"]

Augmentation = Literal["none", "flips", "flips-and-rotations"]
GRID = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PairImage:
    """One clean/noisy pair.

    Args:
        clean: ``(H, W, C)`` uint8.
        noisy: Same shape and type.
        camera: Camera name.
        iso: ISO speed.
        scene: Scene name.
    """

    clean: NDArray[np.uint8]
    noisy: NDArray[np.uint8]
    camera: str
    iso: int
    scene: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One training batch.

    Args:
        clean: ``(B, C, H, W)`` float32 in [0, 1].
        noisy: Same shape.
        labels: ``(B,)`` int64 index of the pair's (camera, ISO) in :attr:`PairStore.shots`.
    """

    clean: Tensor
    noisy: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return Batch(
            clean=self.clean.to(device),
            noisy=self.noisy.to(device),
            labels=self.labels.to(device),
        )


class PairStore:
    """Pairs held in memory with the places where crops may start.

    Args:
        images: The pairs; at least one.
        patch: Side of a crop, pixels.
        max_offset: Largest local |mean(noisy - clean)|, grey levels of 255; ``None`` for any.
        window: Side of the window over which the offset is measured, pixels.
        remove_offset: Subtract each crop's offset, channel by channel, from its noisy image.

    Raises:
        ValueError: If no pair has an allowed place.
    """

    def __init__(
        self,
        images: Sequence[PairImage],
        *,
        patch: int,
        max_offset: float | None,
        window: int,
        remove_offset: bool = False,
    ) -> None:
        self.patch = patch
        found = [
            allowed_places(image, patch=patch, max_offset=max_offset, window=window)
            for image in images
        ]
        kept = [
            (image, *where) for image, where in zip(images, found, strict=True) if len(where[0])
        ]
        if not kept:
            raise ValueError(
                f"none of the {len(images)} pairs has a {patch}x{patch} crop within the offset "
                f"limit of {max_offset} grey levels; raise max_offset or check the pairs with the "
                "audit."
            )
        self.images = [image for image, _, _ in kept]
        self.places = [places for _, places, _ in kept]
        self.offsets = [offsets if remove_offset else 0 * offsets for _, _, offsets in kept]
        self.dropped = [i.scene for i, w in zip(images, found, strict=True) if not len(w[0])]
        self.shots = sorted({(image.camera, image.iso) for image in self.images})
        self.labels = [self.shots.index((image.camera, image.iso)) for image in self.images]
        possible = sum(len(_grid(image, patch)) for image in images)
        self.kept_fraction = sum(len(places) for places in self.places) / max(possible, 1)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        patch: int,
        max_offset: float | None,
        window: int,
        remove_offset: bool = False,
    ) -> PairStore:
        """Read a store file: HDF5 with one group a pair; the rest as in the constructor."""
        with h5py.File(path, "r") as file:
            images = [
                PairImage(
                    clean=group["clean"][...],
                    noisy=group["noisy"][...],
                    camera=str(group.attrs["camera"]),
                    iso=int(group.attrs["iso"]),
                    scene=str(group.attrs["scene"]),
                )
                for _, group in sorted(file.items())
            ]
        return cls(
            images, patch=patch, max_offset=max_offset, window=window, remove_offset=remove_offset
        )


def allowed_places(
    image: PairImage, *, patch: int, max_offset: float | None, window: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """List the crop positions whose surroundings keep their brightness.

    Args:
        image: The pair.
        patch: Side of a crop, pixels.
        max_offset: Largest |mean(noisy - clean)| over the window around the crop, grey levels.
        window: Side of that window, pixels; at least the patch.

    Returns:
        ``(N, 2)`` rows and columns on a grid of 8 pixels, and ``(N, C)`` offsets, grey levels.
    """
    places = _grid(image, patch)
    if not len(places):
        return places, np.zeros((0, image.clean.shape[2]), np.float32)
    offsets = np.stack(
        [
            _window_means(image.noisy[..., c], image.clean[..., c], places, patch, window)
            for c in range(image.clean.shape[2])
        ],
        axis=1,
    )
    if max_offset is None:
        return places, offsets
    steady: NDArray[np.bool_] = np.abs(offsets.mean(axis=1)) <= max_offset
    return places[steady], offsets[steady]


def _window_means(
    noisy: NDArray[np.uint8],
    clean: NDArray[np.uint8],
    places: NDArray[np.int32],
    patch: int,
    window: int,
) -> NDArray[np.float32]:
    """Return the mean of ``noisy - clean`` over the window around each place, one channel."""
    plane = noisy.astype(np.int64) - clean
    # Summed-area table: the mean over any window is four look-ups.
    table = np.pad(plane.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    height, width = plane.shape
    margin = max(0, window - patch) // 2
    top = np.clip(places[:, 0] - margin, 0, height)
    left = np.clip(places[:, 1] - margin, 0, width)
    bottom = np.clip(places[:, 0] + patch + margin, 0, height)
    right = np.clip(places[:, 1] + patch + margin, 0, width)
    total = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return np.asarray(total / ((bottom - top) * (right - left)), np.float32)


def draw_batch(
    store: PairStore, *, size: int, seed: int, step: int, augmentation: Augmentation
) -> Batch:
    """Draw the batch of one step.

    Args:
        store: The pairs.
        size: B.
        seed: The training's seed.
        step: Number of the step; equal numbers give equal batches.
        augmentation: How crops are turned.
    """
    rng = batch_rng(seed, step, "crops")
    clean, noisy, labels, offsets = [], [], [], []
    for _ in range(size):
        index = int(rng.integers(len(store.images)))
        image, places = store.images[index], store.places[index]
        place = int(rng.integers(len(places)))
        y, x = places[place] + rng.integers(GRID, size=2)
        y = min(int(y), image.clean.shape[0] - store.patch)
        x = min(int(x), image.clean.shape[1] - store.patch)
        turn = rng.integers(2, size=3)
        window = (slice(y, y + store.patch), slice(x, x + store.patch))
        clean.append(_turn(image.clean[window], turn, augmentation))
        noisy.append(_turn(image.noisy[window], turn, augmentation))
        labels.append(store.labels[index])
        offsets.append(store.offsets[index][place])
    drift = torch.from_numpy(np.stack(offsets))[:, :, None, None] / 255.0
    return Batch(clean=_stack(clean), noisy=_stack(noisy) - drift, labels=torch.tensor(labels))


def _grid(image: PairImage, patch: int) -> NDArray[np.int32]:
    height, width = image.clean.shape[:2]
    rows = np.arange(0, height - patch + 1, GRID, dtype=np.int32)
    columns = np.arange(0, width - patch + 1, GRID, dtype=np.int32)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _turn(
    patch: NDArray[np.uint8], turn: NDArray[np.int64], augmentation: Augmentation
) -> NDArray[np.uint8]:
    if augmentation == "none":
        return patch
    if turn[0]:
        patch = patch[::-1]
    if turn[1]:
        patch = patch[:, ::-1]
    if turn[2] and augmentation == "flips-and-rotations":
        patch = patch.swapaxes(0, 1)
    return patch


def _stack(patches: list[NDArray[np.uint8]]) -> Tensor:
    rows = np.ascontiguousarray(np.stack(patches).transpose(0, 3, 1, 2))
    return torch.from_numpy(rows).float() / 255.0
