"""Names of the released Noise Flow checkpoints, mapped to ours.

The released state dict numbers the layers data first, ``model.0`` to ``model.17``, as ours does;
Noise2NoiseFlow's joint file puts ``noise_flow.`` before and the denoiser's tensors beside. The
mapping covers every tensor. Two convolutions of each coupling are stored twice; the copies must be
equal.

The weights know the five phones of SIDD at five speeds, and take the 2x2 cell clockwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from generators.noise_flow.network import CHANNELS, RELEASED, NoiseFlow, NoiseFlowConfig
from generators.training import Part
from generators.weights_file import misfit

__all__ = ["CAMERAS", "ISOS", "from_released"]

CAMERAS = ("IP", "GP", "S6", "N6", "G4")
ISOS = (100, 400, 800, 1600, 3200)

_MIX = {"l": "lower", "u": "upper", "log_s": "log_s", "p": "permutation", "sign_s": "sign_s"}
_SIGNAL = {
    "cam_params": "camera_table",
    "gain_params": "iso_table",
    "beta1": "beta1",
    "beta2": "beta2",
}
_COUPLING = {
    "net.0": "net.enter",
    "net.1": "net.enter_norm",
    "net.3": "net.middle",
    "net.4": "net.middle_norm",
    "conv2d_3": "net.leave",
    "logs": "net.leave_logs",
    "scale": "scale",
}
_COPIES = {"conv2d_1": "net.0", "conv2d_2": "net.3"}


def from_released(state: Mapping[str, Tensor]) -> Part:
    """Turn a released state dict into weights of this project.

    Args:
        state: Tensors by released name, with or without the prefix ``noise_flow.``; those under
            ``denoiser.`` are another model's and not read.

    Returns:
        Family ``noise-flow``: the configuration and the tensors.

    Raises:
        ValueError: If a tensor is unknown, missing, of another shape, or differs from its copy.
    """
    plain = {
        key.removeprefix("noise_flow."): value
        for key, value in state.items()
        if not key.startswith("denoiser.")
    }
    config = NoiseFlowConfig(
        cameras=CAMERAS, isos=ISOS, arrangement=RELEASED, packing="clockwise", seed=0
    )
    ours: dict[str, Tensor] = {}
    for key, value in plain.items():
        original = _original(key)
        if original is None:
            ours[_rename(key)] = _converted(key, value)
        elif original not in plain or not torch.equal(value, plain[original]):
            raise ValueError(
                f"{key} must be a copy of {original} in a released Noise Flow checkpoint; it is "
                "missing or differs. The file was altered; fetch it again."
            )
    if wrong := misfit(NoiseFlow(config), ours):
        raise ValueError(f"the file does not hold the released Noise Flow: {wrong}.")
    return Part(family="noise-flow", config=config.to_dict(), tensors=ours)


def _original(key: str) -> str | None:
    """Return the name of the tensor that this one repeats, if it is a copy."""
    for copy, original in _COPIES.items():
        if f".{copy}." in key:
            return key.replace(f".{copy}.", f".{original}.")
    return None


def _rename(key: str) -> str:
    if match := re.fullmatch(r"model\.(\d+)\.(.+)", key):
        prefix, rest = f"layers.{match[1]}", match[2]
        if rest in _MIX:
            return f"{prefix}.{_MIX[rest]}"
        if rest == "scale":
            return f"{prefix}.log_scale"
        if rest.startswith("_scale.") and (name := rest.removeprefix("_scale.")) in _SIGNAL:
            return f"{prefix}.{_SIGNAL[name]}"
        if rest.startswith("_shift_and_log_scale."):
            inner = rest.removeprefix("_shift_and_log_scale.")
            for theirs, name in _COUPLING.items():
                if inner == theirs or inner.startswith(f"{theirs}."):
                    return f"{prefix}.{name}{inner.removeprefix(theirs)}"
    raise ValueError(f"{key!r} is no tensor of a released Noise Flow checkpoint.")


def _converted(key: str, value: Tensor) -> Tensor:
    if re.fullmatch(r"model\.\d+\.scale", key):
        if not bool(value > 0):
            raise ValueError(f"{key}, the gain, must be > 0; it is {float(value):.4g}.")
        return value.log()
    if key.endswith("._shift_and_log_scale.logs"):
        return value.flatten()
    if re.fullmatch(r"model\.\d+\.[lu]", key) and value.shape == (CHANNELS, CHANNELS):
        # What lies outside the triangle is not read; ours keeps zeros there.
        return value.tril(-1) if key.endswith(".l") else value.triu(1)
    return value
