"""What denoisers are tested on: real noise, white noise of a level, or the noise of a generator.

A :class:`Degradation` makes a pair of images of a record. Under each, all denoisers see the same
noise: it follows from the evaluation's seed and the image, and from nothing else. Two degradations
that draw alike (white noise of two levels) draw the same numbers, so that they differ by their
level and not by chance.

Nothing is clipped or rounded here, as in the field's tests on synthetic noise. A simulated camera
clips and rounds in its own works, and its clean image is the one that it developed without noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from denoisers.base import mirrored
from generators.base import Domain, NoiseRequest
from generators.capture import CaptureMetadata
from generators.sample_check import checked_sample
from generators.seeds import standard_normal
from pipeline.building.recipe import LoadedGenerator, load_generators
from pipeline.images import read_pixels
from pipeline.manifest.models import EvaluationData
from pipeline.measure.blocks import read_pair
from pipeline.pixels import to_color, to_nchw, to_nhwc, to_unit
from pipeline.records import ImageRecord

__all__ = ["Degradation", "Generated", "RealPairs", "WhiteNoise", "degradations_of"]

Image = np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation(ABC):
    """One way in which images are noisy.

    Args:
        name: In tables, behind the denoiser's name where there are several.
        domain: Of the images that denoisers are given.
        real: Whether the noise is that of real pairs, which may be offset in brightness.
        sigma: True level of white noise, grey levels of 255, told to denoisers that take a level;
            ``None`` where noise is not white or not known.
    """

    name: str
    domain: Domain = "srgb"
    real: bool = False
    sigma: float | None = None

    @property
    @abstractmethod
    def content(self) -> Any:
        """What the noise follows from, as JSON values."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What a row says of it."""
        level = {} if self.sigma is None else {"sigma": self.sigma}
        return {"condition": self.name, **level}

    @abstractmethod
    def pair(self, record: ImageRecord, data: EvaluationData, seed: int) -> tuple[Image, Image]:
        """Return the clean and the noisy image, ``(H, W, C)`` float32 with the white level at 1.

        Args:
            record: The image.
            data: The manifest's part, for its colour.
            seed: Of the image.

        Raises:
            ValueError: If the image does not fit.
        """


@final
class RealPairs(Degradation):
    """Pairs as they are stored."""

    __slots__ = ()

    @property
    def content(self) -> Any:
        """See :class:`Degradation`."""
        return "real"

    def pair(self, record: ImageRecord, data: EvaluationData, seed: int) -> tuple[Image, Image]:
        """See :class:`Degradation`."""
        return read_pair(record, lambda uri: _read(uri, data))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WhiteNoise(Degradation):
    """White Gaussian noise of ``sigma`` on the clean image."""

    sigma: float

    @property
    def content(self) -> Any:
        """See :class:`Degradation`."""
        return self.sigma

    def pair(self, record: ImageRecord, data: EvaluationData, seed: int) -> tuple[Image, Image]:
        """See :class:`Degradation`."""
        clean = _read(record.uri, data)
        eps = standard_normal([seed], clean.shape, "awgn")[0].numpy()
        return clean, (clean + eps * np.float32(self.sigma / 255.0)).astype(np.float32)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Generated(Degradation):
    """The noise of a generator on the clean image.

    The whole image is one request. One whose sides the generator cannot take is mirrored out at
    the bottom and the right, and the result is cut back.

    Args:
        loaded: The generator.
        device: Torch device for generators that can be placed.
    """

    loaded: LoadedGenerator
    device: str = "cpu"

    @property
    def content(self) -> Any:
        """See :class:`Degradation`."""
        spec = self.loaded.spec.model_dump(mode="json", exclude={"label", "weight"})
        return [spec, self.loaded.weights_sha256, self.loaded.generator.revision]

    @property
    def about(self) -> Mapping[str, Any]:
        """See :class:`Degradation`."""
        spec = self.loaded.spec
        noise = {"generator": spec.name, "params": spec.params}
        if spec.weights is not None:
            noise |= {"weights": spec.weights, "weights_sha256": self.loaded.weights_sha256}
        return {"condition": self.name, "noise": noise}

    def pair(self, record: ImageRecord, data: EvaluationData, seed: int) -> tuple[Image, Image]:
        """See :class:`Degradation`."""
        image = _read(record.uri, data)
        height, width = image.shape[:2]
        clean = mirrored(to_nchw(image)[None], self.loaded.multiple)
        generator = self.loaded.generator
        generator.place(self.device)
        capture = CaptureMetadata.of([record.capture])
        request = NoiseRequest.of(generator, clean=clean, capture=capture, seeds=[seed])
        with torch.inference_mode():
            sample = checked_sample(generator, request, where=lambda _: record.uri)
        # Four packed photosites to a value where a photograph becomes raw.
        halved = 2 if generator.accepts != generator.gives else 1
        inside = (0, slice(None), slice(height // halved), slice(width // halved))
        return to_nhwc(sample.clean[inside].float()), to_nhwc(sample.noisy[inside].float())


def degradations_of(
    data: EvaluationData, records: Sequence[ImageRecord], *, device: str
) -> list[Degradation]:
    """Return the degradations of a manifest, generators made and held against the images.

    Args:
        data: The manifest's part.
        records: The images, all of one domain.
        device: Torch device for generators that can be placed.

    Raises:
        FileNotFoundError: If there are no such weights.
        ValueError: If a generator is wrong, or cannot work on these images.
    """
    domain: Domain = "raw" if records[0].domain == "raw" else "srgb"
    if not data.synthetic:
        return [RealPairs(name="real", domain=domain, real=True)]
    white: list[Degradation] = [
        WhiteNoise(name=f"sigma {sigma:g}", domain=domain, sigma=sigma) for sigma in data.awgn or ()
    ]
    loaded = load_generators(data.noise or (), precision="float32")
    for one in loaded:
        _check(one, data, domain, records)
    return white + [
        Generated(
            name=one.spec.key,
            domain=one.generator.gives,
            loaded=one,
            device=device,
        )
        for one in loaded
    ]


def _check(
    one: LoadedGenerator, data: EvaluationData, domain: Domain, records: Sequence[ImageRecord]
) -> None:
    """Refuse a generator that cannot work on the images."""
    key, generator = one.spec.key, one.generator
    if generator.accepts != domain:
        remedy = (
            "Let it work behind `unprocess: {output: srgb}`."
            if domain == "srgb"
            else "Give `domain: raw` if it has that parameter, or take photographs."
        )
        raise ValueError(
            f"data.noise: generator '{key}' reads {generator.accepts} images and the images are "
            f"{domain}. {remedy}"
        )
    if one.color_only and data.color == "grey" and domain == "srgb":
        raise ValueError(
            f"data.noise: generator '{key}' works on colour only; set data.color to rgb."
        )
    if "reference" in generator.needs:
        raise ValueError(
            f"data.noise: generator '{key}' needs a real noisy image, and is given clean ones "
            "only; choose one that needs none, or let it sample by camera and ISO."
        )
    for need in sorted(generator.needs):
        lacking = next((r for r in records if r.capture.get(need) is None), None)
        if lacking is not None:
            raise ValueError(
                f"data.noise: generator '{key}' needs the {need} of every image, and "
                f"{lacking.uri} has none; give it with the source (`{need}`, or `metadata`)."
            )


def _read(uri: str, data: EvaluationData) -> Image:
    return to_unit(to_color(read_pixels(uri), data.color))
