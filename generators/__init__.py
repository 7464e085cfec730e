"""Noise generators by name: the physics of noise, without files, clusters or a command line.

The registry holds text (``module:Class``), so importing this package imports nothing else; a
generator's module, and torch with it, is loaded when the generator is described or made. Other
distributions add generators through the entry point group ``noisemill.generators``, each entry
``name = module:Class``.

What can be trained is listed beside them (``trainable``): objectives, several of which may train
the same generator's weights.

A generator's parameters are the keyword arguments of its constructor. One with trained weights has
a static method ``load_network(path)``; what it reads is the constructor's first argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from generators.registry import Registry, close_match

if TYPE_CHECKING:
    from generators.base import Domain, Need, NoiseGenerator
    from generators.training import NoiseTask

__all__ = [
    "REGISTRY",
    "TASKS",
    "Description",
    "create",
    "describe",
    "has_parameter",
    "is_trained",
    "names",
    "parameters",
    "task",
    "trainable",
]

REGISTRY = Registry(
    "generator",
    "noisemill.generators",
    {
        "awgn": "generators.parametric:AWGN",
        "awgn-measured": "generators.measured:MeasuredAwgn",
        "camera": "generators.camera:SimulatedCamera",
        "fino": "generators.fino.sampling:FINOGenerator",
        "flow-srgb": "generators.flow_srgb.sampling:FlowSRGBGenerator",
        "heteroscedastic": "generators.parametric:Heteroscedastic",
        "heteroscedastic-fitted": "generators.measured:FittedHeteroscedastic",
        "invdn": "generators.invdn.sampling:InvDNGenerator",
        "naflow": "generators.naflow.sampling:NAFlowGenerator",
        "nlf": "generators.nlf.sampling:NLFGenerator",
        "noise-flow": "generators.noise_flow.sampling:NoiseFlowGenerator",
        "poisson-gaussian": "generators.parametric:PoissonGaussian",
        "real": "generators.measured:RealNoise",
        "spatially-variant-awgn": "generators.parametric:SpatiallyVariantAWGN",
    },
    needs=("accepts", "gives", "needs", "sample"),
    base="generators.base",
)


TASKS = Registry(
    "training",
    "noisemill.tasks",
    {
        "fino": "generators.fino.training:FINOTask",
        "flow-srgb": "generators.flow_srgb.training:FlowSRGBTask",
        "glow": "generators.glow.training:GlowTask",
        "invdn": "generators.invdn.training:InvDNTask",
        "naflow": "generators.naflow.training:NAFlowTask",
        "nlf": "generators.nlf.training:NLFTask",
        "nlf-noisy-pairs": "generators.nlf.training:NoisyPairNLFTask",
        "noise-flow": "generators.noise_flow.training:NoiseFlowTask",
        "noise2noise-flow": "generators.noise2noise_flow:Noise2NoiseFlowTask",
        "r2r-flow": "generators.r2r_flow:R2RFlowTask",
    },
    needs=("create", "domain", "either_domain", "loss", "parts", "uses"),
    base="generators.training.NoiseTask",
)


class Description(NamedTuple):
    """What a generator is, before it is made.

    Args:
        accepts: Domain it reads; some generators have a parameter that changes it.
        gives: Domain it returns; likewise.
        needs: What it always needs; a parameter may add to it.
        summary: First line of its documentation.
    """

    accepts: Domain
    gives: Domain
    needs: frozenset[Need]
    summary: str


def names() -> tuple[str, ...]:
    """Return the names of all generators, built in and installed, sorted."""
    return REGISTRY.names()


def describe(name: str) -> Description:
    """Return what a generator reads, gives and needs.

    Raises:
        ValueError: If there is no such generator.
    """
    cls = _load(name)
    return Description(cls.accepts, cls.gives, frozenset(cls.needs), REGISTRY.summary(name))


def create(name: str, *, params: Mapping[str, Any], weights: Path | None = None) -> NoiseGenerator:
    """Make a generator.

    Args:
        name: Registry name.
        params: Its parameters, as a manifest gives them.
        weights: File of trained weights, for generators that have them.

    Raises:
        ValueError: If the name is unknown, a parameter is unknown, missing or wrong, or weights are
            given to a generator without or withheld from one with.

    Example:
        >>> create("awgn", params={"sigma": 25}).gives
        'srgb'
    """
    # Here, since it imports torch, which a list of names does without.
    from generators.base import as_generator

    cls = _load(name)
    trained = hasattr(cls, "load_network")
    if not trained and weights is not None:
        raise ValueError(
            f"generator '{name}' has no trained weights; remove `weights` ({weights})."
        )
    if trained and weights is None:
        raise ValueError(
            f"generator '{name}' needs trained weights; set `weights` to bundled weights by name "
            "or to a .safetensors file."
        )
    _check_names(name, cls, skip=int(trained), params=params)
    try:
        made = cls(cls.load_network(weights), **params) if trained else cls(**params)
        return as_generator(made)
    except (TypeError, ValueError) as error:
        text, about = str(error), f"generator '{name}'"
        raise ValueError(text if text.startswith(about) else f"{about}: {text}") from error


def has_parameter(name: str, parameter: str) -> bool:
    """Return True if a generator takes a parameter.

    Raises:
        ValueError: If there is no such generator.
    """
    return parameter in parameters(name)


def parameters(name: str) -> dict[str, str]:
    """Return a generator's parameters: name to default value, as Python writes it.

    One without default value has ``"required"``.

    Raises:
        ValueError: If there is no such generator.
    """
    found = list(inspect.signature(_load(name)).parameters.values())
    return {
        p.name: "required" if p.default is p.empty else repr(p.default)
        for p in found[is_trained(name) :]
    }


def is_trained(name: str) -> bool:
    """Return True if a generator is made from trained weights.

    Raises:
        ValueError: If there is no such generator.
    """
    return hasattr(_load(name), "load_network")


def trainable() -> tuple[str, ...]:
    """Return the names of all training objectives, sorted."""
    return TASKS.names()


def task(name: str) -> type[NoiseTask]:
    """Return the training task of an objective.

    Raises:
        ValueError: If there is no such objective.
    """
    found: type[NoiseTask] = TASKS.load(name)
    return found


def _load(name: str) -> Any:
    """Return the class of a generator."""
    return REGISTRY.load(name)


def _check_names(name: str, cls: Any, *, skip: int, params: Mapping[str, Any]) -> None:
    """Refuse parameters that the class does not take, and the lack of those it must have."""
    accepted = list(inspect.signature(cls).parameters.values())[skip:]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted):
        return
    allowed = [p.name for p in accepted]
    unknown = sorted(set(params) - set(allowed))
    if unknown:
        raise ValueError(
            f"generator '{name}' has no parameter {', '.join(repr(u) for u in unknown)}; "
            f"it has {', '.join(allowed) or 'none'}.{close_match(unknown[0], allowed)}"
        )
    lacking = [p.name for p in accepted if p.default is p.empty and p.name not in params]
    if lacking:
        raise ValueError(
            f"generator '{name}' needs parameter {', '.join(repr(p) for p in lacking)}; "
            f"its parameters are {', '.join(allowed)}."
        )
