"""Names of the released Flow-sRGB checkpoint, mapped to ours.

The released state dict (CC BY-NC-SA 4.0: non-commercial, same licence for what is made of it)
numbers 22 layers: dequantisation, noise extraction, then four times CL2 and two pairs of 1x1
convolution and coupling. Of its 595 entries ours has 560: two of each coupling's convolutions are
listed twice, and three are constants.

Its couplings work in BGR and its five cameras and ISOs are those of SIDD. Of the 25 cells 15 were
trained; the other ten still hold their initial scale of one and are refused when sampling.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from generators.capture import configuration_name
from generators.flow_srgb.network import FlowSRGB, FlowSRGBConfig

__all__ = ["LICENSE", "SIDD", "from_released"]

LICENSE = "CC-BY-NC-SA-4.0"
_TRAINED = {
    "IP": (100, 400, 800, 1600),
    "GP": (100, 800),
    "S6": (100, 400, 800, 1600, 3200),
    "N6": (100, 800),
    "G4": (100, 800),
}
SIDD = FlowSRGBConfig(
    cameras=tuple(_TRAINED),
    isos=(100, 400, 800, 1600, 3200),
    configurations=tuple(configuration_name(c, i) for c, isos in _TRAINED.items() for i in isos),
    order="bgr",
)
_CONSTANTS = ("base_dist.buffer", "data_pre_processing.0.ldj_per_dim", "model.0.ldj_per_dim")
_MIX = {"l": "lower", "u": "upper", "log_s": "log_s", "p": "permutation", "sign_s": "sign_s"}
# Ours first; a second released name holds the same tensor.
_CONVS = {
    "enter": ("net.0", "conv2d_1"),
    "middle": ("net.3", "conv2d_2"),
    "leave": ("conv2d_3",),
}
_NORMS = {"enter_norm": "net.1", "middle_norm": "net.4"}
_NORM_STATE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def from_released(released: Mapping[str, Tensor]) -> FlowSRGB:
    """Build the released arrangement and load a released state dict, every key used.

    Args:
        released: Tensors by released name.

    Returns:
        The network in evaluation mode, for the SIDD cameras (:data:`SIDD`).

    Raises:
        ValueError: If a key is unknown or missing, a shape is wrong, or one tensor that is listed
            twice has two values.
    """
    names = _names()
    expected = {key for keys in names.values() for key in keys} | set(_CONSTANTS)
    for told, wrong in (
        ("lacks", sorted(expected - released.keys())),
        ("has, beyond a Flow-sRGB,", sorted(released.keys() - expected)),
    ):
        if wrong:
            raise ValueError(
                f"the released checkpoint {told} {', '.join(wrong[:3])} ({len(wrong)} in all)."
            )
    model = FlowSRGB(SIDD)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    ours: dict[str, Tensor] = {}
    for name, keys in names.items():
        values = [released[key] for key in keys]
        if not all(torch.equal(values[0], other) for other in values[1:]):
            raise ValueError(
                f"the released checkpoint holds one tensor under {' and '.join(keys)}, with "
                "different values; it was altered."
            )
        # Only the log factor of a coupling's last layer differs in shape, 1x4x1x1 there.
        value = values[0].flatten() if name.endswith("leave_logs") else values[0]
        if value.shape != shapes[name]:
            raise ValueError(
                f"{keys[0]} has shape {tuple(values[0].shape)}; a Flow-sRGB of five cameras and "
                f"five ISOs has {tuple(shapes[name])}."
            )
        ours[name] = value
    model.load_state_dict(ours, strict=True)
    return model.eval()


def _names() -> dict[str, tuple[str, ...]]:
    """Return our name -> released names of every tensor."""
    found: dict[str, tuple[str, ...]] = {}
    index = 2  # behind dequantisation and noise extraction
    for number, token in enumerate(SIDD.arrangement):
        layer = f"layers.{number}"
        if token == "CL2":
            for name in ("log_scale", "bias"):
                found[f"{layer}.affine.{name}"] = (f"model.{index}.{name}",)
            index += 1
            continue
        for theirs, name in _MIX.items():
            found[f"{layer}.mix.{name}"] = (f"model.{index}.{theirs}",)
        found |= _coupling(f"{layer}.coupling", f"model.{index + 1}._shift_and_log_scale")
        found |= _embedding(f"{layer}.embedding", f"model.{index + 1}._encoder")
        index += 2
    return found


def _coupling(ours: str, theirs: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {
        f"{ours}.scale": (f"{theirs}.scale",),
        f"{ours}.net.leave_logs": (f"{theirs}.logs",),
    }
    for conv, names in _CONVS.items():
        for part in ("weight", "bias"):
            found[f"{ours}.net.{conv}.{part}"] = tuple(f"{theirs}.{name}.{part}" for name in names)
    for norm, name in _NORMS.items():
        for part in _NORM_STATE:
            found[f"{ours}.net.{norm}.{part}"] = (f"{theirs}.{name}.{part}",)
    return found


def _embedding(ours: str, theirs: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for part in ("weight", "bias"):
        found[f"{ours}.enter.{part}"] = (f"{theirs}.initial_layer.{part}",)
        found[f"{ours}.leave.{part}"] = (f"{theirs}.final_layer.{part}",)
    for block in range(3):
        for step in range(2):
            mine, other = f"{ours}.blocks.{block}", f"{theirs}.blocks.{block}"
            for part in ("weight", "bias"):
                key = f"{other}.linear_layers.{step}.{part}"
                found[f"{mine}.linears.{step}.{part}"] = (key,)
            for part in _NORM_STATE:
                key = f"{other}.batch_norm_layers.{step}.{part}"
                found[f"{mine}.norms.{step}.{part}"] = (key,)
    return found
