"""Pairs made on the spot, whose clean pixels tell their place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.training.data.store import TrainingStore
from pipeline.training.data.training_image import TrainingImage


def pair(
    height: int = 96, width: int = 128, *, seed: int = 0, camera: str = "S6", iso: int = 800
) -> TrainingImage:
    """Return a pair whose noise is 3 grey levels and whose clean pixels tell their place."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(60, 180, (height, width, 3), dtype=np.uint8)
    noise = rng.normal(0, 3, clean.shape).round()
    noisy = (clean + noise).clip(0, 255).astype(np.uint8)
    return TrainingImage(clean=clean, noisy=noisy, camera=camera, iso=iso, scene=f"scene-{seed}")


def brighter(image: TrainingImage, where: tuple[slice, slice], by: int) -> TrainingImage:
    """Return a pair whose noisy image is brighter somewhere, grey levels."""
    noisy = image.noisy.astype(int)
    noisy[where] += by
    return replace(image, noisy=noisy.clip(0, 255).astype(np.uint8))


def store(
    *images: TrainingImage, patch: int = 32, max_offset: float | None = None
) -> TrainingStore:
    """Return a store whose offsets are measured over the crop itself."""
    return TrainingStore(images, patch=patch, max_offset=max_offset, window=patch)
