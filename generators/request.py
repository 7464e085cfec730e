"""What a noise generator is asked and what it answers: clean images, seeds, noisy images.

Notation as in :mod:`generators.base`: B rows, C channels, H by W pixels; float32, white level 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from generators.capture import CaptureMetadata

__all__ = ["Domain", "Need", "NoiseContext", "NoiseRequest", "NoiseSample", "Params"]

Domain = Literal["srgb", "raw"]
# "reference", or the name of a column of capture metadata: "camera", "exposure".
Need = str
Params = Mapping[str, float | int | str]


class _Needs(Protocol):
    @property
    def needs(self) -> frozenset[Need]: ...


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

    @classmethod
    def of(
        cls,
        generator: _Needs,
        *,
        clean: Tensor,
        capture: CaptureMetadata,
        seeds: Sequence[int],
        reference: Tensor | None = None,
        reference_clean: Tensor | None = None,
    ) -> NoiseRequest:
        """Return a request with no more than the generator needs.

        Args:
            generator: Who is asked.
            clean: As in :class:`NoiseContext`.
            capture: Likewise.
            seeds: One patch seed a row.
            reference: Real noisy images, if there are any; left out where they are not needed.
            reference_clean: Their clean partners; ``clean`` itself if absent.
        """
        context = NoiseContext(clean=clean, capture=capture)
        if reference is None or "reference" not in generator.needs:
            return cls(context=context, seeds=seeds)
        partner = clean if reference_clean is None else reference_clean
        return cls(context=context, seeds=seeds, reference=reference, reference_clean=partner)

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """The noisy reference and its clean partner, of one shape.

        Raises:
            ValueError: If there is no reference, or the shapes differ.
        """
        if self.reference is None:
            raise ValueError("this request needs 'reference', a real noisy image a row.")
        given = self.reference_clean
        partner = self.context.clean if given is None else given
        if partner.shape != self.reference.shape:
            raise ValueError(
                f"reference is {tuple(self.reference.shape)} and its clean partner "
                f"{tuple(partner.shape)}; they must be equal (give reference_clean)."
            )
        return self.reference, partner


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
