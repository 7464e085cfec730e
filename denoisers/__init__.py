"""Denoisers by name: images in, images out.

The registry holds text (``module:Class``), so importing this package imports nothing else. May
import :mod:`generators`, torch, numpy and safetensors, and nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__all__ = ["bundled", "create", "describe", "find", "load", "names", "parameters"]

_BUILT_IN = {
    "dncnn": "denoisers.dncnn:DnCNN",
    "unet": "denoisers.unet:UNet",
}


def names() -> tuple[str, ...]:
    """Return the names of all denoisers, sorted."""
    return tuple(sorted(_BUILT_IN))


def describe(name: str) -> str:
    """Return the first line of a denoiser's documentation.

    Raises:
        ValueError: If there is no such denoiser.
    """
    module = import_module(_target(name)[0])
    return (module.__doc__ or "").partition("\n")[0]


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


def create(name: str, *, channels: int, seed: int, **params: Any) -> nn.Module:
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
    allowed = [field.name for field in dataclasses.fields(cls.config_type)]
    unknown = sorted(set(params) - set(allowed))
    if unknown:
        close = difflib.get_close_matches(unknown[0], allowed, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(
            f"denoiser '{name}' has no parameter {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(allowed)}.{hint}"
        )
    try:
        made: nn.Module = cls(cls.config_type(channels=channels, seed=seed, **params))
    except ValueError as error:
        raise ValueError(f"denoiser '{name}': {error}") from error
    return made


def load(name_or_path: str | Path) -> nn.Module:
    """Return a denoiser with trained weights, in evaluation mode.

    Args:
        name_or_path: Bundled weights by name, or a ``.safetensors`` file.

    Returns:
        A module that satisfies :class:`denoisers.base.Denoiser`.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If the file is damaged or holds no denoiser.
    """
    from generators.weights_file import load_header, load_state, load_weights

    path = find(str(name_or_path))
    family = load_header(path).family
    if family not in _BUILT_IN:
        raise ValueError(
            f"{path} holds weights of '{family}', which is no denoiser; "
            f"denoisers are {', '.join(names())}."
        )
    cls, weights = _load(family), load_weights(path, family=family)
    try:
        made: nn.Module = cls(cls.config_type.from_dict(weights.config))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: its configuration is not that of this version's '{family}' ({error}); "
            "train or import the weights again."
        ) from error
    load_state(made, weights, path)
    return made.eval()


def find(name_or_path: str) -> Path:
    """Return the file of bundled denoiser weights, or of a path.

    Raises:
        FileNotFoundError: If there is neither.
    """
    from generators.weights_file import find

    return find(name_or_path, known=bundled())


def bundled() -> dict[str, Path]:
    """Return the denoiser weights that come with the package, by name."""
    from pathlib import Path

    folder = Path(__file__).parent / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def _target(name: str) -> tuple[str, str]:
    if name not in _BUILT_IN:
        close = difflib.get_close_matches(name, _BUILT_IN, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(f"there is no denoiser '{name}'; there are {', '.join(names())}.{hint}")
    module, _, attribute = _BUILT_IN[name].partition(":")
    return module, attribute


def _load(name: str) -> Any:
    module, attribute = _target(name)
    return getattr(import_module(module), attribute)
