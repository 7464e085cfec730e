"""What the training loop is told, from either kind of training manifest."""

from __future__ import annotations

from dataclasses import fields

from pipeline.manifest.denoising import TrainDenoiserManifest
from pipeline.manifest.training import TrainGeneratorManifest
from pipeline.training.engine.schedule import LoopSettings

__all__ = ["loop_settings"]


def loop_settings(manifest: TrainGeneratorManifest | TrainDenoiserManifest) -> LoopSettings:
    """Return the loop's settings: the manifest's keys and its schedule's that go by their names.

    A schedule without ``optimizer``, a generator's, leaves the loop its default, Adam.
    """
    schedule, validation = manifest.schedule, manifest.validation
    every = None if validation is None else validation.every or schedule.steps
    names = {field.name for field in fields(LoopSettings)}
    values = schedule.model_dump(include=names) | manifest.model_dump(include=names)
    return LoopSettings(**values, validate_every=every)
