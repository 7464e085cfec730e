"""Denoisers on real pairs, or on clean images with white or generated noise: PSNR and SSIM.

What makes the images noisy is a :class:`~pipeline.evaluation.degradations.Degradation`. Each image
has its own seed, so every denoiser sees the same noise. The noisy input itself is measured like an
estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from denoisers.base import check_image, takes_level
from denoisers.ensembles import flip_ensemble, monte_carlo
from denoisers.tiles import Tiled
from generators.seeds import patch_seed
from pipeline.evaluation.corpora import cell_of
from pipeline.evaluation.degradations import Degradation
from pipeline.evaluation.metrics import picture_metrics
from pipeline.evaluation.noise import OFFSET
from pipeline.manifest.evaluation import EvaluationResources
from pipeline.manifest.models import (
    DenoiserSpec,
    EvaluateManifest,
    EvaluationData,
)
from pipeline.measure.blocks import grid_blocks
from pipeline.measure.metrics import (
    GroupSums,
    PictureMetric,
    Psnr,
    Scores,
)
from pipeline.measure.metrics.base import Floats
from pipeline.measure.metrics.quality import QualityConvention
from pipeline.pixels import to_nchw, to_nhwc
from pipeline.records import ImageRecord

__all__ = [
    "DenoiserMeasure",
    "NoisyImage",
    "Quality",
    "channels_of",
    "estimator",
    "noisy_images",
]

Estimate = Callable[["NoisyImage"], Floats]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoisyImage:
    """An image, or a block of one, to be denoised.

    Args:
        clean: ``(H, W, C)`` float32 in [0, 1]; raw may lie outside.
        noisy: Same shape; not clipped where the noise is not real.
        image: Name of the image.
        camera: Camera name, if known.
        iso: ISO speed, if known.
        seed: Of a denoiser that draws.
    """

    clean: np.ndarray
    noisy: np.ndarray
    image: str
    camera: str | None
    iso: int | None
    seed: int


@dataclass
class Quality:
    """What was measured of one denoiser.

    Args:
        metrics: What estimates are held against the clean images by.
        conventions: Of the pooled PSNR.
        offsets: Whether pairs may be offset in brightness, as real ones are.
    """

    metrics: tuple[PictureMetric, ...]
    conventions: tuple[QualityConvention, ...]
    offsets: bool
    scores: GroupSums[Scores] = field(init=False)
    pooled: dict[QualityConvention, Psnr] = field(init=False)

    def __post_init__(self) -> None:
        self.scores = GroupSums(lambda: Scores(self.names))
        self.pooled = {name: Psnr(name) for name in self.conventions}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values, with their conventions."""
        return (*(metric.title for metric in self.metrics), *([OFFSET] if self.offsets else []))

    def add(self, row: str, item: NoisyImage, estimate: Floats) -> None:
        """Add one image.

        Args:
            row: Name of the denoiser's row.
            item: The image.
            estimate: ``(H, W, C)``, the denoiser's.
        """
        values = {metric.title: metric.measure(item.clean, estimate) for metric in self.metrics}
        if self.offsets:
            values[OFFSET] = float((item.noisy - item.clean).mean(dtype=np.float64)) * 255.0
        self.scores.at(cell_of(row, item.camera, item.iso, item.image)).update(values)
        for sums in self.pooled.values():
            sums.update(item.clean, estimate)

    def merge(self, other: Quality) -> None:
        """Add the images of another."""
        self.scores.merge(other.scores)
        for name, sums in self.pooled.items():
            sums.merge(other.pooled[name])


