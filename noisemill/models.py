"""Generators and denoisers by name, ready for use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.errors import within_the_tree
from pipeline.models.device import check_device

if TYPE_CHECKING:
    from denoisers.base import Denoiser
    from generators.base import NoiseGenerator

__all__ = ["check_device", "load_denoiser", "load_generator"]


@within_the_tree()
def load_generator(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    params: Mapping[str, Any] | None = None,
    camera: str | None = None,
    iso: int | None = None,
    reference: bool = False,
    device: str = "cpu",
) -> NoiseGenerator:
    """Return a noise generator.

    Args:
        name: Its name; ``noisemill models`` lists them.
        weights: Bundled weights by name, or a file. A trained generator without takes the bundled
            ones that know the camera and the ISO speed.
        params: Its parameters, as in a manifest.
        camera: Camera of the noise that is wanted.
        iso: Its ISO speed.
        reference: Whether requests will carry a real noisy image to follow.
        device: Where its network works, e.g. ``cuda``.

    Raises:
        Error: If there is no such generator, or weights, parameters and capture metadata do not
            fit.
    """
    import generators
    from generators.weights_file import find
    from pipeline.models.choice import choose_weights

    values = dict(params or {})
    named = os.fspath(weights) if weights is not None else None
    if named is None:
        chosen = choose_weights(name, camera=camera, iso=iso)
        named = None if chosen is None else chosen.name
    if name == "naflow":
        known = camera is not None or iso is not None
        values.setdefault(
            "sampling", "noise-aware" if reference else "label" if known else "random"
        )
    for key, value in (("camera", camera), ("iso", iso)):
        if value is not None and generators.has_parameter(name, key):
            values.setdefault(key, value)
    path = None if named is None else find(named)
    generator = generators.create(name, params=values, weights=path)
    check_device(device)
    if device != "cpu":
        generator.place(device)
    return generator


@within_the_tree()
def load_denoiser(
    name: str,
    *,
    sigma: float | None = None,
    params: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Denoiser:
    """Return a denoiser: ``(B, C, H, W)`` float32 with the white level at 1 in, estimates out.

    Args:
        name: A denoiser, bundled weights, or a weights file.
        sigma: Noise level, white levels, for a denoiser that must know it.
        params: Of denoisers that are not trained to denoise.
        device: Where it works, e.g. ``cuda``.

    Raises:
        Error: If there is no such denoiser, or something is given that it has no use for.
    """
    from pipeline.pictures.denoise import open_denoiser

    return open_denoiser(name, sigma=sigma, params=params, device=device)
