"""Training batches made while training: clean photographs, and generators that put noise on them.

Every step takes new crops and new noise, so a simulated device never runs out of data. A *device*
is a generator under a camera's name at some ISO speeds; rows are drawn evenly over all (camera,
ISO). For noisy pairs the same scene is shot twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.base import NoiseGenerator, NoiseRequest
from generators.capture import CaptureMetadata
from generators.seeds import batch_rng, patch_seed
from generators.training import DataUse, TrainingBatch
from pipeline.training.data.batches import Augmentation, draw_batch, views
from pipeline.training.data.store import TrainingStore

__all__ = ["Device", "SimulatedBatches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A generator in the role of a camera.

    Args:
        camera: The name its photographs get.
        isos: The ISO speeds it shoots at.
        generator: Makes the noise; told camera and ISO with each row.
    """

    camera: str
    isos: tuple[int, ...]
    generator: NoiseGenerator


class SimulatedBatches:
    """Batches of simulated photographs.

    Args:
        store: Clean photographs, sRGB; its patch is the crop's side before the simulation.
        devices: What shoots them; all give one domain.
        size: B.
        seed: The training's seed.
        augmentation: How crops are turned.
        use: Which images the batches carry.

    Raises:
        ValueError: If the devices give different domains, or two have one name.
    """

    def __init__(
        self,
        store: TrainingStore,
        devices: Sequence[Device],
        *,
        size: int,
        seed: int,
        augmentation: Augmentation,
        use: DataUse,
    ) -> None:
        domains = {device.generator.gives for device in devices}
        if len(domains) != 1:
            raise ValueError(
                "the simulated devices must all give srgb or all give raw; they give "
                f"{' and '.join(sorted(domains)) or 'nothing'}."
            )
        captures = [(d.camera, iso) for d in devices for iso in d.isos]
        if len(set(captures)) != len(captures):
            raise ValueError("a simulated camera and ISO is given twice; name each once.")
        self.domain = domains.pop()
        self.captures = tuple(sorted(captures))
        self._store, self._size, self._seed, self._use = store, size, seed, use
        self._augmentation: Augmentation = augmentation
        self._devices = list(devices)
        self._names = views(use)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return 4 if self.domain == "raw" else self._store.images[0].shape[2]

    def batch(self, step: int) -> TrainingBatch:
        """Return the batch of a step; equal numbers give equal batches."""
        clean = draw_batch(
            self._store,
            size=self._size,
            seed=self._seed,
            step=step,
            augmentation=self._augmentation,
            use="clean",
        ).clean
        assert clean is not None
        rng = batch_rng(self._seed, step, "devices")
        labels = [int(label) for label in rng.integers(len(self.captures), size=self._size)]
        seeds = [patch_seed(self._seed, "simulate", str(step), str(i)) for i in range(self._size)]
        rows: dict[int, dict[str, Tensor]] = {}
        for device in self._devices:
            mine = [i for i, label in enumerate(labels) if self.captures[label][0] == device.camera]
            if mine:
                isos = tuple(self.captures[labels[i]][1] for i in mine)
                capture = CaptureMetadata(camera=(device.camera,) * len(mine), iso=isos)
                request = NoiseRequest.of(
                    device.generator,
                    clean=clean[mine],
                    capture=capture,
                    seeds=[seeds[i] for i in mine],
                )
                rows |= dict(zip(mine, self._noised(device.generator, request), strict=True))
        stacked = {
            name: torch.stack([rows[i][name] for i in range(self._size)]) for name in self._names
        }
        capture = CaptureMetadata(
            camera=tuple(self.captures[label][0] for label in labels),
            iso=tuple(self.captures[label][1] for label in labels),
        )
        return TrainingBatch(capture=capture, labels=torch.tensor(labels), **stacked)

    def _noised(
        self, generator: NoiseGenerator, request: NoiseRequest
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the images of each row of one device."""
        second: Tensor | None = None
        if "second" in self._names:
            sample, second = generator.sample_twice(request)
        else:
            sample = generator.sample(request)
        for row in range(len(sample.noisy)):
            images = {"clean": sample.clean[row], "noisy": sample.noisy[row]}
            yield images if second is None else images | {"second": second[row]}
