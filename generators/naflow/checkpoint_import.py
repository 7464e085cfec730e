"""Names of the released NAFlow checkpoint, mapped to ours.

The released state dict (repository NAFlow, MIT) names its tensors after the layers' positions in
one list of 18; ours are grouped by level. The mapping is one to one and covers every tensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.weights_file import misfit

__all__ = ["LICENSE", "from_released", "load_released", "to_ours"]

LICENSE = "MIT"

_COUPLING = {
    "fFeatures": "inject",
    "fAffine": "couple",
    "0.weight": "enter.weight",
    "0.actnorm.bias": "enter.bias",
    "0.actnorm.logs": "enter.logs",
    "2.body.0.weight": "spread.weight",
    "2.body.0.bias": "spread.bias",
    "2.body.2.weight": "middle.weight",
    "2.body.2.actnorm.bias": "middle.bias",
    "2.body.2.actnorm.logs": "middle.logs",
    "3.weight": "leave.weight",
    "3.bias": "leave.bias",
    "3.logs": "leave_logs",
}
_INVCONV = {"l": "lower", "u": "upper", "log_s": "log_s", "p": "permutation", "sign_s": "sign_s"}
_CONDITION = {"down1": "lift", "down2": "down.0", "down4": "down.1", "down8": "down.2"}
# Layers a level: squeeze, two transitions, two coupled steps; three embedding steps come first.
_EMBEDDING, _PER_LEVEL = 3, 5


def to_ours(released: Mapping[str, Tensor], configurations: tuple[str, ...]) -> dict[str, Tensor]:
    """Rename a released state dict.

    Args:
        released: Tensors by released name, with or without the Lightning prefix ``model.``.
        configurations: The classes, in order.

    Returns:
        Tensors by our names, in our shapes.

    Raises:
        ValueError: If a key is unknown or a class is missing.
    """
    plain = {key.removeprefix("model."): value for key, value in released.items()}
    ours: dict[str, Tensor] = {}
    for part, name in (("mean", "prior_mean"), ("cov", "prior_std")):
        keys = [f"{part}_shift_{configuration}" for configuration in configurations]
        missing = [key for key in keys if key not in plain]
        if missing:
            raise ValueError(f"the released checkpoint lacks {', '.join(missing[:3])}.")
        ours[name] = torch.stack([plain.pop(key) for key in keys])
    for key, value in plain.items():
        try:
            ours[_rename(key)] = _reshape(key, value)
        except (KeyError, IndexError) as error:
            raise ValueError(f"{key!r} is no tensor of a NAFlow checkpoint.") from error
    return ours


def from_released(released: Mapping[str, Tensor]) -> NAFlow:
    """Build the released arrangement for the classes that a state dict names, every key used.

    Args:
        released: Tensors by released name, with or without the Lightning prefix ``model.``.

    Returns:
        The network in evaluation mode; its configurations in the order of the file.

    Raises:
        ValueError: If a key is unknown or missing, or a shape is wrong.
    """
    found = [re.fullmatch(r"(?:model\.)?mean_shift_(.+)", key) for key in released]
    configurations = tuple(match[1] for match in found if match)
    if not configurations:
        raise ValueError("the released checkpoint names no class: it lacks 'mean_shift_...'.")
    ours = to_ours(released, configurations)
    model = NAFlow(NAFlowConfig(configurations=configurations))
    if wrong := misfit(model, ours):
        raise ValueError(f"the released checkpoint, by our names: {wrong}.")
    model.load_state_dict(ours, strict=True)
    return model.eval()


def load_released(released: Mapping[str, Tensor], configurations: tuple[str, ...]) -> NAFlow:
    """Build the released arrangement and load a released state dict into it, every key used."""
    model = NAFlow(NAFlowConfig(configurations=configurations))
    model.load_state_dict(to_ours(released, configurations), strict=True)
    return model.eval()


def _rename(key: str) -> str:
    if key == "I":
        return "unused_identity"
    if match := re.fullmatch(r"cond_net\.(down\d)\.(weight|bias)", key):
        return f"condition.{_CONDITION[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"flowUpsamplerNet\.f\.0\.(weight|bias)", key):
        return f"unused_conv.{match[1]}"
    if match := re.fullmatch(r"flowUpsamplerNet\.layers\.(\d+)\.(.+)", key):
        return _rename_layer(int(match[1]), match[2])
    raise ValueError(f"{key!r} is no tensor of a NAFlow checkpoint.")


def _rename_layer(index: int, rest: str) -> str:
    part, _, tail = rest.partition(".")
    if index < _EMBEDDING:
        # The first embedding step is a lone 1x1; each later one is ActNorm, then 1x1.
        position = {"actnorm": 2 * index - 1, "invconv": 2 * index}[part]
        return f"embedding.{position}.{_INVCONV.get(tail, tail)}"
    level, step = divmod(index - _EMBEDDING, _PER_LEVEL)
    if step <= 2:
        position = 2 * (step - 1) + (part == "invconv")
        return f"levels.{level}.transitions.{position}.{_INVCONV.get(tail, tail)}"
    prefix = f"levels.{level}.steps.{step - 3}"
    if part == "affine":
        network, _, inner = tail.partition(".")
        return f"{prefix}.coupling.{_COUPLING[network]}.{_COUPLING[inner]}"
    return f"{prefix}.{'mix' if part == 'invconv' else 'actnorm'}.{_INVCONV.get(tail, tail)}"


def _reshape(key: str, value: Tensor) -> Tensor:
    if "actnorm" in key or key.endswith("3.logs"):
        return value.flatten()
    if re.search(r"(fFeatures|fAffine)\.(0|2\.body\.2)\.weight$", key):
        return value[:, :, 0, 0]
    return value
