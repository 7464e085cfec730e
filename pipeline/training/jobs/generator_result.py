"""What a generator's training leaves: weights, what the validation measured, how it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generators.capture import configuration_name
from pipeline.building.progress import duration
from pipeline.images import read_pixels
from pipeline.manifest.models import TrainGeneratorManifest
from pipeline.measure.block_scores import evaluate_blocks, summarise
from pipeline.measure.blocks import pair_blocks
from pipeline.sources import Scan
from pipeline.training.data.store import TrainingStore
from pipeline.training.engine.loop import TrainingResult
from pipeline.training.engine.task import DataTask
from pipeline.training.jobs.card import CardFacts, publish_weights
from pipeline.training.jobs.generator_data import pair_records

__all__ = ["TrainedGenerator", "publish_generator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedGenerator:
    """What a generator's training leaves.

    Args:
        weights: The weights file.
        sha256: Its SHA-256.
        others: Further weights files: a denoiser trained along, the weights that validated best.
        steps: Optimiser steps.
        seconds: Training time in all, without the last evaluation.
        metrics: What the validation measured; empty without validation.
        findings: What the training noticed of itself.
        report: Where the report is; ``None`` if there is none.
    """

    weights: str
    sha256: str
    others: tuple[str, ...]
    steps: int
    seconds: float
    metrics: dict[str, Any]
    findings: dict[str, Any]
    report: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "weights": self.weights,
            "sha256": self.sha256,
            "others": list(self.others),
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "metrics": self.metrics,
            "findings": self.findings,
            "report": self.report,
        }

    def describe(self) -> str:
        """Return what a person reads."""
        lines = [
            f"Trained {self.steps} steps in {duration(self.seconds)}.",
            f"Weights: {self.weights}",
            *(f"         {other}" for other in self.others),
            f"Card:    {Path(self.weights).with_suffix('.json')}",
        ]
        lines += [f"Report:  {self.report}"] if self.report is not None else []
        lines += [f"{how}: {_in_words(found)}" for how, found in self.metrics.items()]
        lines += [f"{what}: {_brief(found)}" for what, found in self.findings.items()]
        return "\n".join(lines)


def publish_generator(
    folder: Path,
    manifest: TrainGeneratorManifest,
    trained: DataTask,
    *,
    store: TrainingStore,
    held_out: Scan | None,
    result: TrainingResult,
    source: str,
) -> TrainedGenerator:
    """Write the weights and their cards, and measure the weights on the validation's data.

    Args:
        folder: Of the training.
        manifest: The training.
        trained: The task, with its last (averaged) weights.
        store: What it was trained on.
        held_out: What the validation's sources hold; ``None`` without validation.
        result: What the loop left.
        source: Where the manifest is.
    """
    facts = CardFacts(
        training_data={
            "scenes": sorted({image.scene for image in store.images}),
            "licenses": store.licenses,
            "simulated": [device.model_dump(mode="json") for device in manifest.data.simulate],
            "use": trained.task.uses,
            "share_of_places_within_offset": round(store.kept_fraction, 4),
        },
        how={"objective": manifest.model},
        metrics={} if held_out is None else _measure(manifest, trained, held_out),
        findings=trained.task.findings(),
        subject={"configurations": [configuration_name(*capture) for capture in trained.captures]},
    )
    first, *others = publish_weights(
        folder, manifest, trained, facts=facts, result=result, source=source
    )
    return TrainedGenerator(
        weights=str(first.path),
        sha256=first.sha256,
        others=tuple(str(other.path) for other in others),
        steps=result.step,
        seconds=result.seconds,
        metrics=dict(facts.metrics),
        findings=dict(facts.findings),
    )


def _measure(manifest: TrainGeneratorManifest, trained: DataTask, held_out: Scan) -> dict[str, Any]:
    """Score the weights on held-out data: batches, and whole blocks where there are real pairs."""
    assert manifest.validation is not None
    metrics: dict[str, Any] = {"validation": trained.validate()}
    generator = trained.task.generator()
    if generator is None or manifest.validation.simulate or trained.task.domain != "srgb":
        return metrics
    pairs = pair_records(held_out)
    sampling = "noise-aware, reference" if manifest.model == "naflow" else "blocks"
    metrics[sampling] = summarise(
        evaluate_blocks(generator, pair_blocks(pairs, read_pixels), seed=manifest.seed)
    )
    return metrics


def _brief(found: Any) -> str:
    """Return a finding on one line; a table is left to the card and the report."""
    if isinstance(found, Mapping) and "what" in found:
        return str(found["what"])
    text = str(found)
    return text if len(text) <= 120 else f"{len(found)} entries, on the card"


def _in_words(found: Mapping[str, Any]) -> str:
    """Return figures as they are, or of blocks the means over sound ones, or all if none is."""
    if "sound" not in found:
        return ", ".join(f"{name} {value:.4g}" for name, value in found.items())
    part = "sound" if found["sound"]["blocks"] else "all"
    means = {key: found[part][key]["mean"] for key in ("kld", "akld", "correlation")}
    real = found[part]["real_correlation"]["mean"]
    return (
        f"KLD {means['kld']:.4f}, AKLD {means['akld']:.3f}, correlation "
        f"{means['correlation']:.2f} (real {real:.2f}) over {found[part]['blocks']} {part} blocks"
    )
