"""What every training leaves: weights files, each with its card, and again those validated best.

A card is a JSON file beside the weights. What it says of weights, time, machine and manifest is the
same for all trainings; what one kind of training adds is data (:class:`CardFacts`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from generators.base import Domain
from generators.training import Part
from generators.weights_file import load_header, save_weights
from pipeline.corpus.provenance import git_revision, hardware, software_versions
from pipeline.manifest.models import TrainDenoiserManifest, TrainGeneratorManifest
from pipeline.storage import publish
from pipeline.training.engine.loop import TrainingResult

__all__ = ["CardFacts", "TrainedModel", "WeightsFile", "publish_weights"]

# Keys of a manifest that hold a file, a folder or an address of inputs.
_PLACES = {"corpus", "path", "stream"}


class TrainedModel(Protocol):
    """A task after its training."""

    @property
    def domain(self) -> Domain:
        """Of the images."""
        ...

    @property
    def module(self) -> nn.Module:
        """The trained module, with its last (averaged) weights."""
        ...

    def parts(self) -> dict[str, Part]:
        """Return what is saved: ``""`` is the model, other keys are file name suffixes."""
        ...

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Take other weights, and fit to them what is fitted after a training."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a kind of training adds to its cards, JSON values.

    Args:
        training_data: What it was trained on.
        how: How it was trained, e.g. the objective.
        metrics: What was measured of the last weights.
        findings: What the training noticed of itself.
        subject: What the weights are for, at the top of the card, e.g. cameras and ISOs.
    """

    training_data: Mapping[str, Any]
    how: Mapping[str, Any]
    metrics: Mapping[str, Any]
    findings: Mapping[str, Any] = field(default_factory=dict)
    subject: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """One file that was written.

    Args:
        path: Where it is; its card has the ending ``.json``.
        sha256: Its SHA-256.
        best: Whether it holds the weights that validated best, not the last ones.
    """

    path: Path
    sha256: str
    best: bool


def publish_weights(
    folder: Path,
    manifest: TrainGeneratorManifest | TrainDenoiserManifest,
    model: TrainedModel,
    *,
    facts: CardFacts,
    result: TrainingResult,
    source: str,
) -> list[WeightsFile]:
    """Write the last weights and, where others validated better, those; each with its card.

    Args:
        folder: Of the training.
        manifest: The training.
        model: What was trained; it has its last weights again in the end.
        facts: What this kind of training says.
        result: What the loop left.
        source: Where the manifest is.

    Returns:
        The files; the model with its last weights first.

    Raises:
        StorageError: If a card cannot be written.
    """
    card = _card(manifest, facts, result, source=source)
    written = _write(folder, manifest, model, card=card, best=False)
    if result.best is None or not 0 < result.best_step < result.step:
        return written
    last = {name: value.detach().clone() for name, value in model.module.state_dict().items()}
    model.adopt(result.best)
    figures = result.best_figures
    card |= {"metrics": {"validation": figures}, "best": {"step": result.best_step, **figures}}
    written += _write(folder, manifest, model, card=card, best=True)
    model.adopt(last)
    return written


def _card(
    manifest: TrainGeneratorManifest | TrainDenoiserManifest,
    facts: CardFacts,
    result: TrainingResult,
    *,
    source: str,
) -> dict[str, Any]:
    """Return what the cards of all weights of a training share."""
    device = torch.device(manifest.schedule.device)
    gpus = [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    return {
        "license": manifest.license,
        **facts.subject,
        "training_data": dict(facts.training_data),
        "training": {
            **facts.how,
            "steps": result.step,
            "seconds": round(result.seconds, 1),
            "threads": torch.get_num_threads(),
            "skipped_steps": result.skipped,
            **facts.findings,
        },
        "metrics": dict(facts.metrics),
        "manifest": _portable(manifest.model_dump(mode="json", exclude={"output", "address"})),
        "manifest_file": Path(source).name,
        "software": software_versions(),
        "git": git_revision(),
        "hardware": hardware(gpus),
    }


def _write(
    folder: Path,
    manifest: TrainGeneratorManifest | TrainDenoiserManifest,
    model: TrainedModel,
    *,
    card: Mapping[str, Any],
    best: bool,
) -> list[WeightsFile]:
    """Write each part of the model as it stands, with its card."""
    written = []
    for suffix, part in sorted(model.parts().items()):
        path = folder / f"{manifest.name}{suffix}{'-best' if best else ''}.safetensors"
        sha256 = save_weights(
            path,
            family=part.family,
            config=part.config,
            tensors=part.tensors,
            license=manifest.license,
        )
        named = {
            "name": path.stem,
            "family": part.family,
            "domain": model.domain,
            "parameters": load_header(path).parameters,
            "sha256": sha256,
        }
        text = json.dumps(named | dict(card), indent=1, ensure_ascii=False) + "\n"
        publish(str(folder), path.with_suffix(".json").name, text.encode())
        written.append(WeightsFile(path=path, sha256=sha256, best=best))
    return written


def _portable(value: Any) -> Any:
    """Return a manifest's values without this machine's folders, which tell nobody else."""
    if isinstance(value, list):
        return [_portable(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _last(inner)
        if name in _PLACES and isinstance(inner, str)
        else inner  # a generator's own parameters mean what they mean
        if name == "params"
        else _portable(inner)
        for name, inner in value.items()
    }


def _last(place: str) -> str:
    return Path(place).name if Path(place).is_absolute() else place
