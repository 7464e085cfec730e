"""Noise on single pictures, and one sample of a corpus made again.

A picture of any size is taken whole by parametric generators. A network gets it in tiles with a
margin, and sides padded by reflection to what it divides: its memory grows with the area, and the
latents of different tiles are independent anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.base import NoiseGenerator, NoiseRequest
from generators.capture import CaptureMetadata
from generators.sample_check import checked_sample
from generators.seeds import patch_seed
from pipeline.building.plan import PlannedShard, patch_id
from pipeline.building.run import inline_stages, prepare, task_for
from pipeline.corpus.formats import ShardName
from pipeline.corpus.index import load_corpus
from pipeline.corpus.reader import open_corpus
from pipeline.manifest.models import CorpusManifest
from pipeline.pixels import quantise, to_unit

__all__ = ["Regenerated", "Tile", "add_noise", "regenerate", "tiles"]

TILE, MARGIN = 512, 16


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a picture: its core, and the larger window that is given to the generator."""

    core: tuple[slice, slice]
    window: tuple[slice, slice]
    inside: tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Regenerated:
    """A sample made again, beside what the corpus stores."""

    clean: NDArray[Any]
    noisy: NDArray[Any]
    stored_clean: NDArray[Any]
    stored_noisy: NDArray[Any]

    @property
    def equal(self) -> bool:
        """Whether the pixels are the stored ones."""
        return bool(
            np.array_equal(self.clean, self.stored_clean)
            and np.array_equal(self.noisy, self.stored_noisy)
        )


@torch.inference_mode()
def add_noise(
    generator: NoiseGenerator,
    picture: NDArray[Any],
    *,
    seed: int,
    camera: str | None = None,
    iso: int | None = None,
    reference: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> NDArray[Any]:
    """Put noise on one picture.

    Args:
        generator: What makes the noise.
        picture: ``(H, W, C)`` uint8, uint16 or float32.
        seed: Equal seeds give equal noise on equal pictures.
        camera: Camera of the photograph, for generators that need it.
        iso: ISO of the photograph, likewise.
        reference: Clean and noisy image of a real pair, for generators that follow one.

    Returns:
        The noisy picture in the type of the picture, clipped; of another size and channels where
        the generator gives raw.
    """
    clean = to_unit(picture)
    content = hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
    capture = CaptureMetadata.same(1, camera=camera, iso=iso)
    network = generator.multiple > 2
    example = None if reference is None else [_centre(to_unit(r), generator) for r in reference]
    result: NDArray[np.float32] | None = None
    for tile in tiles(*clean.shape[:2], size=TILE if network else max(clean.shape)):
        padded, crop = _pad(clean[tile.window], generator.multiple)
        place = f"{tile.core[0].start}:{tile.core[1].start}"
        request = NoiseRequest.of(
            generator,
            clean=_tensor(padded),
            capture=capture,
            seeds=[patch_seed(seed, content, place, generator.name)],
            reference=None if example is None else _tensor(example[1]),
            reference_clean=None if example is None else _tensor(example[0]),
        )
        part = f"the part at y {tile.window[0].start}, x {tile.window[1].start}"
        sample = checked_sample(generator, request, where=[part].__getitem__)
        noisy = sample.noisy[0].permute(1, 2, 0).numpy()
        if generator.gives != generator.accepts:
            return quantise(noisy, picture.dtype.name)  # type: ignore[arg-type]
        if result is None:
            result = np.empty((*clean.shape[:2], noisy.shape[2]), np.float32)
        result[tile.core] = noisy[crop][tile.inside]
    if result is None:
        raise ValueError(f"the picture is empty: {picture.shape}.")
    return quantise(result, picture.dtype.name)  # type: ignore[arg-type]


def tiles(height: int, width: int, *, size: int) -> Iterator[Tile]:
    """Cut a picture into tiles whose windows overlap by a margin.

    Args:
        height: Pixels.
        width: Pixels.
        size: Largest side of a core, pixels.
    """
    for top in range(0, height, size):
        for left in range(0, width, size):
            bottom, right = min(top + size, height), min(left + size, width)
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            window = (
                slice(y, min(bottom + MARGIN, height)),
                slice(x, min(right + MARGIN, width)),
            )
            inside = (slice(top - y, bottom - y), slice(left - x, right - x))
            yield Tile((slice(top, bottom), slice(left, right)), window, inside)


def regenerate(root: str, sample_id: str) -> Regenerated:
    """Make one sample of a corpus again from its manifest and its photograph.

    Args:
        root: Folder or URL of the corpus.
        sample_id: The row's ``sample_id``.

    Raises:
        ValueError: If there is no such sample, or its photograph is no longer what it was.
    """
    index = load_corpus(root)
    stored, columns = _stored(root, sample_id)
    ready = prepare(CorpusManifest.model_validate(index.manifest))
    images = [i for i, r in enumerate(ready.plan.records) if r.image_id == columns["source_id"]]
    if not images:
        raise ValueError(
            f"the photograph of sample {sample_id} is not among the sources any more: "
            f"{columns['source_uri']} with SHA-256 {columns['source_id'][:12]}..."
        )
    keys = [one.spec.key for one in ready.loaded]
    y, x = int(columns["crop_y"]), int(columns["crop_x"])
    shard = PlannedShard(
        0,
        ShardName(split=columns["split"], index=0, count=1),
        np.array(images[:1], np.int32),
        np.array([y], np.int32),
        np.array([x], np.int32),
        np.array([keys.index(columns["generator"])], np.int16),
    )
    expected = f"{patch_id(ready.plan.records[images[0]], y, x, ready.plan.size)}-"
    if not sample_id.startswith(expected):
        raise ValueError(f"{sample_id} does not belong to the manifest in {root}/corpus.json.")
    cut, generate = inline_stages(ready)
    made = generate(cut(task_for(ready, shard)))
    if not len(made.columns["sample_id"]):
        raise ValueError(f"{columns['source_uri']} cannot be cut: {made.rejects[0].detail}")
    return Regenerated(made.clean[0], made.noisy[0], stored[0], stored[1])


def _stored(root: str, sample_id: str) -> tuple[tuple[NDArray[Any], NDArray[Any]], dict[str, Any]]:
    names = ("sample_id", "source_id", "source_uri", "crop_y", "crop_x", "split", "generator")
    for _, shard in open_corpus(root).shards():
        columns = shard.columns(names)
        if sample_id in columns["sample_id"]:
            row = columns["sample_id"].index(sample_id)
            return shard.pair(row), {name: columns[name][row] for name in names}
    raise ValueError(
        f"{root} holds no sample '{sample_id}'; `noisemill inspect {root}` lists some."
    )


def _pad(
    image: NDArray[np.float32], multiple: int
) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
    """Pad bottom and right by reflection until the sides divide; returns the crop back."""
    height, width = image.shape[:2]
    down, right = -height % multiple, -width % multiple
    mode = "reflect" if height > down and width > right else "edge"
    padded = np.pad(image, ((0, down), (0, right), (0, 0)), mode=mode)  # type: ignore[call-overload]
    return padded, (slice(0, height), slice(0, width))


def _centre(image: NDArray[np.float32], generator: NoiseGenerator) -> NDArray[np.float32]:
    """Return the largest centred part of a reference that a network should be given."""
    multiple = generator.multiple
    height = min(image.shape[0], TILE) // multiple * multiple
    width = min(image.shape[1], TILE) // multiple * multiple
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[y : y + height, x : x + width]


def _tensor(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float()
