"""Weights that others released, turned into weights files of this project.

A checkpoint is read as tensors only: one that asks for Python code to be run is refused, unread.
Each family has a function that maps the released names to ours and uses every tensor. What it makes
is written next to its final place, loaded from there as anybody will load it, and only then given
its name; so an import that fails leaves nothing behind.

Beside each file lies a card: the source file's name and SHA-256, the licence, what the weights are.
"""

from __future__ import annotations

import json
import pickle
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

import denoisers
import generators
from generators.capture import configuration_name
from generators.training import Part
from generators.weights_file import save_weights, sha256_of_file
from pipeline.corpus.provenance import software_versions
from pipeline.manifest.mistakes import closest
from pipeline.models.catalogue import shots_of

__all__ = ["FAMILIES", "Imported", "import_weights", "read_checkpoint"]


@dataclass(frozen=True, slots=True)
class _Piece:
    """One weights file that a checkpoint gives.

    Args:
        mapping: ``module:function`` from released tensors to a Part or a network.
        prefix: Of the keys that belong to it.
        license: Of the project's released weights; ``None`` where the mapping's module knows.
    """

    mapping: str
    prefix: str = ""
    license: str | None = None


_DENOISER = "denoisers.checkpoint_import:from_released"
_NOISE_FLOW = "generators.noise_flow.checkpoint_import:from_released"
_NONCOMMERCIAL = "CC-BY-NC-SA-4.0"
# Family -> suffix of the output's name -> what is written there.
_FAMILIES: dict[str, dict[str, _Piece]] = {
    "dncnn": {"": _Piece("denoisers.checkpoint_import:dncnn_from_released")},
    "flow-srgb": {"": _Piece("generators.flow_srgb.checkpoint_import:from_released")},
    "invdn": {"": _Piece("generators.invdn.checkpoint_import:from_released")},
    "naflow": {"": _Piece("generators.naflow.checkpoint_import:from_released")},
    "noise-flow": {"": _Piece(_NOISE_FLOW, license=_NONCOMMERCIAL)},
    "noise2noiseflow": {
        "": _Piece(_NOISE_FLOW, "noise_flow.", _NONCOMMERCIAL),
        "-denoiser": _Piece(_DENOISER, "denoiser.", _NONCOMMERCIAL),
    },
    "unet": {"": _Piece("denoisers.checkpoint_import:unet_from_released")},
}
FAMILIES = tuple(_FAMILIES)
# What a family's files hold that others' do not; the first that matches tells them apart.
_TRAITS = (
    ("noise2noiseflow", "denoiser."),
    ("noise-flow", "noise_flow."),
    ("naflow", "flowUpsamplerNet."),
    ("unet", "_block6."),
    ("invdn", "operations."),
    ("flow-srgb", "_encoder."),
    ("noise-flow", "._scale."),
    ("dncnn", "dncnn."),
    ("dncnn", "model.0.weight"),
)
_WRAPPERS = ("state_dict", "model_state_dict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One weights file that an import wrote.

    Args:
        path: The file; its card lies beside it.
        card: What the card says.
    """

    path: Path
    card: dict[str, Any]


def import_weights(
    family: str,
    source: Path,
    out: Path,
    *,
    license: str | None = None,
    overwrite: bool = False,
) -> list[Imported]:
    """Turn a released checkpoint into weights files with cards.

    Args:
        family: One of :data:`FAMILIES`.
        source: The checkpoint, as ``torch.save`` or safetensors wrote it.
        out: The weights file to write; ``.safetensors`` is added where it lacks. A file of two
            models gives a second one, ``OUT-denoiser``.
        license: Of the weights; what their project states unless given.
        overwrite: Replace files that are there.

    Raises:
        ValueError: If the family is unknown, the checkpoint is damaged, holds code, belongs to
            another family, or has a tensor too many, too few, of a wrong shape or not finite.
        FileExistsError: If an output is there and ``overwrite`` is not set.
        FileNotFoundError: If there is no such checkpoint.
    """
    pieces = _pieces(family)
    stem = out.expanduser()
    stem = stem.with_suffix("") if stem.suffix == ".safetensors" else stem
    paths = {suffix: stem.with_name(f"{stem.name}{suffix}.safetensors") for suffix in pieces}
    if not overwrite:
        _refuse_present([p for path in paths.values() for p in (path, path.with_suffix(".json"))])
    state = read_checkpoint(source)
    made = {
        suffix: _convert(family, piece, state, source=source, license=license)
        for suffix, piece in pieces.items()
    }
    stem.parent.mkdir(parents=True, exist_ok=True)
    origin = {"file": source.name, "sha256": sha256_of_file(source), "family": family}
    with tempfile.TemporaryDirectory(prefix=".tmp-import-", dir=stem.parent) as folder:
        done = []
        for suffix, (part, terms) in made.items():
            path = paths[suffix]
            card = _write(Path(folder) / path.name, part, license=terms, origin=origin)
            done.append(Imported(path=path, card=card))
        for imported in done:
            for name in (imported.path.name, imported.path.with_suffix(".json").name):
                (Path(folder) / name).replace(imported.path.with_name(name))
    return done


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint; what lies beside them (optimiser, epoch) is left out.

    Raises:
        ValueError: If the file is damaged, asks for code to be run, holds no tensors by name, or a
            tensor with values that are not finite.
        FileNotFoundError: If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; give the file that was released.")
    loaded = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise ValueError(
            f"{path} holds {type(loaded).__name__}, not tensors by name; give a state dict, or a "
            f"checkpoint with one under {' or '.join(map(repr, _WRAPPERS))}."
        )
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path}: entry {key!r} is {type(value).__name__}, not a tensor; give a state "
                f"dict, or a checkpoint with one under {' or '.join(map(repr, _WRAPPERS))}."
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{path}: tensor '{key}' holds values that are not finite; the training that "
                "wrote it had failed. Take an earlier checkpoint."
            )
    return dict(loaded)


def _pieces(family: str) -> dict[str, _Piece]:
    if family in _FAMILIES:
        return _FAMILIES[family]
    guess = closest(family, FAMILIES)
    hint = f" Did you mean '{guess}'?" if guess else ""
    raise ValueError(f"there is no family '{family}'; there are {', '.join(FAMILIES)}.{hint}")


def _convert(
    family: str,
    piece: _Piece,
    state: Mapping[str, Tensor],
    *,
    source: Path,
    license: str | None,
) -> tuple[Part, str]:
    """Return one of a checkpoint's models by our names, and its licence."""
    found = _family_of(state)
    if found not in (family, None):
        raise ValueError(
            f"{source} holds a checkpoint of '{found}', not of '{family}': it has tensors such as "
            f"'{next(iter(state))}'. Use `noisemill import-weights {found}`."
        )
    pieces = _FAMILIES[family].values()
    strays = [key for key in state if not any(key.startswith(other.prefix) for other in pieces)]
    own = {k.removeprefix(piece.prefix): v for k, v in state.items() if k.startswith(piece.prefix)}
    if strays or not own:
        wrong = f"has {strays[0]!r}" if strays else f"lacks every tensor '{piece.prefix}...'"
        raise ValueError(
            f"{source} is no complete checkpoint of '{family}': it {wrong}. Give the file as it "
            "was released."
        )
    module, _, function = piece.mapping.partition(":")
    try:
        mapping = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ValueError(f"this version of noisemill has no '{family}'; install another.") from None
    try:
        made = getattr(mapping, function)(own)
    except ValueError as error:
        text = str(error).rstrip(".")
        raise ValueError(
            f"{source} is no checkpoint of '{family}' that this version reads: {text}. Give the "
            "file as it was released, or name another family."
        ) from error
    part = made if isinstance(made, Part) else _part_of(made, piece.mapping)
    terms = license or piece.license or _license_of(mapping, part)
    if terms is None:
        raise ValueError(
            f"the licence of the weights in {source} is not known: their arrangement is nobody's "
            "in particular. Name it with --license."
        )
    return part, terms


def _part_of(network: nn.Module, mapping: str) -> Part:
    """Return a network that a mapping has built as what is to be saved."""
    family = mapping.split(".")[1].replace("_", "-")
    return Part(family=family, config=network.config.to_dict(), tensors=network.state_dict())  # type: ignore[union-attr,operator]


def _license_of(mapping: Any, part: Part) -> str | None:
    if hasattr(mapping, "LICENSE"):
        return str(mapping.LICENSE)
    origin = mapping.origin(part)
    return None if origin is None else str(origin.license)


def _family_of(state: Mapping[str, Tensor]) -> str | None:
    """Return which family's names these are; ``None`` if nobody's that is known."""
    for family, trait in _TRAITS:
        if any(trait in key for key in state):
            return family
    return None


def _write(path: Path, part: Part, *, license: str, origin: Mapping[str, str]) -> dict[str, Any]:
    """Write a file and its card, and load the file as its users will."""
    sha256 = save_weights(
        path, family=part.family, config=part.config, tensors=part.tensors, license=license
    )
    # Some generators denoise as well: their files hold more than the denoiser reads.
    if part.family in denoisers.names() and part.family not in generators.names():
        network = denoisers.load(path)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        domain = "raw" if part.config["channels"] == 4 else "srgb"
    else:
        generators.create(part.family, params={}, weights=path)
        parameters = sum(tensor.numel() for tensor in part.tensors.values())
        domain = generators.describe(part.family).gives
    card: dict[str, Any] = {
        "name": path.stem,
        "family": part.family,
        "domain": domain,
        "parameters": parameters,
        "sha256": sha256,
        "license": license,
        "configurations": [
            camera if iso is None else configuration_name(camera, iso)
            for camera, iso in shots_of(part.config)
        ],
        "training_data": "",
        "source": dict(origin),
        "software": software_versions(),
    }
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    return card


def _refuse_present(paths: list[Path]) -> None:
    present = [str(path) for path in paths if path.exists()]
    if present:
        raise FileExistsError(
            f"{present[0]} is there already; give another --out, or --overwrite to replace it."
        )


def _safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); fetch it again.") from error


def _pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that torch will drop; it says so by errors
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch names what it would have to call: "Unsupported global: GLOBAL os.system ...".
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"{path} holds a Python object, '{named[1]}', and to read it would run code from "
                "the file; noisemill does not. Where the file is trusted, save its tensors alone: "
                "torch.save(checkpoint['state_dict'], ...)."
            ) from error
        raise ValueError(_damaged(path)) from error
    except PermissionError:
        raise
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(_damaged(path)) from error


def _damaged(path: Path) -> str:
    return (
        f"checkpoint {path} cannot be read: it is damaged, cut short, or no file of torch.save. "
        "Fetch it again."
    )
