"""Training a generator from a manifest: sources to pairs, the loop, weights with their card."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from generators.naflow.network import NAFlow, NAFlowConfig, configuration_name
from generators.naflow.sampling import NAFlowGenerator
from generators.naflow.training import NAFlowTask
from generators.weights_file import load_header, save_weights
from pipeline.evaluate import evaluate_blocks, pair_blocks, summarise
from pipeline.images import read_pixels
from pipeline.lock import run_lock
from pipeline.manifest.diff import manifest_difference
from pipeline.manifest.models import Splits, TrainGeneratorManifest, TrainingData
from pipeline.progress import Style, duration, tell
from pipeline.provenance import git_revision, hardware, software_versions
from pipeline.records import ImageRecord
from pipeline.sources import scan
from pipeline.stages.quantise import quantise, to_color, to_unit
from pipeline.storage import publish
from pipeline.training.data import PairImage, PairStore, draw_batch
from pipeline.training.loop import Progress, Recipe, TrainingResult, train

__all__ = ["Trained", "load_pairs", "train_generator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training leaves.

    Args:
        weights: The weights file.
        sha256: Its SHA-256.
        steps: Optimiser steps.
        seconds: Training time in all, without evaluation.
        metrics: What the validation measured; empty without validation.
    """

    weights: str
    sha256: str
    steps: int
    seconds: float
    metrics: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "weights": self.weights,
            "sha256": self.sha256,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "metrics": self.metrics,
        }

    def describe(self) -> str:
        """Return what a person reads."""
        lines = [
            f"Trained {self.steps} steps in {duration(self.seconds)}.",
            f"Weights: {self.weights}",
            f"Card:    {Path(self.weights).with_suffix('.json')}",
        ]
        lines += [f"{how}: {_in_words(found)}" for how, found in self.metrics.items()]
        return "\n".join(lines)


def train_generator(manifest: TrainGeneratorManifest, *, source: str, style: Style) -> Trained:
    """Train a NAFlow, or go on with an interrupted training of the same manifest.

    Args:
        manifest: The training.
        source: Where the manifest is, for the card.
        style: How progress is shown.

    Raises:
        ValueError: If the pairs or the parameters are not fit for training, or the folder holds the
            training of another manifest.
        StorageError: If the folder cannot be written, or another run is at work there.
    """
    folder = Path(manifest.output.path).expanduser()
    with run_lock(str(folder)):
        _remember(folder, manifest)
        return _train_in(folder, manifest, source=source, style=style)


def _train_in(
    folder: Path, manifest: TrainGeneratorManifest, *, source: str, style: Style
) -> Trained:
    schedule = manifest.schedule
    if schedule.threads is not None:
        torch.set_num_threads(schedule.threads)
    device = torch.device(schedule.device)
    tell(style, "reading the pairs")
    images = load_pairs(manifest.data)
    store = PairStore(
        images,
        patch=manifest.data.patch,
        max_offset=manifest.data.max_offset,
        window=manifest.data.offset_window,
        remove_offset=manifest.data.remove_offset,
    )
    _announce(store, style)
    task = _task(manifest, store, device)
    result = train(task, _recipe(manifest), folder, device=device, report=_reporter(style))
    if manifest.validation is not None:
        tell(style, "measuring the weights on the validation's pairs")
    return _publish(folder, manifest, task.module, store, result, source)


def load_pairs(data: TrainingData) -> list[PairImage]:
    """Read all pairs of a manifest's sources into memory, 8 bits a sample.

    Raises:
        ValueError: If a pair lacks its camera or ISO, or there are none.
    """
    found = scan(data.sources, Splits())
    for reject in found.rejects:
        print(f"noisemill: refused {reject.uri}: {reject.detail}", file=sys.stderr)
    pairs = [record for record in found.records if record.noisy_uri is not None]
    if not pairs:
        raise ValueError("the training's sources hold no clean/noisy pairs; use `type: pairs`.")
    return [_pair(record) for record in pairs]


def _pair(record: ImageRecord) -> PairImage:
    if record.camera is None or record.iso is None or record.noisy_uri is None:
        raise ValueError(
            f"{record.uri}: training needs the camera and the ISO of each pair; add columns camera "
            "and iso to the metadata, or give them with the source."
        )
    clean, noisy = (
        quantise(to_unit(to_color(read_pixels(uri), "rgb")), "uint8")
        for uri in (record.uri, record.noisy_uri)
    )
    return PairImage(
        clean=clean, noisy=noisy, camera=record.camera, iso=record.iso, scene=record.scene
    )


def _task(manifest: TrainGeneratorManifest, store: PairStore, device: torch.device) -> NAFlowTask:
    names = [configuration_name(camera, iso) for camera, iso in store.shots]
    try:
        config = NAFlowConfig(configurations=tuple(names), seed=manifest.seed, **manifest.params)
    except TypeError as error:
        raise ValueError(f"params: {error}") from error
    schedule = manifest.schedule
    return NAFlowTask(
        NAFlow(config).to(device),
        lambda step: draw_batch(
            store,
            size=schedule.batch_size,
            seed=manifest.seed,
            step=step,
            augmentation=manifest.data.augmentation,
        ).to(device),
        seed=manifest.seed,
        dtype=torch.bfloat16 if schedule.bf16 else torch.float32,
    )


