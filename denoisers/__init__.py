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
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

__all__ = [
    "absent",
    "bundled",
    "create",
    "denoiser_of",
    "describe",
    "find",
    "is_trained",
    "load",
    "names",
    "parameters",
]

_BUILT_IN = {
    "bm3d": "denoisers.bm3d:BM3D",
    "dncnn": "denoisers.dncnn:DnCNN",
    "fino": "denoisers.fino:FinoDenoiser",
    "flow-prior": "denoisers.flow_prior:FlowPrior",
    "invdn": "denoisers.invdn:InvDNDenoiser",
    "unet": "denoisers.unet:UNet",
}
# Families of weights that are not called as the denoiser that uses them.
_FAMILIES = {"glow": "flow-prior"}
# Those that follow a rule of their own: nothing in them is trained to denoise.
_UNTRAINED = ("bm3d", "flow-prior")


def names() -> tuple[str, ...]:
    """Return the names of all denoisers, sorted."""
    return tuple(sorted(_BUILT_IN))


def denoiser_of(family: str) -> str | None:
    """Return the denoiser that weights of a family serve; ``None`` where they serve none."""
    name = _FAMILIES.get(family, family)
    return name if name in _BUILT_IN else None


def is_trained(name: str) -> bool:
    """Tell whether a denoiser is a network that is trained to denoise.

    Raises:
        ValueError: If there is no such denoiser.
    """
    _target(name)
    return name not in _UNTRAINED


def absent(name: str) -> str | None:
    """Return why a denoiser cannot be used on this machine; ``None`` if it can.

    Raises:
        ValueError: If there is no such denoiser.
    """
    module = import_module(_target(name)[0])
    reason: str | None = module.absent() if hasattr(module, "absent") else None
    return reason


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
    if name == "flow-prior":
        raise ValueError(
            "denoiser 'flow-prior' needs a trained Glow: load its weights file in place of making "
            "a fresh one."
        )
    allowed = [field.name for field in dataclasses.fields(cls.config_type)]
    _check_known(name, params, allowed)
    given = {"channels": channels, "seed": seed}
    if "channels" not in allowed and channels != cls.channels:
        raise ValueError(
            f"denoiser '{name}' works on images of {cls.channels} channels; got {channels}. "
            "Use 'dncnn' or 'unet'."
        )
    values = {key: value for key, value in given.items() if key in allowed}
    try:
        made: nn.Module = cls(cls.config_type(**values, **params))
    except ValueError as error:
        raise ValueError(f"denoiser '{name}': {error}") from error
    return made


def load(name_or_path: str | Path, **params: Any) -> nn.Module:
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
    from generators.weights_file import load_header, load_state, load_weights

    if str(name_or_path) == "bm3d":
        return create("bm3d", seed=0, **{"channels": 3, **params}).eval()
    path = find(str(name_or_path))
    family = load_header(path).family
    name = denoiser_of(family)
    if name is None:
        raise ValueError(
            f"{path} holds weights of '{family}', which is no denoiser; "
            f"denoisers are {', '.join(names())}."
        )
    cls = _load(name)
    changeable = [] if is_trained(name) else [f.name for f in dataclasses.fields(cls.config_type)]
    _check_known(name, params, changeable)
    if hasattr(cls, "from_weights"):
        loaded: nn.Module = cls.from_weights(path, **params)
        return loaded.eval()
    weights = load_weights(path, family=family)
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

    if name_or_path in _BUILT_IN and name_or_path not in bundled():
        fitting = _fitting(name_or_path)
        which = f"such as {' or '.join(fitting)}" if fitting else "none of which are bundled"
        raise FileNotFoundError(
            f"denoiser '{name_or_path}' needs trained weights, {which}; give their name, or a "
            ".safetensors file."
        )
    return find(name_or_path, known=bundled())


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


def _fitting(name: str) -> list[str]:
    from generators.weights_file import load_header

    families = {name, *(family for family, other in _FAMILIES.items() if other == name)}
    return [key for key, path in bundled().items() if load_header(path).family in families]


def _check_known(name: str, params: Mapping[str, Any], allowed: Sequence[str]) -> None:
    unknown = sorted(set(params) - set(allowed))
    if not unknown:
        return
    close = difflib.get_close_matches(unknown[0], allowed, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    known = f"it has {', '.join(allowed)}" if allowed else "its weights say how it is arranged"
    raise ValueError(
        f"denoiser '{name}' has no parameter {', '.join(map(repr, unknown))}; {known}.{hint}"
    )


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
