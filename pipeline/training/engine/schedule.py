"""How long and how fast a training goes: its settings, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["LoopSettings", "learning_rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How long and how fast.

    Args:
        steps: Optimiser steps.
        learning_rate: Peak.
        final_learning_rate: End of the cosine.
        warmup_steps: Linear rise to the peak.
        decay: ``cosine`` to the end, ``constant``, or ``milestones``.
        milestones: Steps at which the rate is multiplied by ``factor``.
        factor: See ``milestones``.
        optimizer: ``adam``, or ``adamw``, which shrinks weights directly.
        betas: Adam's.
        weight_decay: Adam's L2 penalty, or AdamW's rate of shrinking.
        clip_norm: Largest gradient norm; ``None`` for any.
        ema: Decay of the averaged weights; ``None`` for none.
        checkpoint_every: Steps between checkpoints at most; a minute is, too.
        log_every: Steps.
        validate_every: Steps between validations of the averaged weights; ``None`` for none.
    """

    steps: int
    learning_rate: float
    final_learning_rate: float = 0.0
    warmup_steps: int = 0
    decay: Literal["cosine", "constant", "milestones"] = "cosine"
    milestones: Sequence[int] = ()
    factor: float = 0.5
    optimizer: Literal["adam", "adamw"] = "adam"
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip_norm: float | None = None
    ema: float | None = None
    checkpoint_every: int = 500
    log_every: int = 50
    validate_every: int | None = None


def learning_rate(settings: LoopSettings, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then the decay."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.decay == "constant":
        return settings.learning_rate
    if settings.decay == "milestones":
        passed = sum(step >= milestone for milestone in settings.milestones)
        return float(settings.learning_rate * settings.factor**passed)
    span = max(1, settings.steps - settings.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * (step - settings.warmup_steps) / span))
    peak, end = settings.learning_rate, settings.final_learning_rate
    return end + (peak - end) * cosine
