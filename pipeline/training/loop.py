"""One loop for every objective: plain torch, resumable to the bit.

The loop knows nothing of models. A *task* offers the trainable module, an initialisation from the
first batch, and the loss of a step; all randomness of a step follows from (seed, step). What the
loop keeps between steps is therefore only: weights, optimiser moments, averaged weights, the step
and its counters. They are checkpointed together.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.training.checkpoint import load_checkpoint, save_checkpoint

__all__ = ["Progress", "Recipe", "Task", "TrainingResult", "learning_rate", "train"]


class Task(Protocol):
    """What is trained."""

    @property
    def module(self) -> nn.Module:
        """The trainable module."""
        ...

    def initialise(self) -> None:
        """Prepare a fresh module, from the batch of step 0 if it needs data."""
        ...

    def loss(self, step: int) -> Tensor:
        """Return the scalar loss of a step; the same step gives the same loss for equal weights."""
        ...

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Return validation figures of a module of the same kind; empty if there is nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How long and how fast.

    Args:
        steps: Optimiser steps.
        learning_rate: Peak.
        final_learning_rate: End of the cosine.
        warmup_steps: Linear rise to the peak.
        betas: Adam's.
        clip_norm: Largest gradient norm; ``None`` for any.
        ema: Decay of the averaged weights; ``None`` for none.
        checkpoint_every: Steps.
        log_every: Steps.
        validate_every: Steps; ``None`` for at the end only.
    """

    steps: int
    learning_rate: float
    final_learning_rate: float = 0.0
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float | None = None
    ema: float | None = None
    checkpoint_every: int = 500
    log_every: int = 50
    validate_every: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of the log."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    skipped: int


@dataclass(slots=True)
class TrainingResult:
    """What a training leaves in memory: the step reached, seconds in all, steps skipped."""

    step: int
    seconds: float
    skipped: int
    validation: dict[str, float] = field(default_factory=dict)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    span = max(1, recipe.steps - recipe.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * (step - recipe.warmup_steps) / span))
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * cosine


def train(
    task: Task,
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    report: Callable[[Progress], None],
    stop_at: int | None = None,
) -> TrainingResult:
    """Train, or go on with a training found in the folder.

    Args:
        task: What is trained; its module ends with the averaged weights if the recipe has an EMA.
        recipe: How.
        folder: Gets ``checkpoint.pt`` and ``log.jsonl``.
        device: Where the module lives.
        report: Called with every line of the log.
        stop_at: Stop early, after this step, leaving a checkpoint.

    Raises:
        ValueError: If the folder holds something that is no checkpoint.
        FloatingPointError: If a hundred losses in a row are not finite; the last good checkpoint
            stays.
    """
    module = task.module
    trainable = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trainable, lr=recipe.learning_rate, betas=recipe.betas)
    state = _State(module, optimiser, recipe)
    path = folder / "checkpoint.pt"
    if path.exists():
        state.restore(load_checkpoint(path, device=device))
    else:
        task.initialise()
        state.start_average()
    last = recipe.steps if stop_at is None else min(recipe.steps, stop_at)
    _trim_log(folder / "log.jsonl", state.step)
    started, bad_run = time.monotonic(), 0
    losses: list[float] = []
    before = state.seconds
    while state.step < last:
        rate = learning_rate(recipe, state.step)
        loss = _update(task, state, trainable, recipe, rate)
        bad_run = 0 if loss is not None else bad_run + 1
        if bad_run >= 100:
            raise FloatingPointError(
                f"the loss was not finite for 100 steps up to step {state.step}; the last good "
                f"checkpoint is {path}. Lower the learning rate or set clip_norm."
            )
        if loss is not None:
            losses.append(loss)
        state.seconds = before + time.monotonic() - started
        if state.step % recipe.log_every == 0 or state.step == last:
            mean = sum(losses) / len(losses) if losses else math.nan
            losses = []
            _log(folder, state, recipe, mean, rate, report)
        # A non-finite step in the current run must not reach the disk as the last good state.
        if bad_run == 0 and (state.step % recipe.checkpoint_every == 0 or state.step == last):
            save_checkpoint(path, state.state_dict())
    if state.average is not None:
        module.load_state_dict(state.average)
    return TrainingResult(state.step, state.seconds, state.skipped)


class _State:
    """Everything that changes from step to step."""

    def __init__(self, module: nn.Module, optimiser: torch.optim.Optimizer, recipe: Recipe) -> None:
        self.module, self.optimiser, self.recipe = module, optimiser, recipe
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self.average: dict[str, Tensor] | None = None

    def start_average(self) -> None:
        if self.recipe.ema is not None:
            self.average = {k: v.detach().clone() for k, v in self.module.state_dict().items()}

    @torch.no_grad()
    def update_average(self) -> None:
        if self.average is None or self.recipe.ema is None:
            return
        # Warm-up of the decay: an average over 1/(1-ema) steps would remember the start for long.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for key, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1.0 - decay)
            else:
                self.average[key].copy_(value)

    def state_dict(self) -> dict[str, object]:
        return {
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
        }

    def restore(self, saved: dict[str, object]) -> None:
        self.module.load_state_dict(saved["module"])  # type: ignore[arg-type]
        self.optimiser.load_state_dict(saved["optimiser"])  # type: ignore[arg-type]
        self.average = saved["average"]  # type: ignore[assignment]
        self.step, self.skipped = int(saved["step"]), int(saved["skipped"])  # type: ignore[call-overload]
        self.seconds = float(saved["seconds"])  # type: ignore[arg-type]


def _update(
    task: Task, state: _State, trainable: list[nn.Parameter], recipe: Recipe, rate: float
) -> float | None:
    """Make one optimiser step; a non-finite loss or gradient skips it and is counted."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.zero_grad(set_to_none=True)
    loss = task.loss(state.step)
    state.step += 1
    value = float(loss.detach())
    if not math.isfinite(value):
        state.skipped += 1
        return None
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(trainable, recipe.clip_norm or math.inf)
    if not math.isfinite(float(norm)):
        state.skipped += 1
        return None
    state.optimiser.step()
    state.update_average()
    return value


def _log(
    folder: Path,
    state: _State,
    recipe: Recipe,
    loss: float,
    rate: float,
    report: Callable[[Progress], None],
) -> None:
    line = Progress(
        step=state.step,
        steps=recipe.steps,
        loss=loss,
        learning_rate=rate,
        seconds=state.seconds,
        skipped=state.skipped,
    )
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "step": line.step,
        "loss": loss if math.isfinite(loss) else None,
        "learning_rate": rate,
        "seconds": round(line.seconds, 3),
        "skipped": line.skipped,
    }
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    report(line)


def _trim_log(path: Path, step: int) -> None:
    """Drop log lines beyond the step resumed from, so that no step is logged twice."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        # A killed training may leave half a line, which only the end of the file can hold.
        if not line.endswith("\n") or json.loads(line)["step"] > step:
            break
        kept.append(line)
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text("".join(kept))
    temporary.replace(path)
