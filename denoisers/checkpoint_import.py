"""Names of released denoisers, mapped to ours.

Released DnCNNs are one list of layers, numbered with their activations, so a tensor's number tells
what it is: with batch norm, convolutions stand at 0, 2, 5, 8, ... and the norm of each, but for the
first and last, behind it; without, at 0, 2, 4, ... How many there are and which carry a bias is the
arrangement, read off the names; what the names do not say follows from who arranges so:

    prefix   batch norm  bias             arrangement      not in the names            licence
    model.   no          all              KAIR             -                           MIT
    model.   yes         all              NAFlow           eps 1e-4, momentum 0.9      MIT
    dncnn.   yes         none             DnCNN-PyTorch    estimate clamped to [0, 1]  GPL-3.0
    dncnn.   yes         first            Noise2NoiseFlow  -                           CC BY-NC-SA

A prefix ``module.`` (several GPUs) or ``denoiser.`` (part of a joint model) in front is dropped.
The U-Net's blocks are called ``_block1`` to ``_block6``. Noise2NoiseFlow reads the four cells of
packed raw clockwise; the channels of its first and last kernels are exchanged here, so that they
read the raster order of everything else. Every tensor of a file is used, and none may be missing;
only the counters of the norms, which nothing reads, may be.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoisers.dncnn import Bias, DnCNN, DnCNNConfig
from denoisers.unet import UNet, UNetConfig
from generators.noise_flow.network import CLOCKWISE
from generators.training import Part

__all__ = ["Origin", "dncnn_from_released", "from_released", "origin", "unet_from_released"]

_NORM = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "num_batches_tracked"
_DNCNN = re.compile(r"(model|dncnn|body)\.(\d+)\.(weight|bias|running_mean|running_var)")
_BLOCKS = {
    "_block1": "enter",
    "_block2": "down",
    "_block3": "bottom",
    "_block4": "up",
    "_block5": "rise",
    "_block6": "leave",
}


class Origin(NamedTuple):
    """Whose arrangement a denoiser has, and the licence of that project's released weights."""

    project: str
    license: str


_ORIGINS: dict[tuple[bool, Bias], Origin] = {
    (False, "all"): Origin("KAIR", "MIT"),
    (True, "all"): Origin("NAFlow", "MIT"),
    (True, "none"): Origin("DnCNN-PyTorch", "GPL-3.0"),
    (True, "first"): Origin("Noise2NoiseFlow", "CC-BY-NC-SA-4.0"),
    (True, "first-and-last"): Origin("C2N", "MIT"),
}


def from_released(state: Mapping[str, Tensor]) -> Part:
    """Rename a released denoiser, a DnCNN or a U-Net.

    Args:
        state: Tensors by released name.

    Raises:
        ValueError: If it is neither, or a tensor is missing, unknown or of another shape.
    """
    plain = _plain(state)
    return unet_from_released(plain) if "_block1.0.weight" in plain else dncnn_from_released(plain)


def dncnn_from_released(state: Mapping[str, Tensor]) -> Part:
    """Rename a released DnCNN.

    Args:
        state: Tensors by released name.

    Returns:
        Our names, and the arrangement that they tell.

    Raises:
        ValueError: If it is no DnCNN, or a tensor is missing, unknown or of another shape.
    """
    plain = _plain(state)
    found = {key: match for key in plain if (match := _DNCNN.fullmatch(key))}
    prefixes = {match[1] for match in found.values()}
    if len(prefixes) != 1 or not found:
        raise ValueError(f"this is no DnCNN: its tensors are {_some(plain)}.")
    (prefix,) = prefixes
    config = _arrangement({(int(m[2]), m[3]): plain[key] for key, m in found.items()})
    ours = _dncnn_names(config, prefix)
    counters = {key: name for key, name in ours.items() if key.endswith(_COUNTER)}
    if not counters.keys() & plain.keys():
        plain |= {key: torch.zeros((), dtype=torch.int64) for key in counters}
    return _in_raster_order(_part(DnCNN(config), plain, ours))


def unet_from_released(state: Mapping[str, Tensor]) -> Part:
    """Rename a released U-Net with shared blocks.

    Args:
        state: Tensors by released name.

    Raises:
        ValueError: If it is no such U-Net, or a tensor is missing, unknown or of another shape.
    """
    plain = _plain(state)
    last = plain.get("_block6.4.bias")
    if last is None or last.ndim != 1:
        raise ValueError(
            f"this is no U-Net: it lacks '_block6.4.bias'; its tensors are {_some(plain)}."
        )
    network = UNet(UNetConfig(channels=last.shape[0]))
    theirs = {name: block for block, name in _BLOCKS.items()}
    ours = {}
    for name in network.state_dict():
        block, _, rest = name.partition(".")
        ours[f"{theirs[block]}.{rest}"] = name
    return _in_raster_order(_part(network, plain, ours))


