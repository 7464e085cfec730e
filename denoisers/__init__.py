"""Denoisers by name: images in, images out.

The registry holds text (``module:Class``), so importing this package imports nothing else. May
import :mod:`generators`, torch, numpy and safetensors, and nothing else.

A denoiser's class says how it is made, trained and loaded (:class:`denoisers.base.DenoiserModule`).
Other distributions add denoisers through the entry point group ``noisemill.denoisers``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from generators.registry import Registry, close_match

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from denoisers.base import DenoiserModule

__all__ = [
    "REGISTRY",
    "absent",
    "bundled",
    "create",
    "denoiser_of",
    "describe",
    "find",
    "fitting_weights",
    "has_weights",
    "is_trained",
    "load",
    "must_know_channels",
    "names",
    "parameters",
]

REGISTRY = Registry(
    "denoiser",
    "noisemill.denoisers",
    {
        "bm3d": "denoisers.bm3d:BM3D",
        "dncnn": "denoisers.dncnn:DnCNN",
        "fino": "denoisers.fino:FinoDenoiser",
        "flow-prior": "denoisers.flow_prior:FlowPrior",
        "invdn": "denoisers.invdn:InvDNDenoiser",
        "unet": "denoisers.unet:UNet",
    },
    needs=("absent", "config_type", "from_weights", "trainable", "weights_family"),
    base="denoisers.base.DenoiserModule",
)


def names() -> tuple[str, ...]:
    """Return the names of all denoisers, built in and installed, sorted."""
    return REGISTRY.names()


def denoiser_of(family: str) -> str | None:
    """Return the denoiser that weights of a family serve; ``None`` where they serve none.

    A plug-in that cannot be imported serves none.
    """
    for name in sorted(names(), key=lambda name: name != family):
        try:
            if _load(name).weights_family == family:
                return name
        except ValueError:
            continue
    return None


def has_weights(name: str) -> bool:
    """Return True if a denoiser is loaded from a weights file.

    Raises:
        ValueError: If there is no such denoiser.
    """
    return _load(name).weights_family is not None


def must_know_channels(name: str) -> bool:
    """Return True for a denoiser without weights that is made for one number of channels.

    Args:
        name: As for :func:`load`.
    """
    return name in REGISTRY and not has_weights(name) and "channels" in parameters(name)


def is_trained(name: str) -> bool:
    """Return True if a denoiser is a network that is trained to denoise.

    Raises:
        ValueError: If there is no such denoiser.
    """
    return _load(name).trainable


def absent(name: str) -> str | None:
    """Return why a denoiser cannot be used on this machine; ``None`` if it can.

    Raises:
        ValueError: If there is no such denoiser.
    """
    return _load(name).absent()


def describe(name: str) -> str:
    """Return the first line of a denoiser's documentation.

    Raises:
        ValueError: If there is no such denoiser.
    """
    return REGISTRY.summary(name)


def parameters(name: str) -> dict[str, str]:
    """Return the fields of a denoiser's arrangement: name to default value, as Python writes it.

    One without default value has ``"required"``.

    Raises:
        ValueError: If there is no such denoiser.
    """
    return {
        field.name: "required" if field.default is dataclasses.MISSING else repr(field.default)
        for field in dataclasses.fields(_load(name).config_type)
    }


def create(name: str, *, channels: int, seed: int, **params: Any) -> DenoiserModule:
    """Make a denoiser with fresh weights.

    Args:
        name: Registry name.
        channels: Of the images: 1 grey, 3 colour, 4 packed raw.
        seed: Seed of the initial weights.
        params: Its arrangement, the fields of its configuration.

    Returns:
        A module that satisfies :class:`denoisers.base.Denoiser`.

    Raises:
        ValueError: If the name or a parameter is unknown, or a value wrong.

    Example:
        >>> create("dncnn", channels=4, seed=0).config.depth
        9
    """
    cls = _load(name)
    if not cls.trainable and cls.weights_family is not None:
        raise ValueError(
            f"denoiser '{name}' needs trained weights of '{cls.weights_family}': load its weights "
            "file in place of making a fresh one."
        )
    allowed = _fields(cls)
    _check_known(name, params, allowed)
    given = {"channels": channels, "seed": seed}
    if "channels" not in allowed and channels != cls.channels:
        raise ValueError(
            f"denoiser '{name}' works on images of {cls.channels} channels; got {channels}. "
            "Use one that is made for any number of them, such as 'dncnn'."
        )
    values = {key: value for key, value in given.items() if key in allowed}
    return _make(name, {**values, **params})


def load(name_or_path: str | Path, **params: Any) -> DenoiserModule:
    """Return a denoiser that is ready for use, in evaluation mode.

    Args:
        name_or_path: Bundled weights by name (``invdn-polyu``), a ``.safetensors`` file (of a Glow
            for ``flow-prior``), or the name of a denoiser without weights (``bm3d``).
        params: Of those that are not trained to denoise: BM3D's and the flow prior's fields, e.g.
            ``sigma``.

    Returns:
        A module that satisfies :class:`denoisers.base.Denoiser`.

    Raises:
        FileNotFoundError: If there is neither.
        ImportError: If its package is not installed.
        ValueError: If the file is damaged or holds no denoiser, or a parameter is wrong.
    """
    from generators.weights_file import load_header

    given = str(name_or_path)
    if given in REGISTRY and not has_weights(given):
        _check_known(given, params, _fields(_load(given)))
        return _make(given, params).eval()
    path = find(given)
    family = load_header(path).family
    name = denoiser_of(family)
    if name is None:
        raise ValueError(
            f"{path} holds weights of '{family}', which is no denoiser; "
            f"denoisers are {', '.join(names())}."
        )
    cls = _load(name)
    _check_known(name, params, [] if cls.trainable else _fields(cls))
    return cls.from_weights(path, **params).eval()


def find(name_or_path: str) -> Path:
    """Return the file of bundled denoiser weights, or of a path.

    Raises:
        FileNotFoundError: If there is neither.
    """
    from pathlib import Path

    from generators.weights_file import find

    if name_or_path in REGISTRY and name_or_path not in bundled():
        fitting = fitting_weights(name_or_path)
        which = f"such as {' or '.join(fitting)}" if fitting else "none of which are bundled"
        raise FileNotFoundError(
            f"denoiser '{name_or_path}' needs trained weights, {which}; give their name, or a "
            ".safetensors file."
        )
    # A file is itself: naming the bundled ones would read the header of each.
    plain = Path(name_or_path).suffix == ".safetensors" and Path(name_or_path).is_file()
    return find(name_or_path, known={} if plain else bundled())


def fitting_weights(name: str) -> list[str]:
    """Return the bundled weights that a denoiser can use, by name.

    Raises:
        ValueError: If there is no such denoiser.
    """
    from generators.weights_file import load_header

    family = _load(name).weights_family
    return [key for key, path in bundled().items() if load_header(path).family == family]


def bundled() -> dict[str, Path]:
    """Return the weights that come with the package and denoise, by name.

    Those of generators that denoise as well (InvDN, FINO) are among them.
    """
    from pathlib import Path

    from generators.weights_file import bundled, load_header

    shared = {
        name: path
        for name, path in bundled().items()
        if denoiser_of(load_header(path).family) is not None
    }
    folder = Path(__file__).parent / "weights"
    return {**shared, **{path.stem: path for path in sorted(folder.glob("*.safetensors"))}}


def _load(name: str) -> type[DenoiserModule]:
    cls: type[DenoiserModule] = REGISTRY.load(name)
    return cls


def _make(name: str, values: Mapping[str, Any]) -> DenoiserModule:
    cls: Any = _load(name)
    try:
        denoiser: DenoiserModule = cls(cls.config_type(**values))
    except ValueError as error:
        raise ValueError(f"denoiser '{name}': {error}") from error
    return denoiser


def _fields(cls: type[DenoiserModule]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls.config_type)]


def _check_known(name: str, params: Mapping[str, Any], allowed: Sequence[str]) -> None:
    unknown = sorted(set(params) - set(allowed))
    if not unknown:
        return
    known = f"it has {', '.join(allowed)}" if allowed else "its weights say how it is arranged"
    raise ValueError(
        f"denoiser '{name}' has no parameter {', '.join(map(repr, unknown))}; {known}."
        f"{close_match(unknown[0], list(allowed))}"
    )
