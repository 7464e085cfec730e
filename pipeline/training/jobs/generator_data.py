"""From a training manifest's sources to the batches it trains on."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

import generators
from generators.base import Domain
from generators.training import DataUse
from generators.weights_file import find
from pipeline.manifest.models import Device as DeviceSpec
from pipeline.manifest.models import Splits, TrainingData
from pipeline.pixels import Color, Pixels, quantise, to_color, to_unit
from pipeline.records import ImageRecord, View
from pipeline.sources import Scan, scan_for_training
from pipeline.sources.views import load_training_views
from pipeline.training.data.batches import Batches, StoreBatches, views
from pipeline.training.data.simulated import Device, SimulatedBatches
from pipeline.training.data.store import TrainingStore
from pipeline.training.data.training_image import TrainingImage

__all__ = ["Color", "check_held_out", "load_images", "make_batches", "pair_records"]


def make_batches(
    data: TrainingData,
    *,
    use: DataUse,
    domain: Domain | None,
    size: int,
    seed: int,
    color: Color = "rgb",
    conditioned: bool = True,
    scanned: Scan | None = None,
) -> tuple[Batches, TrainingStore]:
    """Read a manifest's sources and return its batches, and the store they are cut from.

    Args:
        data: The manifest's part.
        use: Which images of a scene the training may see.
        domain: Of the images; ``None`` for whatever they are, if it is one.
        size: Rows of a batch.
        seed: The training's seed.
        color: Of sRGB images; simulated devices shoot colour.
        conditioned: Whether the camera and ISO of each real photograph must be known.
        scanned: What the sources hold, where the caller has scanned them.

    Raises:
        ValueError: If the sources lack what the use needs, or give images of another domain.
    """
    store = TrainingStore(
        load_images(
            data,
            "clean" if data.simulate else use,
            domain,
            color="rgb" if data.simulate else color,
            conditioned=conditioned,
            scanned=scanned,
        ),
        patch=data.patch,
        max_offset=data.max_offset,
        window=data.offset_window,
        remove_offset=data.remove_offset,
    )
    if not data.simulate:
        batches = StoreBatches(
            store=store, size=size, seed=seed, augmentation=data.augmentation, use=use
        )
        return batches, store
    simulated = SimulatedBatches(
        store,
        [_device(spec) for spec in data.simulate],
        size=size,
        seed=seed,
        augmentation=data.augmentation,
        use=use,
    )
    if domain not in (None, simulated.domain):
        raise ValueError(
            f"the simulated devices give {simulated.domain} images and this model is trained on "
            f"{domain} ones; set `output: {domain}` in the camera's params or choose other devices."
        )
    return simulated, store


def load_images(
    data: TrainingData,
    use: DataUse,
    domain: Domain | None,
    *,
    color: Color = "rgb",
    conditioned: bool = True,
    scanned: Scan | None = None,
) -> list[TrainingImage]:
    """Read the images of a manifest's sources into memory.

    Args:
        data: The manifest's part.
        use: Which images of a scene are kept.
        domain: Of the training's images, ``None`` for that of the first; simulated devices always
            photograph sRGB images.
        color: Of sRGB images; others are converted.
        conditioned: Whether the camera and ISO of each real photograph must be known.
        scanned: What the sources hold, where the caller has scanned them.

    Raises:
        ValueError: If a scene lacks its camera or ISO where a model is conditioned on them, the
            images are of another domain, or there are none.
    """
    found = scanned or scan_for_training(data.sources, Splits())
    for reject in found.rejects:
        print(f"noisemill: refused {reject.uri}: {reject.detail}", file=sys.stderr)
    needed = views(use)
    records = [record for record in found.records if _offers(record, needed)]
    if not records:
        what, advice = {
            "pairs": ("clean/noisy pairs", "use `type: pairs`, or `simulate` devices"),
            "noisy-pairs": (
                "noisy/noisy pairs",
                "use `type: noisy-pairs`, bursts (`type: sidd`, layout full) or `simulate` devices",
            ),
            "single-noisy": ("noisy images", "use any kind of pairs, or `simulate` devices"),
            "clean": ("clean images", "check the path and the pattern"),
        }[use]
        raise ValueError(f"the training's sources hold no {what}; {advice}.")
    wanted = "srgb" if data.simulate else (domain or records[0].domain)
    capture = conditioned and not data.simulate and use != "clean"
    return [_image(record, needed, wanted, color=color, capture=capture) for record in records]


def pair_records(scanned: Scan) -> list[ImageRecord]:
    """Return the records of a scan that are clean/noisy pairs."""
    return [record for record in scanned.records if _offers(record, ("clean", "noisy"))]


def check_held_out(training: TrainingStore, validation: TrainingStore) -> None:
    """Refuse validation on images that the training has seen, found by their content.

    Raises:
        ValueError: If an image is in both.
    """

    def names(store: TrainingStore) -> dict[bytes, str]:
        return {
            hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).digest(): (
                image.scene
            )
            for image in store.images
            for pixels in image.images().values()
        }

    seen = names(training)
    both = sorted({scene for content, scene in names(validation).items() if content in seen})
    if both:
        raise ValueError(
            f"validation: {', '.join(both)} is also trained on, so its figures would mean nothing; "
            "keep its images out of `data` (`only: [train]`, or other files)."
        )


def _offers(record: ImageRecord, needed: tuple[View, ...]) -> bool:
    return set(needed) <= set(record.views())


def _image(
    record: ImageRecord, needed: tuple[View, ...], wanted: str, *, color: Color, capture: bool
) -> TrainingImage:
    """Read one scene; ``capture`` says whether its camera and ISO must be known."""
    if record.domain != wanted:
        raise ValueError(
            f"{record.uri} is a {record.domain} image and this training needs {wanted} ones; "
            "choose other sources or another model."
        )
    if capture and (record.camera is None or record.iso is None):
        raise ValueError(
            f"{record.uri}: training needs the camera and the ISO of each pair; add columns camera "
            "and iso to the metadata, or give them with the source."
        )
    found = load_training_views(record, needed)
    images = {name: _stored(pixels, color) for name, pixels in found.items()}
    return TrainingImage(
        camera=record.camera or "",
        iso=record.iso or 0,
        scene=record.scene,
        license=record.license,
        **images,
    )


def _stored(pixels: NDArray[Any], color: Color) -> Pixels:
    """Return sRGB in 8 bits, which an eighth of the memory holds; raw as it is."""
    if pixels.dtype == np.float32 and pixels.shape[2] == 4:
        return pixels
    stored: Pixels = quantise(to_unit(to_color(pixels, color)), "uint8")
    return stored


def _device(spec: DeviceSpec) -> Device:
    weights = None if spec.weights is None else find(spec.weights)
    generator = generators.create(spec.generator, params=spec.params, weights=weights)
    if generator.accepts != "srgb":
        raise ValueError(
            f"simulate: generator '{spec.generator}' takes {generator.accepts} images, and devices "
            "shoot sRGB photographs; use 'camera' or another sRGB generator."
        )
    if "reference" in generator.needs:
        raise ValueError(
            f"simulate: generator '{spec.generator}' needs a noisy reference, which clean "
            "photographs lack; use 'camera', or sample by camera and ISO."
        )
    return Device(camera=spec.camera, isos=tuple(spec.isos), generator=generator)
