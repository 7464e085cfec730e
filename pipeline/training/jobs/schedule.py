"""What the training loop is told, from either kind of training manifest."""

from __future__ import annotations

from pipeline.manifest.denoising import TrainDenoiserManifest
from pipeline.manifest.training import TrainGeneratorManifest
from pipeline.training.engine.schedule import Recipe

__all__ = ["loop_recipe"]


def loop_recipe(manifest: TrainGeneratorManifest | TrainDenoiserManifest) -> Recipe:
    """Return the loop's part of a manifest; generators are always trained with Adam."""
    schedule, validation = manifest.schedule, manifest.validation
    every = None if validation is None else validation.every or schedule.steps
    return Recipe(
        steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        final_learning_rate=schedule.final_learning_rate,
        warmup_steps=schedule.warmup_steps,
        decay=schedule.decay,
        milestones=tuple(schedule.milestones),
        factor=schedule.factor,
        optimizer=getattr(schedule, "optimizer", "adam"),
        betas=schedule.betas,
        weight_decay=schedule.weight_decay,
        clip_norm=schedule.clip_norm,
        ema=schedule.ema,
        checkpoint_every=manifest.checkpoint_every,
        log_every=manifest.log_every,
        validate_every=every,
    )