def _recipe(manifest: TrainGeneratorManifest) -> Recipe:
    schedule = manifest.schedule
    return Recipe(
        steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        final_learning_rate=schedule.final_learning_rate,
        warmup_steps=schedule.warmup_steps,
        betas=schedule.betas,
        clip_norm=schedule.clip_norm,
        ema=schedule.ema,
        checkpoint_every=manifest.checkpoint_every,
        log_every=manifest.log_every,
    )


def _publish(
    folder: Path,
    manifest: TrainGeneratorManifest,
    model: NAFlow,
    store: PairStore,
    result: TrainingResult,
    source: str,
) -> Trained:
    path = folder / f"{manifest.name}.safetensors"
    sha256 = save_weights(
        path,
        family=manifest.model,
        config=model.config.to_dict(),
        tensors=model.state_dict(),
        license=manifest.license,
    )
    metrics = (
        {} if manifest.validation is None else _measure(path, manifest.validation, manifest.seed)
    )
    card = {
        "name": manifest.name,
        "family": manifest.model,
        "domain": "srgb",
        "parameters": load_header(path).parameters,
        "sha256": sha256,
        "license": manifest.license,
        "configurations": list(model.config.configurations),
        "training_data": {
            "scenes": sorted({image.scene for image in store.images}),
            "share_of_places_within_offset": round(store.kept_fraction, 4),
        },
        "training": {
            "steps": result.step,
            "seconds": round(result.seconds, 1),
            "threads": torch.get_num_threads(),
            "skipped_steps": result.skipped,
        },
        "metrics": metrics,
        "manifest": manifest.model_dump(mode="json"),
        "manifest_file": Path(source).name,
        "software": software_versions(),
        "git": git_revision(),
        "hardware": hardware(),
    }
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    publish(str(folder), path.with_suffix(".json").name, text.encode())
    return Trained(
        weights=str(path),
        sha256=sha256,
        steps=result.step,
        seconds=result.seconds,
        metrics=metrics,
    )


def _measure(path: Path, data: TrainingData, seed: int) -> dict[str, Any]:
    """Score the weights on held-out pairs in every way of sampling that the pairs allow."""
    found = scan(data.sources, Splits())
    pairs = [record for record in found.records if record.noisy_uri is not None]
    blocks = list(pair_blocks(pairs, read_pixels))
    generator = NAFlowGenerator.from_weights(path)
    summary: Mapping[str, Any] = summarise(evaluate_blocks(generator, blocks, seed=seed))
    return {"noise-aware, reference": summary}


def _remember(folder: Path, manifest: TrainGeneratorManifest) -> None:
    """Refuse to go on with the training of another manifest."""
    note = folder / "manifest.json"
    now = manifest.model_dump(mode="json", exclude={"output"})
    if note.is_file() and (folder / "checkpoint.pt").is_file():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{note} is damaged ({error}), so it is not known whose training {folder} holds. "
                "Give output.path another folder, or delete this one."
            ) from error
        lines = manifest_difference(before, now)
        if lines:
            raise ValueError(
                f"{folder} holds the training of another manifest. What differs:\n  "
                + "\n  ".join(lines)
                + "\nGive output.path another folder, or delete this one."
            )
    publish(str(folder), note.name, json.dumps(now, indent=1).encode())


def _announce(store: PairStore, style: Style) -> None:
    left_out = f"; {', '.join(store.dropped)} left out" if store.dropped else ""
    tell(
        style,
        f"{len(store.images)} pairs, {len(store.shots)} cameras and ISOs, "
        f"{store.kept_fraction:.0%} of places within the offset limit{left_out}",
    )


def _reporter(style: Style) -> Callable[[Progress], None]:
    first: list[Progress] = []

    def show(progress: Progress) -> None:
        # The first line is where this run begins to be timed: a resumed one starts at any step.
        first.append(progress)
        loss = progress.loss if math.isfinite(progress.loss) else None
        if style == "json":
            record = {"event": "progress", "step": progress.step, "loss": loss}
            print(json.dumps(record), file=sys.stderr, flush=True)
            return
        done, left = progress.step - first[0].step, progress.steps - progress.step
        text = f"step {progress.step:,}/{progress.steps:,}"
        text += f", loss {progress.loss:.4f} nats/dim"
        if done and left:
            each = (progress.seconds - first[0].seconds) / done
            text += f", {duration(each * left)} left"
        tell(style, text)

    return show


def _in_words(found: Mapping[str, Any]) -> str:
    """Return the means over sound blocks, or over all where none is sound."""
    part = "sound" if found["sound"]["blocks"] else "all"
    means = {key: found[part][key]["mean"] for key in ("kld", "akld", "correlation")}
    real = found[part]["real_correlation"]["mean"]
    return (
        f"KLD {means['kld']:.4f}, AKLD {means['akld']:.3f}, correlation "
        f"{means['correlation']:.2f} (real {real:.2f}) over {found[part]['blocks']} {part} blocks"
    )
