"""Everything that has a name: what there is of each kind, and all about one name.

A name may stand for several things: `naflow` is a generator, a training and a family of weights.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import denoisers
import generators
from generators.registry import Registry
from pipeline.errors import UnknownNameError
from pipeline.kinds import FORMATS, METRICS, SOURCES
from pipeline.manifest.mistakes import closest
from pipeline.models.catalogue import (
    bundled_weights,
    denoiser_details,
    details,
    entries,
    entry,
    known_denoisers,
    known_generators,
)

__all__ = ["all_about", "known"]


def known() -> dict[str, list[dict[str, Any]]]:
    """Return all entries by kind, each with at least ``name``, ``summary`` and ``owner``.

    Weights have no owner: they come with the package.

    Raises:
        ValueError: If two distributions give one name.
    """
    more = {
        f"{registry.kind.split()[0]}s": entries(registry, describe) for registry, describe in _MORE
    }
    return {
        "generators": known_generators(),
        "denoisers": known_denoisers(),
        "weights": bundled_weights(),
        **more,
    }


def all_about(name: str) -> dict[str, Any]:
    """Return everything about one name, or about a weights file.

    Args:
        name: A name of any kind, or the path of a weights file.

    Returns:
        What it is first of all, with ``kind``; ``also`` is a list of what else has that name.

    Raises:
        UnknownNameError: If there is no such thing.
        ValueError: If a file is damaged, or a plug-in is broken.
    """
    things = list(_things(name))
    if not things:
        names = [each["name"] for kind in known().values() for each in kind]
        guess = closest(name, names)
        hint = f"Did you mean '{guess}'?" if guess else f"There are {', '.join(names)}."
        raise UnknownNameError(f"'{name}' is nothing that noisemill knows, and no file. {hint}")
    return {**things[0], "also": things[1:]}


def _things(name: str) -> Iterator[dict[str, Any]]:
    is_generator = name in generators.REGISTRY
    try:
        yield details(name)
    except UnknownNameError:
        pass
    if is_generator and name in denoisers.REGISTRY:
        yield denoiser_details(name)
    for registry, describe in _MORE:
        if name in registry:
            registry.load(name)  # a broken plug-in is told
            yield {"kind": registry.kind, **entry(registry, name, describe)}
    family = [weights["name"] for weights in bundled_weights() if weights["family"] == name]
    if family and not is_generator and name not in denoisers.REGISTRY:
        yield {"kind": "weights family", "name": name, "summary": "", "weights": family}


def _training(name: str) -> dict[str, Any]:
    task = generators.task(name)
    return {
        "name": name,
        "summary": generators.TASKS.summary(name),
        "domain": "srgb or raw" if task.either_domain else task.domain,
        "uses": task.uses,
        "params": _documented_params(task.create),
    }


def _documented_params(create: Callable[..., Any]) -> str:
    """Return what the documentation of a task says of its manifest's ``params``."""
    text = re.search(
        r"\n +params: (.*?)(?=\n {4}\w+:|\n\n|$)", inspect.getdoc(create) or "", re.DOTALL
    )
    words = re.sub(r"\s+", " ", text.group(1)) if text else ""
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", words).replace("``", "")


def _source(name: str) -> dict[str, Any]:
    fields = SOURCES.load(name).model_fields
    return {
        "name": name,
        "summary": SOURCES.summary(name),
        "parameters": {
            key: "required" if field.is_required() else repr(field.default)
            for key, field in fields.items()
            if key != "type"
        },
    }


def _format(name: str) -> dict[str, Any]:
    sink = FORMATS.load(name)
    return {
        "name": name,
        "summary": FORMATS.summary(name),
        "suffix": sink.suffix,
        "folders": list(sink.folders),
        "parameters": {key: repr(value) for key, value in sink.settings.items()},
    }


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS.load(name)
    return {
        "name": name,
        "summary": METRICS.summary(name),
        "compares": metric.compares,
        "better": metric.better,
        "unit": metric.unit,
    }


_MORE: tuple[tuple[Registry, Callable[[str], dict[str, Any]]], ...] = (
    (generators.TASKS, _training),
    (SOURCES, _source),
    (FORMATS, _format),
    (METRICS, _metric),
)
