"""Names of the released InvDN checkpoint, mapped to ours.

The released state dict (repository InvDN, Apache-2.0) numbers its operations as our layers are
numbered; every Haar step carries its kernels, which ours has in code, so they are checked and left
out. Some files begin each key with ``module.``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from generators.invdn.network import InvDN, InvDNConfig

__all__ = ["LICENSE", "from_released"]

LICENSE = "Apache-2.0"
_BLOCK = re.compile(r"operations\.(\d+)\.([FGH]\.conv[123]\.(?:weight|bias))")
_HAAR = re.compile(r"operations\.(\d+)\.haar_weights")
_KERNELS = torch.tensor(
    [[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]
)


def from_released(released: Mapping[str, Tensor]) -> InvDN:
    """Build the arrangement that a released state dict belongs to and load it, every key used.

    Args:
        released: Tensors by released name.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: If a key is unknown or missing, a shape is wrong, or a Haar kernel is not that
            of this network.
    """
    plain = {key.removeprefix("module."): value for key, value in released.items()}
    haar: list[int] = []
    ours: dict[str, Tensor] = {}
    for key, value in plain.items():
        if found := _HAAR.fullmatch(key):
            _check_kernels(key, value)
            haar.append(int(found[1]))
        elif found := _BLOCK.fullmatch(key):
            ours[f"layers.{found[1]}.{found[2]}"] = value.float()
        else:
            raise ValueError(f"{key!r} is no tensor of an InvDN checkpoint.")
    model = InvDN(_config(plain, sorted(haar)))
    expected = model.state_dict()
    for told, keys in (
        ("lacks", sorted(expected.keys() - ours.keys())),
        ("has beyond its blocks", sorted(ours.keys() - expected.keys())),
    ):
        if keys:
            names = ", ".join(key.replace("layers", "operations", 1) for key in keys[:3])
            raise ValueError(f"the released checkpoint {told} {names} ({len(keys)} in all).")
    for key, value in ours.items():
        if value.shape != expected[key].shape:
            raise ValueError(
                f"{key.replace('layers', 'operations', 1)} has shape {tuple(value.shape)}; "
                f"expected {tuple(expected[key].shape)}."
            )
    model.load_state_dict(ours, strict=True)
    return model.eval()


def _config(plain: Mapping[str, Tensor], haar: list[int]) -> InvDNConfig:
    """Return the arrangement: Haar steps begin levels, the operations between are blocks."""
    if not haar or haar[0] != 0:
        raise ValueError("the released checkpoint lacks operations.0.haar_weights.")
    last = max(int(key.split(".")[1]) for key in plain)
    blocks = [end - start - 1 for start, end in zip(haar, [*haar[1:], last + 1], strict=True)]
    hidden = plain.get("operations.1.F.conv2.bias")
    if hidden is None:
        raise ValueError("the released checkpoint lacks operations.1.F.conv2.bias.")
    return InvDNConfig(blocks=tuple(blocks), hidden=len(hidden), start="random")


def _check_kernels(key: str, value: Tensor) -> None:
    # The four bands, once for each channel; the network divides by 4 when it encodes.
    expected = _KERNELS.to(value).repeat(max(1, len(value) // 4), 1, 1)[:, None]
    if expected.shape != value.shape or not torch.equal(value, expected):
        raise ValueError(
            f"{key} holds other kernels than the Haar step of InvDN; these weights belong to "
            "another network."
        )
