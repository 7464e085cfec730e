"""The one look at what a generator made, before it is rounded, stored or measured.

Rounding hides what went wrong: not-a-number becomes 0, infinity becomes white, and nobody sees it
again. Generators come from other packages too, so whoever calls one asks for its sample here. A
sample is right if

    it is a clean and a noisy image of one shape, floating point, one row a seed;
    its shape is that of the request, where a generator gives the domain that it takes;
    every value is finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from generators.base import NoiseGenerator, NoiseRequest, NoiseSample

__all__ = ["SampleError", "check_sample", "checked_sample"]


class SampleError(ValueError):
    """A generator made something that is no sample of its request; the message says where."""


def _row(row: int) -> str:
    return f"row {row} of its batch"


def checked_sample(
    generator: NoiseGenerator,
    request: NoiseRequest,
    *,
    name: str = "",
    where: Callable[[int], str] = _row,
) -> NoiseSample:
    """Return a generator's sample of a request, after :func:`check_sample`.

    Args:
        generator: Of this or of any other package.
        request: What it is asked for.
        name: What the caller calls it, for the message; its own name if empty.
        where: Says what a row is, for the message: the photograph, and the place in it.

    Raises:
        SampleError: If the sample is not right.
    """
    sample = generator.sample(request)
    same_size = generator.accepts == generator.gives
    name = name or generator.name
    check_sample(sample, request, name=name, same_size=same_size, where=where)
    return sample


def check_sample(
    sample: NoiseSample,
    request: NoiseRequest,
    *,
    name: str,
    same_size: bool = True,
    where: Callable[[int], str] = _row,
) -> None:
    """Refuse a sample that must not be stored or measured.

    Args:
        sample: What the generator returned.
        request: What it was asked for.
        name: Of the generator.
        same_size: Whether the images must have the request's shape; a generator that turns
            photographs into raw gives another.
        where: Says what a row is.

    Raises:
        SampleError: If it is no sample, or an image has a wrong number of rows, a wrong shape or
            type, or a value that is not finite.
    """
    for what, row in _faults(sample, request, same_size=same_size):
        more = "" if row is not None or len(request.seeds) < 2 else ", and the rest of its batch"
        raise SampleError(
            f"generator '{name}' {what}: {where(row or 0)}{more}. Nothing of it was stored. Mend "
            "the generator, choose other parameters or weights, or leave the photograph out."
        )


def _faults(
    sample: NoiseSample, request: NoiseRequest, *, same_size: bool
) -> Iterator[tuple[str, int | None]]:
    """Yield what is wrong, and the row that it is about; the first is enough."""
    rows, expected = len(request.seeds), tuple(request.context.clean.shape)
    for side in ("clean", "noisy"):
        image = getattr(sample, side, None)
        if not isinstance(image, Tensor):
            yield f"returned {type(sample).__name__}, without a tensor '{side}'", None
            continue
        shape = tuple(image.shape)
        if len(shape) != 4 or shape[0] != rows or (same_size and shape != expected):
            wanted = expected if same_size else (rows, "C", "H", "W")
            yield f"made {side} images of shape {shape}; expected {_plain(wanted)}", None
        if not image.is_floating_point():
            yield f"made {side} images of {image.dtype}; expected torch.float32", None
    if sample.clean.shape != sample.noisy.shape:
        shapes = f"{tuple(sample.noisy.shape)} for clean ones of {tuple(sample.clean.shape)}"
        yield f"made noisy images of shape {shapes}", None
    if len(sample.params) not in (0, rows):
        yield f"gave {len(sample.params)} params for {rows} rows", None
    for side, image in (("noisy", sample.noisy), ("clean", sample.clean)):
        finite = torch.isfinite(image)
        if not bool(finite.all()):
            row, channel, y, x = (int(index) for index in (~finite).nonzero()[0])
            value, count = float(image[row, channel, y, x]), int((~finite[row]).sum())
            share = f"{count} of {finite[row].numel()} values are not finite"
            yield (
                f"made {value} at y {y}, x {x}, channel {channel} of a {side} image ({share})",
                row,
            )


def _plain(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
