"""The pixels of a record for training: whichever of clean, noisy and second image it has."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.audit.scenes import check_same_scene
from pipeline.images import display, read_pixels
from pipeline.pixels import Pixels
from pipeline.records import ImageRecord, View

__all__ = ["load_training_views"]


def load_training_views(
    record: ImageRecord, wanted: Collection[View] = ("clean", "noisy", "second")
) -> dict[View, Pixels]:
    """Read the images of a record.

    Args:
        record: From :func:`pipeline.sources.scan_for_training`.
        wanted: Which images to read; what the training may not see need not be read.

    Returns:
        ``(H, W, C)`` arrays as stored, read-only: uint8, uint16 or float32; packed raw is float32
        with black at 0 and white at 1. Images that the record does not have are left out.

    Raises:
        ImageError: If an image cannot be read; the message names it.
        ValueError: If two noisy images show different scenes.
    """
    found = {view: read_pixels(uri) for view, (uri, _) in record.views().items() if view in wanted}
    if "noisy" in found and "second" in found:
        names = record.views()
        check_same_scene(
            found["noisy"],
            found["second"],
            names=(display(names["noisy"][0]), display(names["second"][0])),
        )
    return found
