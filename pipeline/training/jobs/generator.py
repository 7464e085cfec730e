"""Training a noise model from a manifest: sources to batches, the loop, weights with their card."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import denoisers
import generators
from generators.training import DataUse, NoiseTask, TrainingSetup
from pipeline.building.progress import Style, tell
from pipeline.lock import run_lock
from pipeline.manifest.models import Splits, TrainGeneratorManifest
from pipeline.sources import Scan, scan_for_training
from pipeline.training.data.batches import Batches
from pipeline.training.data.store import TrainingStore
from pipeline.training.engine.events import training_log
from pipeline.training.engine.loop import TrainingProgress, train
from pipeline.training.engine.task import DataTask
from pipeline.training.jobs.folder import page_writer, remember
from pipeline.training.jobs.generator_data import check_held_out, make_batches
from pipeline.training.jobs.generator_result import TrainedGenerator, publish_generator
from pipeline.training.jobs.progress import TrainingDisplay, Watched
from pipeline.training.jobs.schedule import loop_settings

__all__ = ["train_generator"]

# Keys that make a training no other one.
_WAYS = {"output", "report", "tensorboard"}


def train_generator(
    manifest: TrainGeneratorManifest, *, source: str, style: Style
) -> TrainedGenerator:
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
        remember(folder, manifest.model_dump(mode="json", exclude=_WAYS), free=_WAYS)
        return _train_in(folder, manifest, source=source, style=style)


def _train_in(
    folder: Path, manifest: TrainGeneratorManifest, *, source: str, style: Style
) -> TrainedGenerator:
    schedule = manifest.schedule
    if schedule.threads is not None:
        torch.set_num_threads(schedule.threads)
    device = torch.device(schedule.device)
    kind = generators.task(manifest.model)
    if schedule.bf16 and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        tell(style, "this processor imitates bfloat16, some ten times slower; set bf16: false")
    tell(style, "reading the training data")
    batches, store = make_batches(
        manifest.data,
        use=kind.uses,
        domain=None if kind.either_domain else kind.domain,
        size=schedule.batch_size,
        seed=manifest.seed,
    )
    _announce(batches, store, style)
    task = _task(manifest, batches)
    task.module.to(device)
    held_out = None
    if manifest.validation is not None:
        held_out = scan_for_training(manifest.validation.sources, Splits())
    trained = DataTask(
        task,
        batches,
        device=device,
        validation=_validation(manifest, task, training=store, held_out=held_out),
        validation_batches=manifest.validation.batches if manifest.validation else 0,
    )
    display = TrainingDisplay(schedule.steps, style=style)
    with training_log(folder, tensorboard=manifest.tensorboard) as record, display.watching():
        listeners = [record, display.show]
        if manifest.report:
            listeners.append(page_writer(lambda: _page(folder, manifest), style))

        def report(progress: TrainingProgress) -> None:
            for listener in listeners:
                listener(progress)

        result = train(
            Watched(trained, display), loop_settings(manifest), folder, device=device, report=report
        )
    task.finish(trained.batch)
    if manifest.validation is not None:
        tell(style, "measuring the weights on the validation's data")
    left = publish_generator(
        folder,
        manifest,
        trained,
        store=store,
        held_out=held_out,
        result=result,
        source=source,
    )
    return _report(folder, manifest, left, task=trained, style=style) if manifest.report else left


def _task(manifest: TrainGeneratorManifest, batches: Batches) -> NoiseTask:
    setup = TrainingSetup(
        captures=batches.captures,
        seed=manifest.seed,
        dtype=torch.bfloat16 if manifest.schedule.bf16 else torch.float32,
        channels=batches.channels,
        denoiser=partial(_fresh_denoiser, batches.channels),
    )
    try:
        return generators.task(manifest.model).create(manifest.params, setup)
    except (TypeError, ValueError) as error:
        raise ValueError(f"params: {error}") from error


def _fresh_denoiser(channels: int, name: str, seed: int, **params: Any) -> nn.Module:
    if not denoisers.is_trained(name):
        raise ValueError(f"denoiser '{name}' follows a rule and cannot be trained along.")
    return denoisers.create(name, channels=channels, seed=seed, **params)


def _validation(
    manifest: TrainGeneratorManifest,
    task: NoiseTask,
    *,
    training: TrainingStore,
    held_out: Scan | None,
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
        scanned=held_out,
    )
    check_held_out(training, store)
    return batches


def _announce(batches: Batches, store: TrainingStore, style: Style) -> None:
    left_out = f"; {', '.join(store.dropped)} left out" if store.dropped else ""
    tell(
        style,
        f"scenes: {len(store.images)}, settings of camera and ISO: {len(batches.captures)}, "
        f"{store.kept_fraction:.0%} of places within the offset limit{left_out}",
    )


def _page(folder: Path, manifest: TrainGeneratorManifest) -> str:
    # Drawing takes a second or two, and its library is loaded where it is needed.
    from pipeline.report.training import write_training_report

    return write_training_report(folder, manifest)


def _report(
    folder: Path,
    manifest: TrainGeneratorManifest,
    left: TrainedGenerator,
    *,
    task: DataTask,
    style: Style,
) -> TrainedGenerator:
    """Write the report of a finished training and say where it is."""
    from pipeline.report.training import EXAMPLES, write_training_report

    tell(style, "writing the report")
    examples = task.examples(EXAMPLES)
    return replace(
        left, report=write_training_report(folder, manifest, trained=left, examples=examples)
    )
