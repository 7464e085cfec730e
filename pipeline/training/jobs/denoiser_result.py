"""What a denoiser's training leaves: weights, what the validation measured, how it is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.building.progress import duration
from pipeline.manifest.models import TrainDenoiserManifest
from pipeline.training.engine.denoiser import PSNR_CONVENTION, DenoiserTask
from pipeline.training.engine.loop import TrainingResult
from pipeline.training.jobs.card import CardFacts, publish_weights
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
        return {} if math.isnan(self.waited) else {"waited_for_data": f"{self.waited:.1%}"}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "weights": str(self.weights),
            "sha256": self.sha256,
            "best": None if self.best is None else str(self.best),
            "figures": self.figures,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "waited_for_data": None if math.isnan(self.waited) else round(self.waited, 4),
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
        if not math.isnan(self.waited):
            lines.append(f"Waited for data {self.waited:.1%} of the time.")
        lines.append(f'Use it:  denoisers.load("{self.weights}")')
        return "\n".join(lines)


def publish_denoiser(
    folder: Path,
    manifest: TrainDenoiserManifest,
    task: DenoiserTask,
    *,
    data: DenoisingBatches,
    result: TrainingResult,
    source: str,
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
    facts = CardFacts(
        training_data={"inputs": data.about},
        how={"loss": manifest.loss, "workers": manifest.workers},
        metrics={"validation": figures} if figures else {},
        findings={"waited_for_data": None if math.isnan(waited) else round(waited, 4)},
        subject={"psnr_convention": PSNR_CONVENTION[data.domain]},
    )
    last, *best = publish_weights(folder, manifest, task, facts=facts, result=result, source=source)
    return TrainedDenoiser(
        weights=last.path,
        sha256=last.sha256,
        best=best[0].path if best else None,
        figures=figures,
        steps=result.step,
        seconds=result.seconds,
        waited=waited,
    )
