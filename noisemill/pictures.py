"""Noise on one picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noisemill.models import load_generator
from pipeline.errors import InputError, within_the_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generators.base import NoiseGenerator

    Picture = str | os.PathLike[str] | NDArray[Any]

__all__ = ["NoisyPicture", "sample"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoisyPicture:
    """A picture with noise on it.

    Args:
        clean: ``(H, W, C)`` the picture as it was read.
        noisy: The same with noise, in the same type; of another size where the generator gives raw.
        generator: The generator's name.
    """

    clean: NDArray[Any]
    noisy: NDArray[Any]
    generator: str


@within_the_tree()
def sample(
    picture: Picture,
    generator: str | NoiseGenerator,
    *,
    weights: str | os.PathLike[str] | None = None,
    params: Mapping[str, Any] | None = None,
    camera: str | None = None,
    iso: int | None = None,
    reference: tuple[Picture, Picture] | None = None,
    seed: int = 0,
) -> NoisyPicture:
    """Put noise on one picture.

    Args:
        picture: A file or URL, or ``(H, W)`` or ``(H, W, C)`` uint8, uint16 or float32 in [0, 1].
        generator: Name of a generator, or one of :func:`noisemill.load_generator`.
        weights: As for :func:`noisemill.load_generator`, for a name; likewise ``params``.
        params: Its parameters.
        camera: Camera of the noise that is wanted.
        iso: Its ISO speed.
        reference: Clean and noisy picture of a real pair to follow.
        seed: Equal seeds give equal noise on equal pictures.

    Raises:
        Error: If the picture cannot be read, or the generator cannot be made or used like this.
    """
    from pipeline.pictures.noise import add_noise

    if isinstance(generator, str):
        generator = load_generator(
            generator,
            weights=weights,
            params=params,
            camera=camera,
            iso=iso,
            reference=reference is not None,
        )
    elif weights is not None or params is not None:
        raise InputError(
            "weights and params are for a generator's name", where="generator", expected="a name"
        )
    clean = _pixels(picture)
    pair = None if reference is None else (_pixels(reference[0]), _pixels(reference[1]))
    noisy = add_noise(generator, clean, seed=seed, camera=camera, iso=iso, reference=pair)
    return NoisyPicture(clean=clean, noisy=noisy, generator=generator.name)


def _pixels(picture: Picture) -> NDArray[Any]:
    import numpy as np

    if isinstance(picture, np.ndarray):
        return picture[:, :, None] if picture.ndim == 2 else picture
    from pipeline.images import read_pixels

    return read_pixels(os.fspath(picture))
