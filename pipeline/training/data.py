"""Training images in memory, and the batch of every step as a function of (seed, step).

A store is one HDF5 file (written by :mod:`pipeline.training.store`), so a machine without
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
from typing import Any, Literal, Protocol

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.seeds import batch_rng
from generators.shots import ShotBatch
from generators.training import DataUse, TrainingBatch

__all__ = [
    "Augmentation",
    "Batches",
    "Pixels",
    "StoreBatches",
    "TrainingImage",
    "TrainingStore",
    "allowed_places",
    "draw_batch",
    "turned",
    "views",
]

Augmentation = Literal["none", "flips", "flips-and-rotations"]
Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
GRID = 8
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
    def shots(self) -> tuple[tuple[str, int], ...]:
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
class TrainingImage:
    """What a training knows of one scene; at least one image, all of one shape and type.

    Args:
        clean: ``(H, W, C)`` uint8, uint16 (white at the type's largest value) or float32 (white at
            1); ``None`` where there is none.
        noisy: Likewise.
        second: The same scene with independent noise.
        camera: Camera name; empty where unknown.
        iso: ISO speed; 0 where unknown.
        scene: Scene name.
        license: Licence of the images; empty where unknown.

    Raises:
        ValueError: If there is no image, or shapes or types differ.
    """

    clean: Pixels | None = None
    noisy: Pixels | None = None
    second: Pixels | None = None
    camera: str
    iso: int
    scene: str
    license: str = ""

    def __post_init__(self) -> None:
        kinds = {(pixels.shape, pixels.dtype.name) for pixels in self.images().values()}
        if len(kinds) != 1:
            found = ", ".join(f"{shape} {dtype}" for shape, dtype in sorted(kinds)) or "none"
            raise ValueError(
                f"{self.scene}: the images of a scene must have one shape and type; found {found}."
            )

    def images(self) -> dict[str, Pixels]:
        """Return the images there are, by name."""
        named = {"clean": self.clean, "noisy": self.noisy, "second": self.second}
        return {name: pixels for name, pixels in named.items() if pixels is not None}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = next(iter(self.images().values())).shape
        return height, width, channels


class TrainingStore:
    """Scenes held in memory with the places where crops may start.

    Args:
        images: The scenes; at least one.
        patch: Side of a crop, pixels (of the packed image, for raw).
        max_offset: Largest local |mean(noisy - clean)|, grey levels of 255; ``None`` for any.
            Scenes without a clean or a noisy image have no offset.
        window: Side of the window over which the offset is measured, pixels.
        remove_offset: Subtract each crop's offset, channel by channel, from its noisy image.

    Raises:
        ValueError: If no scene has an allowed place, or their numbers of channels differ.
    """

    def __init__(
        self,
        images: Sequence[TrainingImage],
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
                f"none of the {len(images)} scenes has a {patch}x{patch} crop within the offset "
                f"limit of {max_offset} grey levels; raise max_offset or check the pairs with the "
                "audit."
            )
        if len(kinds := {image.shape[2] for image, _, _ in kept}) > 1:
            raise ValueError(
                f"the scenes have {' and '.join(map(str, sorted(kinds)))} channels; train on one "
                "kind of image."
            )
        self.images = [image for image, _, _ in kept]
        self.places = [places for _, places, _ in kept]
        self.offsets = [offsets if remove_offset else 0 * offsets for _, _, offsets in kept]
        self.dropped = [i.scene for i, w in zip(images, found, strict=True) if not len(w[0])]
        self.shots = sorted({(image.camera, image.iso) for image in self.images})
        self.labels = [self.shots.index((image.camera, image.iso)) for image in self.images]
        possible = sum(len(_grid(image, patch)) for image in images)
        self.kept_fraction = sum(len(places) for places in self.places) / max(possible, 1)

    @property
    def licenses(self) -> dict[str, list[str]]:
        """Licence to the scenes that stand under it, both sorted; those unknown are left out."""
        found: dict[str, set[str]] = {}
        for image in self.images:
            if image.license:
                found.setdefault(image.license, set()).add(image.scene)
        return {name: sorted(scenes) for name, scenes in sorted(found.items())}

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        patch: int,
        max_offset: float | None,
        window: int,
        remove_offset: bool = False,
    ) -> TrainingStore:
        """Read a store file: HDF5 with one group a pair; the rest as in the constructor."""
        with h5py.File(path, "r") as file:
            images = [
                TrainingImage(
                    **{name: group[name][...] for name in group},
                    camera=str(group.attrs["camera"]),
                    iso=int(group.attrs["iso"]),
                    scene=str(group.attrs["scene"]),
                    license=str(group.attrs.get("license", "")),
                )
                for _, group in sorted(file.items())
            ]
        return cls(
            images, patch=patch, max_offset=max_offset, window=window, remove_offset=remove_offset
        )


def allowed_places(
    image: TrainingImage, *, patch: int, max_offset: float | None, window: int
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
    channels = image.shape[2]
    if not len(places) or image.clean is None or image.noisy is None:
        return places, np.zeros((len(places), channels), np.float32)
    noisy, clean = _grey_levels(image.noisy), _grey_levels(image.clean)
    offsets = np.stack(
        [
            _window_means(noisy[..., c] - clean[..., c], places, patch, window)
            for c in range(channels)
        ],
        axis=1,
    )
    if max_offset is None:
        return places, offsets
    steady: NDArray[np.bool_] = np.abs(offsets.mean(axis=1)) <= max_offset
    return places[steady], offsets[steady]


def _grey_levels(pixels: Pixels) -> NDArray[np.int64] | NDArray[np.float64]:
    """Return pixels in units of 1/255 of white, whole numbers where they are."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.int64)
    return pixels.astype(np.float64) * (255.0 / _white(pixels))


def _white(pixels: Pixels) -> float:
    return {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[pixels.dtype.name]


def _window_means(
    plane: NDArray[np.int64] | NDArray[np.float64],
    places: NDArray[np.int32],
    patch: int,
    window: int,
) -> NDArray[np.float32]:
    """Return the mean over the window around each place, one channel."""
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
    def shots(self) -> tuple[tuple[str, int], ...]:
        """Every (camera, ISO) of the scenes, sorted; none where they are unknown."""
        return tuple(shot for shot in self.store.shots if shot != ("", 0))

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
        image, places = store.images[index], store.places[index]
        place = int(rng.integers(len(places)))
        y, x = places[place] + rng.integers(GRID, size=2)
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
    stacked = {name: _stack(crops[name]) for name in names}
    if "clean" in stacked and "noisy" in stacked:
        drift = torch.from_numpy(np.stack(offsets))[:, :, None, None] / 255.0
        stacked["noisy"] = stacked["noisy"] - drift
    shots = ShotBatch(
        camera=tuple(store.images[row].camera or None for row in rows),
        iso=tuple(store.images[row].iso or None for row in rows),
    )
    labels = torch.tensor([store.labels[row] for row in rows])
    return TrainingBatch(shots=shots, labels=labels, **stacked)


def _grid(image: TrainingImage, patch: int) -> NDArray[np.int32]:
    height, width, _ = image.shape
    rows = np.arange(0, height - patch + 1, GRID, dtype=np.int32)
    columns = np.arange(0, width - patch + 1, GRID, dtype=np.int32)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


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


def _stack(patches: list[Pixels]) -> Tensor:
    rows = np.ascontiguousarray(np.stack(patches).transpose(0, 3, 1, 2))
    white = _white(rows)
    return torch.from_numpy(rows.astype(np.float32, copy=False)) / white