def origin(part: Part) -> Origin | None:
    """Return whose arrangement a denoiser has; ``None`` if it is nobody's in particular."""
    if part.family == "unet":
        return Origin("Noise2NoiseFlow", "CC-BY-NC-SA-4.0")
    config = DnCNNConfig.from_dict(part.config)
    return _ORIGINS.get((config.batch_norm, config.bias))


def _arrangement(layers: Mapping[tuple[int, str], Tensor]) -> DnCNNConfig:
    """Read depth, width, norms and biases off the numbered layers."""
    kernels = {number: t for (number, what), t in layers.items() if what == "weight" if t.ndim == 4}
    if len(kernels) < 2:
        raise ValueError("this is no DnCNN: it has fewer than two convolutions.")
    first, last = min(kernels), max(kernels)
    batch_norm = any(what == "running_mean" for _, what in layers)
    middle = any((number, "bias") in layers for number in kernels if number not in (first, last))
    ends = ((first, "bias") in layers, (last, "bias") in layers)
    bias: Bias
    if middle or (len(kernels) == 2 and all(ends)):
        bias = "all"
    elif ends[1]:
        # A bias on the last layer alone is nobody's arrangement: the first one is missed below.
        bias = "first-and-last"
    else:
        bias = "first" if ends[0] else "none"
    theirs = batch_norm and bias == "all"
    return DnCNNConfig(
        channels=kernels[first].shape[1],
        depth=(last + 1) // 3 + 1 if batch_norm else last // 2 + 1,
        width=kernels[first].shape[0],
        batch_norm=batch_norm,
        bias=bias,
        bn_eps=1e-4 if theirs else 1e-5,
        bn_momentum=0.9 if theirs else 0.1,
        clamp=batch_norm and bias == "none",
    )


def _dncnn_names(config: DnCNNConfig, prefix: str) -> dict[str, str]:
    """Return their name -> our name of every tensor of an arrangement."""
    names = {}
    for position in range(config.depth):
        between = 0 < position < config.depth - 1
        if config.batch_norm:
            number = max(0, 3 * position - 1)
        else:
            number = 2 * position
        for what in ("weight", "bias") if config.has_bias(position) else ("weight",):
            names[f"{prefix}.{number}.{what}"] = f"convs.{position}.{what}"
        if config.batch_norm and between:
            for what in (*_NORM, _COUNTER):
                names[f"{prefix}.{number + 1}.{what}"] = f"norms.{position - 1}.{what}"
    return names


def _part(network: nn.Module, plain: Mapping[str, Tensor], ours: Mapping[str, str]) -> Part:
    """Rename every tensor, in the errors by the names that the file has."""
    name, expected = str(network.name), network.state_dict()
    if missing := ours.keys() - plain.keys():
        raise ValueError(f"this {name} lacks {_some(missing)}.")
    if extra := plain.keys() - ours.keys():
        raise ValueError(f"this {name} has {_some(extra)}, for which its arrangement has no place.")
    for key, target in ours.items():
        if plain[key].shape != expected[target].shape:
            raise ValueError(
                f"'{key}' of this {name} has shape {tuple(plain[key].shape)}; "
                f"its arrangement asks for {tuple(expected[target].shape)}."
            )
    tensors = {
        target: plain[key].to(expected[target].dtype) for key, target in sorted(ours.items())
    }
    return Part(family=name, config=network.config.to_dict(), tensors=tensors)  # type: ignore[union-attr,operator]


def _in_raster_order(part: Part) -> Part:
    """Return a denoiser that takes packed raw in raster order for one that took it clockwise.

    Four channels in Noise2NoiseFlow's arrangements are packed raw in its own order. The order of an
    image's channels is that of some rows and columns of the first and last kernels, so nothing but
    those is exchanged, and the network needs to know of no order.
    """
    channels, arranged = part.config["channels"], origin(part)
    if channels != len(CLOCKWISE) or arranged is None or arranged.project != "Noise2NoiseFlow":
        return part
    tensors = dict(part.tensors)
    if part.family == "unet":
        first, last = "enter.0", "leave.4"
        # The image enters once more behind the 96 channels of the way up.
        joined = tensors["leave.0.weight"]
        behind = range(joined.shape[1] - channels, joined.shape[1])
        order = [*range(behind.start), *(behind[channel] for channel in CLOCKWISE)]
        tensors["leave.0.weight"] = joined[:, order].contiguous()
    else:
        first, last = "convs.0", f"convs.{part.config['depth'] - 1}"
    tensors[f"{first}.weight"] = tensors[f"{first}.weight"][:, CLOCKWISE].contiguous()
    for what in ("weight", "bias"):
        if (key := f"{last}.{what}") in tensors:
            tensors[key] = tensors[key][CLOCKWISE].contiguous()
    return replace(part, tensors=tensors)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = dict(state)
    for prefix in ("denoiser.", "module."):
        if plain and all(key.startswith(prefix) for key in plain):
            plain = {key.removeprefix(prefix): tensor for key, tensor in plain.items()}
    return plain


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
    return ", ".join(listed[:4]) + more
