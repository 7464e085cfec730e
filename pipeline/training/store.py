"""Writing a store of training images: one HDF5 file that any machine can train from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py

from pipeline.training.data import TrainingImage

__all__ = ["write_store"]


def write_store(path: Path, images: Sequence[TrainingImage]) -> None:
    """Write scenes into a store file, replacing a former one in one step.

    Args:
        path: Final name, ``.h5``.
        images: The scenes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with h5py.File(temporary, "w") as file:
        for number, image in enumerate(images):
            group = file.create_group(f"{number:06d}")
            for name, pixels in image.images().items():
                group[name] = pixels
            group.attrs["camera"], group.attrs["iso"] = image.camera, image.iso
            group.attrs["scene"], group.attrs["license"] = image.scene, image.license
    os.replace(temporary, path)