@dataclass(frozen=True)
class DenoiserMeasure:
    """Measures one denoiser, or the noisy input.

    Args:
        manifest: The evaluation.
        degradation: What makes the images noisy.
    """

    manifest: EvaluateManifest
    degradation: Degradation

    def __call__(
        self,
        name: str,
        estimate: Estimate,
        images: Iterable[NoisyImage],
        after: Callable[[int], None] = lambda count: None,
    ) -> Quality:
        """Denoise every image and measure the estimates.

        Args:
            name: Of the row.
            estimate: The denoiser.
            images: Read one at a time.
            after: Told the number of images so far.
        """
        conventions = tuple(QualityConvention(name) for name in self.manifest.metrics.quality)
        metrics = picture_metrics(self.manifest.metrics)
        sums = Quality(metrics, conventions, offsets=self.degradation.real)
        for number, item in enumerate(images, 1):
            sums.add(name, item, estimate(item))
            after(number)
        return sums


def noisy_images(
    data: EvaluationData, records: Sequence[ImageRecord], degradation: Degradation, *, seed: int
) -> Iterator[NoisyImage]:
    """Read the images and make them noisy, one at a time; blocks are cut from the noisy image.

    Args:
        data: The manifest's part.
        records: Pairs, or clean images.
        degradation: What makes them noisy.
        seed: Of the evaluation.

    Raises:
        ValueError: If an image does not fit the degradation.
    """
    for record in records:
        own = patch_seed(seed, "evaluate", record.image_id)
        clean, noisy = degradation.pair(record, data, own)
        places = [(0, 0)]
        height, width = clean.shape[:2]
        if data.block is not None:
            places = grid_blocks(height, width, data.block, data.grid)
            height = width = data.block
        for y, x in places:
            inside = (slice(y, y + height), slice(x, x + width))
            yield NoisyImage(
                clean=clean[inside],
                noisy=noisy[inside],
                image=record.scene,
                camera=record.camera,
                iso=record.iso,
                seed=patch_seed(own, str(y), str(x)),
            )


def channels_of(data: EvaluationData, degradation: Degradation) -> int:
    """Return the channels of the images that denoisers are given."""
    if degradation.domain == "raw":
        return 4
    return 3 if data.color == "rgb" else 1


def estimator(
    denoiser: Any,
    spec: DenoiserSpec,
    degradation: Degradation,
    *,
    channels: int,
    resources: EvaluationResources,
) -> Estimate:
    """Return how a denoiser is used on one image.

    Args:
        denoiser: From :func:`denoisers.load`.
        spec: The manifest's entry.
        degradation: What makes the images noisy; a denoiser that takes a level is told its
            ``sigma``, unless ``spec`` says another.
        channels: Of the images.
        resources: Tiles and device.

    Raises:
        ValueError: If it reads images of another number of channels than the data's, or an ensemble
            is asked of it that it cannot make.
    """
    if denoiser.channels != channels:
        other = {1: "set data.color to grey", 3: "set data.color to rgb"}.get(denoiser.channels)
        if degradation.domain == "raw":
            other = "raw images are packed; take a denoiser that was trained on raw"
        raise ValueError(
            f"denoiser '{spec.key}' reads images of {denoiser.channels} channels and the data give "
            f"{channels}; {other or 'evaluate it on images of its own kind'}."
        )
    level = spec.sigma if spec.sigma is not None else degradation.sigma
    if level is not None and takes_level(denoiser):
        denoiser = denoiser.with_sigma(level / 255.0)
    if isinstance(denoiser, torch.nn.Module):
        denoiser = denoiser.to(resources.device).eval()
    tiled: Any = Tiled(denoiser, tile=resources.tile, overlap=resources.overlap)

    def estimate(item: NoisyImage) -> Floats:
        noisy = to_nchw(item.noisy)[None]
        check_image(noisy, name=spec.key, channels=channels)
        with torch.inference_mode():
            found = _ensemble(tiled, noisy, spec, item.seed)
        return to_nhwc(found[0].double())

    return estimate


def _ensemble(denoiser: Any, noisy: Tensor, spec: DenoiserSpec, seed: int) -> Tensor:
    if spec.ensemble == "flips":
        return flip_ensemble(denoiser, noisy, seed=seed)
    if spec.ensemble == "monte-carlo":
        return monte_carlo(denoiser, noisy, draws=spec.draws, seed=seed)
    found: Tensor = denoiser(noisy)
    return found
