"""What every noise generator is: a function from a clean image and seeds to a noisy image.

Notation: B rows, C channels, H by W pixels, ``noise = noisy - clean``. Images are float32 with the
white level at 1. Two *domains* exist:

    srgb   (B, 3, H, W), or (B, 1, H, W) grey, encoded (gamma) values as in a PNG, in [0, 1]
    raw    (B, 4, H/2, W/2), linear sensor values after black-level subtraction, white level 1,
           packed R, G (red row), G (blue row), B

Generators never clip or quantise (but for what is part of a device that they simulate): both
destroy the statistics that likelihoods and metrics need, so they are a stage of the pipeline.
Randomness comes in with the request, one seed a row; a generator holds none, so row i of the result
depends on row i and seed i only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from generators.capture import CaptureMetadata

__all__ = [
    "Domain",
    "Likelihood",
    "Need",
    "NoiseContext",
    "NoiseGenerator",
    "NoiseRequest",
    "NoiseSample",
]

Domain = Literal["srgb", "raw"]
Need = Literal["camera", "iso", "reference"]
Params = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseContext:
    """A batch of clean images and what is known of how they were taken.

    Args:
        clean: ``(B, C, H, W)`` float32 in [0, 1], in the generator's input domain.
        capture: Capture metadata of the B rows: camera, ISO, and what else is known.

    Raises:
        ValueError: If the shapes do not belong together.
        TypeError: If ``clean`` is not float32.
    """

    clean: Tensor
    capture: CaptureMetadata

    def __post_init__(self) -> None:
        if self.clean.ndim != 4:
            raise ValueError(f"clean must be (B, C, H, W); its shape is {tuple(self.clean.shape)}.")
        if self.clean.dtype != torch.float32:
            raise TypeError(f"clean must be float32; it is {self.clean.dtype}.")
        if len(self.capture) != self.clean.shape[0]:
            raise ValueError(
                f"clean has {self.clean.shape[0]} rows and capture has {len(self.capture)}."
            )

    @property
    def shots(self) -> CaptureMetadata:
        """The former name of ``capture``, for generators of other packages that were written so."""
        return self.capture


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRequest:
    """One batch of noise to be made.

    Args:
        context: Clean images and capture metadata.
        seeds: One patch seed a row (see :func:`generators.seeds.patch_seed`).
        reference: ``(B, C, H', W')`` float32 real noisy images for generators that need one.
        reference_clean: The clean partner of ``reference``; same shape. For a photograph of a pair
            it is the context's own clean image.

    Raises:
        ValueError: If the numbers of rows differ.
    """

    context: NoiseContext
    seeds: Sequence[int]
    reference: Tensor | None = None
    reference_clean: Tensor | None = None

    def __post_init__(self) -> None:
        rows = self.context.clean.shape[0]
        if len(self.seeds) != rows:
            raise ValueError(
                f"a request needs one seed a row: {rows} rows, {len(self.seeds)} seeds."
            )
        for name, image in (
            ("reference", self.reference),
            ("reference_clean", self.reference_clean),
        ):
            if image is not None and image.shape[0] != rows:
                raise ValueError(f"{name} has {image.shape[0]} rows and clean has {rows}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSample:
    """What a generator made.

    Args:
        clean: ``(B, C, H, W)`` what ``noisy`` is a noisy version of, in the generator's output
            domain. Most generators return the request's own clean image; a simulated camera returns
            the image it developed from the noiseless sensor.
        noisy: Same shape, float32, neither clipped nor quantised.
        params: What was drawn or looked up for each row (``{"sigma": 0.04}``), for provenance; JSON
            scalars only.
    """

    clean: Tensor
    noisy: Tensor
    params: Sequence[Params] = field(default=())


@runtime_checkable
class NoiseGenerator(Protocol):
    """The seam between noise models and everything else.

    Four things are optional: an attribute ``multiple`` (what H and W must be divisible by; 1 if
    absent), an attribute ``color_only`` (true where grey sRGB is refused), a method
    ``place(device)`` for generators that can work elsewhere than on the CPU, and a method
    ``sample_twice(request)`` for those that draw more than noise: it returns a sample and the noisy
    images of a second shot of the same scene.

    Attributes:
        name: Registry name, e.g. ``"naflow"``.
        revision: Goes up whenever the pixels for the same request change.
        accepts: Domain of the request's clean image.
        gives: Domain of the sample.
        needs: What a request must carry beside the clean image; checked before work starts.
    """

    name: str
    revision: int
    accepts: Domain
    gives: Domain
    needs: frozenset[Need]

    def sample(self, request: NoiseRequest) -> NoiseSample:
        """Put noise on each row of the request; row i depends on row i and seed i only."""
        ...


@runtime_checkable
class Likelihood(Protocol):
    """A noise model with an exact density."""

    def log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | context) of each row, shape ``(B,)``, in nats."""
        ...
