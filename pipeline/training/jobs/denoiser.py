"""Training a denoiser from a manifest: data to batches, the loop, weights with their card."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.building.progress import Style, tell
from pipeline.lock import run_lock
from pipeline.manifest.models import TrainDenoiserManifest
from pipeline.training.engine.denoiser import DenoiserTask
from pipeline.training.engine.events import training_log
from pipeline.training.engine.loop import TrainingProgress, train
from pipeline.training.jobs.denoiser_result import TrainedDenoiser, publish_denoiser
from pipeline.training.jobs.denoiser_task import prepare_denoiser
from pipeline.training.jobs.distributed import train_on_ray
from pipeline.training.jobs.folder import page_writer, remember
from pipeline.training.jobs.progress import TrainingDisplay, Watched
from pipeline.training.jobs.schedule import loop_settings

__all__ = ["train_denoiser"]

# Keys that make a training no other one. Workers share the same batches.
_WAYS = {"output", "report", "tensorboard", "workers", "address"}


def train_denoiser(
    manifest: TrainDenoiserManifest, *, source: str, style: Style
) -> TrainedDenoiser:
    """Train a denoiser, or go on with an interrupted training of the same manifest.

    Args:
        manifest: The training.
        source: Where the manifest is, for the card.
        style: How progress is shown.

    Raises:
        ValueError: If the data or the parameters are not fit for training, or the folder holds the
            training of another manifest.
        FileNotFoundError: If a corpus, a source or a manifest to stream does not exist.
        StorageError: If the folder cannot be written, or another run is at work there.
    """
    folder = Path(manifest.output.path).expanduser()
    with run_lock(str(folder)):
        return _train_in(folder, manifest, source=source, style=style)


def _train_in(
    folder: Path, manifest: TrainDenoiserManifest, *, source: str, style: Style
) -> TrainedDenoiser:
    schedule = manifest.schedule
    if schedule.threads is not None:
        torch.set_num_threads(schedule.threads)
    device = torch.device(schedule.device)
    if schedule.bf16 and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        tell(style, "this processor imitates bfloat16, some ten times slower; set bf16: false")
    tell(style, "reading the training data")
    ready = prepare_denoiser(
        manifest, share=range(schedule.batch_size), validated=True, device=device
    )
    task = ready.task
    try:
        now = manifest.model_dump(mode="json", exclude=_WAYS)
        remember(folder, now | {"data_sha256": ready.data.identity}, free=_WAYS)
        for about in ready.data.about:
            tell(style, f"{about['share']:.0%} {about['input']}, read {about['read']}")
        display = TrainingDisplay(schedule.steps, style=style)
        with training_log(folder, tensorboard=manifest.tensorboard) as record, display.watching():
            listeners = [record, display.show]
            if manifest.report:
                listeners.append(page_writer(_page(folder, manifest), style))
            if manifest.workers > 1:
                train_on_ray(manifest, folder, report=_each(listeners))
            started, before = time.perf_counter(), task.waited_s
            # After workers have finished this finds their checkpoint, and has nothing left to do.
            result = train(
                Watched(task, display),
                loop_settings(manifest),
                folder,
                device=device,
                report=_each(listeners),
            )
        spent, waiting = time.perf_counter() - started, task.waited_s - before
        left = publish_denoiser(
            folder,
            manifest,
            task,
            data=ready.data,
            result=result,
            source=source,
            waited=waiting / spent if waiting else math.nan,
        )
        if not manifest.report:
            return left
        tell(style, "writing the report")
        return replace(left, report=_page(folder, manifest, left=left, task=task)())
    finally:
        task.close()


def _each(
    listeners: Sequence[Callable[[TrainingProgress], None]],
) -> Callable[[TrainingProgress], None]:
    def report(progress: TrainingProgress) -> None:
        for listener in listeners:
            listener(progress)

    return report


def _page(
    folder: Path,
    manifest: TrainDenoiserManifest,
    *,
    left: TrainedDenoiser | None = None,
    task: DenoiserTask | None = None,
) -> Callable[[], str]:
    """Return what writes the report."""

    def write() -> str:
        # Drawing takes a second or two, and its library is loaded where it is needed.
        from pipeline.report.training import EXAMPLES, write_training_report

        examples = [] if task is None else task.examples(EXAMPLES)
        return write_training_report(folder, manifest, trained=left, examples=examples)

    return write
