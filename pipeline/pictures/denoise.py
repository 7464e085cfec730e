"""Denoising single pictures: from a file's pixels to a network's tensors and back.

A picture is taken tile by tile (:mod:`denoisers.tiles`), so memory does not grow with it but for
the picture itself. The result has its type: 8 or 16 bits, clipped and rounded, or float.

Channels. A picture with the denoiser's channels goes in as it is. A colour picture given to a grey
denoiser is taken one channel after the other, each as a grey picture, as grey denoisers are used on
colour in the field. Everything else is refused: three equal channels are no colour photograph, and
packed raw is no picture.

The noise level. A denoiser that must know it and was not told guesses it, from the whole picture,
once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import denoisers
from denoisers.base import Denoiser, can_draw, takes_level
from denoisers.ensembles import DRAWS, TURNS, flip_ensemble, monte_carlo
from denoisers.noise_level import estimate_sigma
from denoisers.tiles import OVERLAP, Tiled, count_tiles
from generators.seeds import patch_seed
from pipeline.images import read_pixels
from pipeline.measure.metrics.quality import psnr
from pipeline.models.device import check_device
from pipeline.pictures.saving import PictureFolder
from pipeline.pixels import quantise, sample_type, to_nhwc, to_unit

__all__ = ["Way", "denoise_picture", "denoise_pictures", "open_denoiser"]

TILE = 512
_FAINTEST = 1e-4
_KINDS = {1: "grey", 3: "colour", 4: "packed raw"}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a denoiser is used on a picture.

    Args:
        ensemble: ``flips`` averages over the eight turns of the picture.
        draws: Estimates that are averaged, of a denoiser that draws; 16 unless given, and 1 a turn.
        tile: Longest side of a tile, pixels; 512 unless given, less where a denoiser says so.
        overlap: How far a tile reaches beyond its cell, pixels.
        seed: Equal seeds give equal estimates of equal pictures.

    Raises:
        ValueError: If a number is out of range.
    """

    ensemble: Literal["none", "flips"] = "none"
    draws: int | None = None
    tile: int | None = None
    overlap: int = OVERLAP
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws is not None and self.draws < 1:
            raise ValueError(f"draws must be at least 1; it is {self.draws}.")


