"""What there is to choose from: generators, denoisers, and the weights that are bundled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import denoisers
import generators
from generators.registry import Registry
from generators.weights_file import bundled, card, load_header, sha256_of_file
from pipeline.errors import UnknownNameError
from pipeline.manifest.mistakes import closest

__all__ = [
    "bundled_weights",
    "denoiser_details",
    "details",
    "entries",
    "entry",
    "known_denoisers",
    "known_generators",
    "shots_of",
]


def known_generators() -> list[dict[str, Any]]:
    """Return each generator's name, domains, needs, weights and one-line summary.

    ``needs`` is what it needs with default parameters; ``weights`` are the bundled ones that fit,
    ``None`` for a generator that is not trained.
    """
    return entries(generators.REGISTRY, _generator)


def known_denoisers() -> list[dict[str, Any]]:
    """Return each denoiser's name, bundled weights and one-line summary.

    ``weights`` is ``None`` for one that is not trained, ``absent`` says why one cannot be used on
    this machine (``None`` if it can).
    """
    return entries(denoisers.REGISTRY, _denoiser)


def entries(registry: Registry, describe: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an entry for each name of a registry.

    Args:
        registry: What is listed.
        describe: Makes the entry of a name; to each are added its ``owner``, the distribution that
            gives it, and ``broken``: why a plug-in cannot be used, ``None`` if it can.

    Raises:
        ValueError: If two distributions give one name.
    """
    return [entry(registry, name, describe) for name in registry.names()]


def entry(
    registry: Registry, name: str, describe: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """Return the entry of one name; see :func:`entries`."""
    owner = registry.owner(name)
    try:
        return {**describe(name), "owner": owner, "broken": None}
    except ValueError as error:
        if name in registry.built_in:
            raise
        return {"name": name, "summary": "", "owner": owner, "broken": str(error)}


def bundled_weights() -> list[dict[str, Any]]:
    """Return what is known of each bundled weights file, generators' first."""
    return [_weights(name, path) for name, path in _shelves().items()]


def details(name: str) -> dict[str, Any]:
    """Return everything about one generator, denoiser, bundled weights or weights file.

    Args:
        name: A name of :func:`known_generators`, :func:`known_denoisers` or
            :func:`bundled_weights`, or the path of a weights file.

    Returns:
        Its entry; a generator's with ``parameters``, of weights with their ``card``. ``kind`` says
        which of the three it is.

    Raises:
        UnknownNameError: If there is no such thing.
        ValueError: If a file is damaged.
    """
    if name in generators.names():
        parameters = generators.parameters(name)
        denoises = name in denoisers.names()
        return {
            "kind": "generator",
            **entry(generators.REGISTRY, name, _generator),
            "denoises": denoises,
            "parameters": parameters,
        }
    if name in denoisers.names():
        return denoiser_details(name)
    shelves = _shelves()
    path = shelves.get(name, Path(name).expanduser())
    if path.is_file():
        shown = name if name in shelves else path.stem
        return {"kind": "weights", **_weights(shown, path), "card": card(path)}
    known = [*generators.names(), *denoisers.names(), *shelves]
    guess = closest(name, known)
    hint = f"Did you mean '{guess}'?" if guess else f"There are {', '.join(known)}."
    raise UnknownNameError(
        f"'{name}' is no generator, denoiser, bundled weights or weights file. {hint}"
    )


def denoiser_details(name: str) -> dict[str, Any]:
    """Return everything about one denoiser.

    Raises:
        ValueError: If there is no such denoiser, or it is a broken plug-in.
    """
    parameters = denoisers.parameters(name)
    told = entry(denoisers.REGISTRY, name, _denoiser)
    return {"kind": "denoiser", **told, "parameters": parameters}


def shots_of(config: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """Return every camera and ISO that the configuration of a network knows."""
    if config.get("configurations"):
        return [_shot(text) for text in config["configurations"]]
    return [(camera, iso) for camera in config.get("cameras", []) for iso in config.get("isos", [])]


def _shelves() -> dict[str, Path]:
    return {**bundled(), **denoisers.bundled()}


def _generator(name: str) -> dict[str, Any]:
    description = generators.describe(name)
    weights = _fitting(name, bundled()) if generators.is_trained(name) else None
    return {
        "name": name,
        "accepts": description.accepts,
        "gives": description.gives,
        "needs": sorted(_needs(name, weights)),
        "weights": weights,
        "summary": description.summary,
    }


def _denoiser(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "weights": denoisers.fitting_weights(name) if denoisers.has_weights(name) else None,
        "absent": denoisers.absent(name),
        "summary": denoisers.describe(name),
    }


def _weights(name: str, path: Path) -> dict[str, Any]:
    header, about = load_header(path), card(path)
    shots = shots_of(header.config)
    return {
        "name": name,
        "family": header.family,
        "domain": _domain(header.family, header.config),
        "shots": [{"camera": camera, "iso": iso} for camera, iso in shots],
        "parameters": about.get("parameters", header.parameters),
        "license": header.license,
        "sha256": sha256_of_file(path),
        "bytes": path.stat().st_size,
        "metrics": about.get("metrics", {}),
        "training_data": about.get("training_data", ""),
    }


def _domain(family: str, config: Mapping[str, Any]) -> str | None:
    """Return the domain of weights; ``None`` where the family belongs to a missing plug-in."""
    if denoisers.denoiser_of(family) is not None:
        return "raw" if config.get("channels") == 4 else "srgb"
    return generators.describe(family).gives if family in generators.names() else None


def _fitting(family: str, shelf: dict[str, Path]) -> list[str]:
    return [name for name, path in shelf.items() if load_header(path).family == family]


def _needs(name: str, weights: list[str] | None) -> frozenset[str]:
    """Return what a generator needs, asked of one with default parameters where it is trained."""
    if weights:
        made = generators.create(name, params={}, weights=bundled()[weights[0]])
        return frozenset(made.needs)
    return frozenset(generators.describe(name).needs)


def _shot(configuration: str) -> tuple[str, int | None]:
    """Return camera and ISO of a configuration's name, ``Nikon D800_01600``."""
    camera, _, iso = configuration.rpartition("_")
    return (camera, int(iso)) if camera and iso.isdigit() else (configuration, None)
