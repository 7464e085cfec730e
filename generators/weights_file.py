"""Weights on disk: safetensors with a header that says what they are.

The header carries the family, the network's configuration and the licence, so a file can be refused
before a tensor is read and a network rebuilt from the file alone. Beside bundled weights lies a
card, ``NAME.json``: training data, licence, SHA-256, metrics, the manifest that made them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

__all__ = [
    "Header",
    "Weights",
    "build_network",
    "bundled",
    "card",
    "find",
    "load_header",
    "load_network",
    "load_state",
    "load_weights",
    "misfit",
    "save_weights",
    "sha256_of_file",
]

FORMAT = "noisemill-weights"
VERSION = "1"
FOLDER = Path(__file__).parent / "weights"
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Weights:
    """The content of a weights file.

    Args:
        family: Registry name of the generator that they belong to.
        config: The network's configuration, JSON values.
        tensors: Tensors by name.
        license: Licence of the weights.
    """

    family: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    license: str


def bundled() -> dict[str, Path]:
    """Return the weights that come with the package, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def find(name_or_path: str, *, known: Mapping[str, Path] | None = None) -> Path:
    """Return the file of bundled weights, or of a path to a ``.safetensors`` file.

    Args:
        name_or_path: What somebody wrote.
        known: The weights that have names; those of the generators unless given.

    Raises:
        FileNotFoundError: If there is neither.
    """
    known = bundled() if known is None else known
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    close = difflib.get_close_matches(name_or_path, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise FileNotFoundError(
        f"there are no weights '{name_or_path}': it is neither a file nor one of the bundled "
        f"weights ({', '.join(known) or 'none'}).{hint}"
    )


def card(path: Path) -> dict[str, Any]:
    """Return the card beside a weights file; empty if there is none."""
    beside = path.with_suffix(".json")
    return dict(json.loads(beside.read_text())) if beside.is_file() else {}


def save_weights(
    path: Path,
    *,
    family: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    license: str,
) -> str:
    """Write a weights file in one step and return its SHA-256; equal weights give equal files.

    Args:
        path: Final name, ``.safetensors``.
        family: Registry name of the generator.
        config: JSON values from which the network is rebuilt.
        tensors: Tensors by name; moved to the CPU.
        license: Licence of the weights.
    """
    header = {
        "format": FORMAT,
        "format_version": VERSION,
        "family": family,
        "config": json.dumps(dict(config), sort_keys=True),
        "license": license,
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    payload = _ordered(save(plain, metadata=header))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_bytes(payload)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())  # a power cut after the rename must not leave an empty file
    temporary.replace(path)
    return hashlib.sha256(payload).hexdigest()


@dataclass(frozen=True, slots=True)
class Header:
    """What a weights file says of itself, and how many numbers it holds."""

    family: str
    config: dict[str, Any]
    license: str
    parameters: int


def load_header(path: Path) -> Header:
    """Read a weights file's header only.

    Raises:
        ValueError: If the file is damaged or no weights file of this project.
    """
    header, tensors = _open(path)
    counted = sum(tensor.numel() for tensor in tensors.values())
    return Header(header["family"], json.loads(header["config"]), header["license"], counted)


def load_weights(path: Path, *, family: str) -> Weights:
    """Read a weights file.

    Args:
        path: The file.
        family: What it must be.

    Raises:
        ValueError: If the file is damaged, is no weights file of this project, belongs to another
            generator, or holds a number that is not finite.
    """
    header, tensors = _open(path)
    if header["family"] != family:
        raise ValueError(
            f"{path} holds weights of '{header['family']}', not of '{family}'; "
            f"use generator '{header['family']}' or other weights."
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"weights file {path}: tensor '{name}' holds values that are not finite; it is "
                "damaged, or its training went astray. Fetch or train it again."
            )
    return Weights(header["family"], json.loads(header["config"]), tensors, header["license"])


def load_network(path: Path, *, family: str, build: Callable[[dict[str, Any]], Network]) -> Network:
    """Read a weights file into the network that its header describes.

    Args:
        path: The file.
        family: What it must be.
        build: Makes the network from the header's configuration.

    Raises:
        ValueError: As :func:`load_weights` and :func:`load_state`, or if the configuration is not
            the network's.
    """
    weights = load_weights(path, family=family)
    network = build_network(weights, path, build)
    load_state(network, weights, path)
    return network


def build_network(
    weights: Weights, path: Path, build: Callable[[dict[str, Any]], Network]
) -> Network:
    """Make the network that a file's header describes, with fresh weights.

    Raises:
        ValueError: If the configuration is not the network's.
    """
    try:
        return build(weights.config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: its configuration is not that of this version's '{weights.family}' "
            f"({error}); train or import the weights again."
        ) from error


def load_state(module: nn.Module, weights: Weights, path: Path) -> None:
    """Load a file's tensors into the network that its header describes, every one of them.

    Args:
        module: The network, built from ``weights.config``; changed only if everything fits.
        weights: From :func:`load_weights`.
        path: Where they come from, for the message.

    Raises:
        ValueError: If a tensor is missing, left over or of another shape; the message names them.
    """
    wrong = misfit(module, weights.tensors)
    if wrong:
        raise ValueError(
            f"{path} does not hold the network that its header describes: {wrong}. It was altered "
            "or belongs to another version of noisemill; train or import the weights again."
        )
    module.load_state_dict(weights.tensors, strict=True)


def misfit(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Say in what tensors differ from a network's state by name and shape; empty if they fit."""
    expected = module.state_dict()
    faults = []
    if missing := expected.keys() - tensors.keys():
        faults.append(f"it lacks {_some(missing)}")
    if extra := tensors.keys() - expected.keys():
        faults.append(f"it has {_some(extra)}, unknown to the network")
    shapes = [
        f"{name} {_shape(tensors[name])} instead of {_shape(expected[name])}"
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    if shapes:
        faults.append(f"of another shape: {_some(shapes)}")
    return "; ".join(faults)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _some(names: Collection[str], most: int = 4) -> str:
    listed = sorted(names)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _open(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"weights file {path} cannot be read ({error}); it is damaged or no safetensors file. "
            "Fetch or train it again."
        ) from error
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file without this project's header, so its network is "
            "unknown; import it first."
        )
    if header.get("format_version") != VERSION:
        raise ValueError(
            f"{path} has weights format {header.get('format_version')}; this version of noisemill "
            f"reads format {VERSION}. Install a newer version."
        )
    missing = [key for key in ("family", "config", "license") if key not in header]
    if missing:
        raise ValueError(f"{path}: the header lacks {', '.join(missing)}; train the weights again.")
    return header, tensors


def _ordered(payload: bytes) -> bytes:
    """Sort the header: safetensors writes it in random order, and equal weights are equal files."""
    size = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + payload[8 + size :]
