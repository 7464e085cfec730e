"""What there is to choose from: generators in the registry, weights that are bundled."""

from __future__ import annotations

from typing import Any

import generators
from generators.weights_file import bundled, card, load_header, sha256_of_file

__all__ = ["bundled_weights", "default_weights", "known_generators"]


def known_generators() -> list[dict[str, Any]]:
    """Return each generator's name, domains, needs, weights and one-line summary.

    ``needs`` is what it needs with default parameters; ``weights`` are the bundled ones that fit,
    ``None`` for a generator that is not trained.
    """
    found = []
    for name in generators.names():
        description = generators.describe(name)
        trained = generators.is_trained(name)
        weights = _fitting(name) if trained else None
        found.append(
            {
                "name": name,
                "accepts": description.accepts,
                "gives": description.gives,
                "needs": sorted(_needs(name, weights)),
                "weights": weights,
                "summary": description.summary,
            }
        )
    return found


def bundled_weights() -> list[dict[str, Any]]:
    """Return what is known of each bundled weights file."""
    found = []
    for name, path in bundled().items():
        header, about = load_header(path), card(path)
        shots = [_shot(text) for text in header.config.get("configurations", [])]
        found.append(
            {
                "name": name,
                "family": header.family,
                "domain": generators.describe(header.family).gives,
                "shots": [{"camera": camera, "iso": iso} for camera, iso in shots],
                "parameters": header.parameters,
                "license": header.license,
                "sha256": sha256_of_file(path),
                "bytes": path.stat().st_size,
                "metrics": about.get("metrics", {}),
                "training_data": about.get("training_data", ""),
            }
        )
    return found


def default_weights(generator: str) -> str | None:
    """Return the bundled weights for a generator where nobody named any.

    Returns:
        Their name, or ``None`` for a generator without trained weights.

    Raises:
        ValueError: If there is no such generator, or several bundled weights fit, or none.
    """
    if not generators.is_trained(generator):
        return None
    fitting = _fitting(generator)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise ValueError(
            f"generator '{generator}' needs trained weights, and none are bundled; give a "
            ".safetensors file."
        )
    raise ValueError(f"generator '{generator}' has several weights; name {' or '.join(fitting)}.")


def _fitting(generator: str) -> list[str]:
    return [name for name, path in bundled().items() if load_header(path).family == generator]


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