def open_denoiser(
    name: str,
    *,
    sigma: float | None = None,
    params: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Denoiser:
    """Return a denoiser by name or file.

    Args:
        name: As for :func:`denoisers.load`.
        sigma: Noise level, white levels, for a denoiser that must know it.
        params: Of denoisers that are not trained to denoise.
        device: Where it works, e.g. ``cuda``.

    Raises:
        FileNotFoundError: If there is no such denoiser.
        ImportError: If its package is not installed.
        ValueError: If its file is damaged, or something is given that it has no use for.
    """
    made: nn.Module = denoisers.load(name, **(params or {}))
    if sigma is not None:
        if not takes_level(made):
            raise ValueError(
                f"denoiser '{name}' is not told the noise level; it is in its weights. Leave out "
                "sigma, or use 'bm3d' or a flow prior."
            )
        if not 0 < sigma < 1:
            raise ValueError(
                f"sigma is a share of the white level, between 0 and 1; it is {sigma:g}. "
                "25 grey levels of 255 are 0.098."
            )
        made = cast("nn.Module", made.with_sigma(sigma))
    check_device(device)
    return cast("Denoiser", made.to(device))


def denoise_picture(
    denoiser: Denoiser,
    picture: NDArray[Any],
    *,
    way: Way | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Denoise one picture of any size.

    Args:
        denoiser: Of :func:`open_denoiser`.
        picture: ``(H, W, C)`` uint8, uint16 or float32.
        way: Ensembles, tiles and seed.
        progress: Called after each tile with how many are done, and how many there are.

    Returns:
        The estimate in the type of the picture: integers clipped and rounded, floats as they are.

    Raises:
        ValueError: If the channels do not fit, or the denoiser cannot be used that way.
    """
    way = way or Way()
    image = torch.from_numpy(np.array(to_unit(picture))).permute(2, 0, 1)[None]
    image, denoiser = _fitted(image, denoiser)
    tile = int(getattr(denoiser, "tile", TILE)) if way.tile is None else way.tile
    height, width = image.shape[2:]
    total = _passes(denoiser, way, height, width, tile)
    done = 0

    def after_tile() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    tiled = Tiled(denoiser, tile=tile, overlap=way.overlap, after_tile=after_tile)
    content = hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
    estimate = _estimate(tiled, image, way, patch_seed(way.seed, "denoise", content))
    pixels = to_nhwc(estimate.reshape(-1, height, width))
    return quantise(pixels, sample_type(picture.dtype))


def denoise_pictures(
    images: Sequence[str],
    denoiser: Denoiser,
    *,
    label: str,
    out: PictureFolder,
    way: Way | None = None,
    clean: Sequence[str] = (),
    progress: Progress | None = None,
) -> Iterator[dict[str, Any]]:
    """Denoise pictures from files, and write the results.

    Args:
        images: Their URIs, as for :func:`pipeline.images.read_pixels`.
        denoiser: Of :func:`open_denoiser`.
        label: What the results' names end with, ``NAME_label.png``.
        out: Folder of the results, and what becomes of files that are there.
        way: Ensembles, tiles and seed.
        clean: The clean partners, one a picture, to measure the PSNR (KAIR's convention).
        progress: Called after each tile: the picture, tiles done, tiles in all.

    Yields:
        One result a picture: ``image``, ``denoised`` (the file), ``seconds``, and ``psnr`` of the
        noisy and the denoised picture where clean ones are given; or ``image`` and ``error``.
    """
    for number, image in enumerate(images):
        started = time.monotonic()
        told = None if progress is None else _told(progress, image)
        try:
            picture = read_pixels(image)
            partner = _partner(picture, clean[number]) if clean else None
            pixels = denoise_picture(denoiser, picture, way=way, progress=told)
            path = out.save(f"{Path(image).stem}_{label}", pixels)
        except (ArithmeticError, OSError, RuntimeError, ValueError) as error:
            text = str(error)
            yield {"image": image, "error": text if image in text else f"{image}: {text}"}
            continue
        found: dict[str, Any] = {"image": image, "denoised": str(path)}
        if partner is not None:
            found["psnr"] = {"noisy": psnr(partner, picture), "denoised": psnr(partner, pixels)}
        yield {**found, "seconds": round(time.monotonic() - started, 3)}


def _partner(picture: NDArray[Any], clean: str) -> NDArray[Any]:
    partner = read_pixels(clean)
    if partner.shape != picture.shape:
        raise ValueError(
            f"its clean partner {clean} has shape {partner.shape}, and the picture "
            f"{picture.shape}; a pair shows the same pixels."
        )
    return partner


def _told(progress: Progress, image: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(image, done, total)


def _fitted(image: Tensor, denoiser: Denoiser) -> tuple[Tensor, Denoiser]:
    """Bring picture and denoiser together: channels, and the noise level of the whole picture."""
    channels = image.shape[1]
    if channels != denoiser.channels and hasattr(denoiser, "with_channels"):
        denoiser = denoiser.with_channels(channels)
    if takes_level(denoiser) and getattr(denoiser.config, "sigma", None) is None:
        denoiser = denoiser.with_sigma(max(_FAINTEST, float(estimate_sigma(image))))
    if channels == denoiser.channels:
        return image, denoiser
    if channels == 3 and denoiser.channels == 1:
        return image.transpose(0, 1), denoiser
    raise ValueError(
        f"the picture is {_kind(channels)}, and denoiser '{denoiser.name}' works on "
        f"{_kind(denoiser.channels)}; use a denoiser made for such pictures."
    )


def _kind(channels: int) -> str:
    word = _KINDS.get(channels, "of another kind")
    return f"{word} ({channels} channel{'s' if channels > 1 else ''})"


def _passes(denoiser: Denoiser, way: Way, height: int, width: int, tile: int) -> int:
    """Return how many tiles are estimated in all."""
    once = count_tiles(denoiser, height, width, tile=tile, overlap=way.overlap)
    if way.ensemble == "none":
        return once
    turned = count_tiles(denoiser, width, height, tile=tile, overlap=way.overlap)
    return TURNS // 2 * (once + turned)


def _estimate(tiled: Tiled, image: Tensor, way: Way, seed: int) -> Tensor:
    with torch.inference_mode():
        if way.ensemble == "flips":
            return flip_ensemble(tiled, image, draws=way.draws or 1, seed=seed)
        if can_draw(tiled) or way.draws is not None:
            return monte_carlo(tiled, image, way.draws or DRAWS, seed)
        return tiled(image)
