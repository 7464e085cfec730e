"""What a denoiser's training leaves: weights files and their cards, and how that is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoisers.base import Denoiser
from generators.weights_file import load_header, save_weights
from pipeline.building.progress import duration
from pipeline.corpus.provenance import git_revision, hardware, software_versions
from pipeline.manifest.models import TrainDenoiserManifest
from pipeline.storage import publish
from pipeline.training.engine.denoiser import PSNR_CONVENTION, DenoiserTask
from pipeline.training.engine.loop import TrainingResult
from pipeline.training.jobs.denoiser_data import DenoisingBatches

__all__ = ["TrainedDenoiser", "publish_denoiser"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedDenoiser:
    """What a denoiser's training leaves.

    Args:
        weights: The weights file of the last (averaged) weights.
        sha256: Its SHA-256.
        best: The weights file of those that validated best; ``None`` where they are the last ones,
            or nothing was validated.
        figures: What the validation measured of the last weights; empty without validation.
        steps: Optimiser steps.
        seconds: Training time in all.
        waited: Share of this run's time spent waiting for data; not a number if no step was made.
        report: Where the report is; ``None`` if there is none.
    """

    weights: Path
    sha256: str
    best: Path | None
    figures: dict[str, float]
    steps: int
    seconds: float
    waited: float
    report: str | None = None

    @property
    def others(self) -> tuple[str, ...]:
        """Further weights files."""
        return () if self.best is None else (str(self.best),)

    @property
    def findings(self) -> dict[str, Any]:
        """What the training noticed of itself."""
        return {} if self.waited != self.waited else {"waited_for_data": f"{self.waited:.1%}"}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "weights": str(self.weights),
            "sha256": self.sha256,
            "best": None if self.best is None else str(self.best),
            "figures": self.figures,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "waited_for_data": None if self.waited != self.waited else round(self.waited, 4),
            "report": self.report,
        }

    def describe(self) -> str:
        """Return what a person reads."""
        lines = [
            f"Trained {self.steps} steps in {duration(self.seconds)}.",
            f"Weights: {self.weights}",
        ]
        lines += [f"Best:    {self.best}"] if self.best is not None else []
        lines += [f"Card:    {self.weights.with_suffix('.json')}"]
        lines += [f"Report:  {self.report}"] if self.report is not None else []
        if self.figures:
            lines.append(
                f"On held-out crops: PSNR {self.figures['psnr']:.2f} dB, of the noisy ones "
                f"{self.figures['psnr_noisy']:.2f} dB."
            )
        if self.waited == self.waited:
            lines.append(f"Waited for data {self.waited:.1%} of the time.")
        lines.append(f'Use it:  denoisers.load("{self.weights}")')
        return "\n".join(lines)


def publish_denoiser(
    folder: Path,
    manifest: TrainDenoiserManifest,
    task: DenoiserTask,
    data: DenoisingBatches,
    result: TrainingResult,
    source: str,
    *,
    waited: float,
) -> TrainedDenoiser:
    """Write the last weights and the best ones, each with its card.

    Args:
        folder: Of the training.
        manifest: The training.
        task: The task, with its last (averaged) weights.
        data: What it was trained on.
        result: What the loop left.
        source: Where the manifest is.
        waited: Share of the time spent waiting for data.
    """
    figures = task.validate()
    card = {
        "domain": data.domain,
        "license": manifest.license,
        "training_data": {"inputs": data.about},
        "training": {
            "loss": manifest.loss,
            "steps": result.step,
            "seconds": round(result.seconds, 1),
            "skipped_steps": result.skipped,
            "workers": manifest.workers,
            "threads": torch.get_num_threads(),
            "waited_for_data": None if waited != waited else round(waited, 4),
        },
        "metrics": {"validation": figures} if figures else {},
        "psnr_convention": PSNR_CONVENTION[data.domain],
        "manifest": _portable(manifest),
        "manifest_file": Path(source).name,
        "software": software_versions(),
        "git": git_revision(),
        "hardware": hardware(_gpus(manifest.schedule.device)),
    }
    weights = folder / f"{manifest.name}.safetensors"
    sha256 = _write(weights, manifest, task, task.module.state_dict(), card)
    best: Path | None = None
    if result.best is not None and 0 < result.best_step < result.step:
        best = folder / f"{manifest.name}-best.safetensors"
        figures_then = {"validation": result.best_figures}
        note = {"step": result.best_step, **result.best_figures}
        _write(best, manifest, task, result.best, card | {"metrics": figures_then, "best": note})
    return TrainedDenoiser(
        weights=weights,
        sha256=sha256,
        best=best,
        figures=figures,
        steps=result.step,
        seconds=result.seconds,
        waited=waited,
    )


def _write(
    path: Path,
    manifest: TrainDenoiserManifest,
    task: DenoiserTask,
    tensors: Mapping[str, Tensor],
    card: Mapping[str, Any],
) -> str:
    network = task.module
    assert isinstance(network, Denoiser)
    sha256 = save_weights(
        path,
        family=network.name,
        config=network.config.to_dict(),
        tensors=tensors,
        license=manifest.license,
    )
    named = {
        "name": path.stem,
        "family": network.name,
        "parameters": load_header(path).parameters,
        "sha256": sha256,
    }
    text = json.dumps({**named, **card}, indent=1, ensure_ascii=False) + "\n"
    publish(str(path.parent), path.with_suffix(".json").name, text.encode())
    return sha256


def _gpus(device: str) -> list[str]:
    kind = torch.device(device)
    return [torch.cuda.get_device_name(kind)] if kind.type == "cuda" else []


def _portable(manifest: TrainDenoiserManifest) -> dict[str, Any]:
    """Return the manifest as it travels: without this machine's folders, which tell nobody else."""
    values = manifest.model_dump(mode="json", exclude={"output", "address"})
    sources = [*(values["validation"] or {"sources": []})["sources"]]
    for one in values["data"]["inputs"]:
        for key in ("corpus", "stream"):
            one[key] = _last(one[key])
        sources += (one["pairs"] or {"sources": []})["sources"]
    for source in sources:
        if "path" in source:
            source["path"] = _last(source["path"])
    return values


def _last(place: str | None) -> str | None:
    return Path(place).name if place is not None and Path(place).is_absolute() else place
