"""Training images in memory, and the file that carries them to another machine.

A store file is HDF5, so a machine without OpenCV or Ray can train from it. Places whose local
brightness offset is too large are left out (:mod:`pipeline.training.data.crop_positions`).

A pair may also drift smoothly: lamps flicker, and a rolling shutter turns that into bands of
brightness. Subtracting each crop's local offset keeps such pairs (``remove_offset``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

from pipeline.storage import whole_file
from pipeline.training.data.crop_positions import allowed_positions, grid_positions
from pipeline.training.data.training_image import TrainingImage

__all__ = ["TrainingStore", "write_store"]


class TrainingStore:
    """Scenes held in memory with the positions where crops may start.

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
            allowed_positions(image, patch=patch, max_offset=max_offset, window=window)
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
        self.positions = [positions for _, positions, _ in kept]
        self.offsets = [offsets if remove_offset else 0 * offsets for _, _, offsets in kept]
        self.dropped = [i.scene for i, w in zip(images, found, strict=True) if not len(w[0])]
        self.captures = sorted({(image.camera, image.iso) for image in self.images})
        self.labels = [self.captures.index((image.camera, image.iso)) for image in self.images]
        possible = sum(len(grid_positions(image, patch)) for image in images)
        self.kept_fraction = sum(len(positions) for positions in self.positions) / max(possible, 1)

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


def write_store(path: Path, images: Sequence[TrainingImage]) -> None:
    """Write scenes into a store file, replacing a former one in one step.

    Args:
        path: Final name, ``.h5``.
        images: The scenes.
    """
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        for number, image in enumerate(images):
            group = file.create_group(f"{number:06d}")
            for name, pixels in image.images().items():
                group[name] = pixels
            group.attrs["camera"], group.attrs["iso"] = image.camera, image.iso
            group.attrs["scene"], group.attrs["license"] = image.scene, image.license
