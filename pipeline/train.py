"""Training a noise model from a manifest: sources to batches, the loop, weights with their card."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import denoisers
import generators
from generators.training import DataUse, NoiseTask, TrainingSetup
from pipeline.lock import run_lock
from pipeline.manifest.diff import manifest_difference
from pipeline.manifest.models import TrainGeneratorManifest
from pipeline.progress import Style, duration, tell
from pipeline.storage import publish
from pipeline.train_card import Trained, publish_training
from pipeline.train_data import check_held_out, make_batches
from pipeline.training.data import Batches, TrainingStore
from pipeline.training.events import training_log
from pipeline.training.loop import Progress, Recipe, train
from pipeline.training.task import DataTask

__all__ = ["train_generator"]


def train_generator(manifest: TrainGeneratorManifest, *, source: str, style: Style) -> Trained:
    """Train a noise model, or go on with an interrupted training of the same manifest.

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
    kind = generators.task(manifest.model)
    tell(style, "reading the training data")
    batches, store = make_batches(
        manifest.data,
        use=kind.uses,
        domain=kind.domain,
        size=schedule.batch_size,
        seed=manifest.seed,
    )
    _announce(batches, store, style)
    task = _task(manifest, batches)
    task.module.to(device)
    trained = DataTask(
        task,
        batches,
        device=device,
        validation=_validation(manifest, task, store),
        validation_batches=manifest.validation.batches if manifest.validation else 0,
    )
    with training_log(folder, tensorboard=manifest.tensorboard) as record:
        result = train(
            trained, _recipe(manifest), folder, device=device, report=_reporter(style, record)
        )
    task.finish(trained.batch)
    if manifest.validation is not None:
        tell(style, "measuring the weights on the validation's data")
    return publish_training(folder, manifest, trained, store, result, source)


def _task(manifest: TrainGeneratorManifest, batches: Batches) -> NoiseTask:
    setup = TrainingSetup(
        shots=batches.shots,
        seed=manifest.seed,
        dtype=torch.bfloat16 if manifest.schedule.bf16 else torch.float32,
        channels=batches.channels,
        denoiser=lambda name, seed: denoisers.create(name, channels=batches.channels, seed=seed),
    )
    try:
        return generators.task(manifest.model).create(manifest.params, setup)
    except (TypeError, ValueError) as error:
        raise ValueError(f"params: {error}") from error


def _validation(
    manifest: TrainGeneratorManifest, task: NoiseTask, training: TrainingStore
) -> Batches | None:
    """Return held-out batches, which may see the clean image whatever the training may not."""
    if manifest.validation is None:
        return None
    use: DataUse = "clean" if task.uses == "clean" else "pairs"
    batches, store = make_batches(
        manifest.validation,
        use=use,
        domain=task.domain,
        size=manifest.schedule.batch_size,
        seed=manifest.seed + 1,
    )
    check_held_out(training, store)
    return batches


def _recipe(manifest: TrainGeneratorManifest) -> Recipe:
    schedule = manifest.schedule
    validation = manifest.validation
    every = None if validation is None else validation.every or schedule.steps
    return Recipe(
        steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        final_learning_rate=schedule.final_learning_rate,
        warmup_steps=schedule.warmup_steps,
        decay=schedule.decay,
        milestones=tuple(schedule.milestones),
        factor=schedule.factor,
        betas=schedule.betas,
        weight_decay=schedule.weight_decay,
        clip_norm=schedule.clip_norm,
        ema=schedule.ema,
        checkpoint_every=manifest.checkpoint_every,
        log_every=manifest.log_every,
        validate_every=every,
    )


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


def _announce(batches: Batches, store: TrainingStore, style: Style) -> None:
    left_out = f"; {', '.join(store.dropped)} left out" if store.dropped else ""
    tell(
        style,
        f"{len(store.images)} scenes, {len(batches.shots)} cameras and ISOs, "
        f"{store.kept_fraction:.0%} of places within the offset limit{left_out}",
    )


def _reporter(style: Style, record: Callable[[Progress], None]) -> Callable[[Progress], None]:
    first: list[Progress] = []

    def show(progress: Progress) -> None:
        record(progress)
        # The first line is where this run begins to be timed: a resumed one starts at any step.
        first.append(progress)
        loss = progress.loss if math.isfinite(progress.loss) else None
        if style == "json":
            event: dict[str, Any] = {"event": "progress", "step": progress.step, "loss": loss}
            if progress.validation is not None:
                event["validation"] = progress.validation
            print(json.dumps(event), file=sys.stderr, flush=True)
            return
        done, left = progress.step - first[0].step, progress.steps - progress.step
        text = f"step {progress.step:,}/{progress.steps:,}"
        text += f", loss {progress.loss:.4g}"
        for name, value in (progress.validation or {}).items():
            text += f", {name} {value:.4g}"
        if done and left:
            each = (progress.seconds - first[0].seconds) / done
            text += f", {duration(each * left)} left"
        tell(style, text)

    return show
