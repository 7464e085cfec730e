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

from pipeline.storage import whole_file
from pipeline.training.engine.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.engine.schedule import LoopSettings, learning_rate

__all__ = [
    "ALONE",
    "LoopSettings",
    "ProcessGroup",
    "Task",
    "TrainingProgress",
    "TrainingResult",
    "learning_rate",
    "train",
]


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

    def validate(self) -> dict[str, float]:
        """Measure the module as it stands on held-out data; empty if there is none.

        Of the figures, the first of ``nll``, ``loss`` that is there decides which weights are best.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """One line of the log.

    Args:
        step: Steps done.
        steps: Steps in all.
        loss: Mean since the line before; not a number if every step was skipped.
        learning_rate: Of the last step.
        seconds: Training time so far, validation included.
        skipped: Steps skipped so far because loss or gradient was not finite.
        validation: What the validation measured at this step; ``None`` if there was none.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    skipped: int
    validation: dict[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessGroup:
    """How processes train together; each runs the loop on its share of every batch.

    Gradients are averaged by the module that the task calls; the rest is here.

    Args:
        leads: Whether this process writes, reports and validates; one of them does.
        mean: Returns the mean of a scalar over all processes.
    """

    leads: bool
    mean: Callable[[Tensor], Tensor]


# Steps may take seconds, and an interrupted training must not lose half an hour of them.
_CHECKPOINT_EVERY_S = 60.0

ALONE = ProcessGroup(leads=True, mean=lambda value: value)


@dataclass(slots=True)
class TrainingResult:
    """What a training leaves in memory.

    Args:
        step: Steps done.
        seconds: Training time in all.
        skipped: Steps skipped.
        best: State of the averaged weights that validated best; ``None`` without validation.
        best_step: Their step.
        best_figures: What their validation measured.
    """

    step: int
    seconds: float
    skipped: int
    best: dict[str, Tensor] | None = None
    best_step: int = 0
    best_figures: dict[str, float] = field(default_factory=dict)


def train(
    task: Task,
    settings: LoopSettings,
    folder: Path,
    *,
    device: torch.device,
    report: Callable[[TrainingProgress], None],
    stop_at: int | None = None,
    processes: ProcessGroup = ALONE,
) -> TrainingResult:
    """Train, or go on with a training found in the folder.

    Args:
        task: What is trained; its module ends with the averaged weights if ``settings`` has an EMA.
        settings: How long and how fast.
        folder: Gets ``checkpoint.pt`` and ``log.jsonl``.
        device: Where the module lives.
        report: Called with every line of the log.
        stop_at: Stop early, after this step, leaving a checkpoint.
        processes: The processes that train together.

    Raises:
        ValueError: If the folder holds something that is no checkpoint.
        FloatingPointError: If a hundred losses in a row are not finite; the last good checkpoint
            stays.
    """
    module = task.module
    trainable = [p for p in module.parameters() if p.requires_grad]
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    optimiser = kind(
        trainable,
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    state = _State(module, optimiser, settings)
    path = folder / "checkpoint.pt"
    if path.exists():
        state.restore(load_checkpoint(path, device=device))
    else:
        task.initialise()
        state.start_average()
    last = settings.steps if stop_at is None else min(settings.steps, stop_at)
    if processes.leads:
        _trim_log(folder / "log.jsonl", state.step)
    started, bad_run = time.monotonic(), 0
    saved = started
    before = state.seconds
    while state.step < last:
        rate = learning_rate(settings, state.step)
        loss = _update(task, state, trainable, rate=rate, processes=processes)
        bad_run = 0 if loss is not None else bad_run + 1
        if bad_run >= 100:
            raise FloatingPointError(
                f"the loss was not finite for 100 steps up to step {state.step}; the last good "
                f"checkpoint is {path}. Lower the learning rate or set clip_norm."
            )
        state.seconds = before + time.monotonic() - started
        if not processes.leads:
            continue
        if loss is not None:
            state.losses.append(loss)
        ends = state.step == last
        validated: dict[str, float] | None = None
        if settings.validate_every is not None and (
            state.step % settings.validate_every == 0 or state.step == settings.steps
        ):
            validated = state.validate(task)
        if ends or validated is not None or state.step % settings.log_every == 0:
            line = state.line(rate, validated)
            _log(folder / "log.jsonl", line)
            report(line)
        # A non-finite step in the current run must not reach the disk as the last good state.
        due = (
            ends
            or state.step % settings.checkpoint_every == 0
            or time.monotonic() - saved >= _CHECKPOINT_EVERY_S
        )
        if bad_run == 0 and due:
            save_checkpoint(path, state.state_dict())
            saved = time.monotonic()
    if state.average is not None:
        module.load_state_dict(state.average)
    return TrainingResult(
        state.step, state.seconds, state.skipped, state.best, state.best_step, state.best_figures
    )


class _State:
    """Everything that changes from step to step."""

    def __init__(
        self, module: nn.Module, optimiser: torch.optim.Optimizer, settings: LoopSettings
    ) -> None:
        self.module, self.optimiser, self.settings = module, optimiser, settings
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self.losses: list[float] = []  # since the last line of the log
        self.average: dict[str, Tensor] | None = None
        self.best: dict[str, Tensor] | None = None
        self.best_step, self.best_figures = 0, dict[str, float]()

    def line(self, rate: float, validation: dict[str, float] | None) -> TrainingProgress:
        """Return the next line of the log, and begin another mean of losses."""
        losses, self.losses = self.losses, []
        return TrainingProgress(
            step=self.step,
            steps=self.settings.steps,
            loss=sum(losses) / len(losses) if losses else math.nan,
            learning_rate=rate,
            seconds=self.seconds,
            skipped=self.skipped,
            validation=validation,
        )

    @torch.no_grad()
    def validate(self, task: Task) -> dict[str, float]:
        """Measure the averaged weights, and keep them if none measured better."""
        raw = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        if self.average is not None:
            self.module.load_state_dict(self.average)
        figures = task.validate()
        now, before = _judged(figures), _judged(self.best_figures)
        if math.isfinite(now) and (self.best is None or now < before):
            self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
            self.best_step, self.best_figures = self.step, figures
        self.module.load_state_dict(raw)
        return figures

    def start_average(self) -> None:
        if self.settings.ema is not None:
            self.average = {k: v.detach().clone() for k, v in self.module.state_dict().items()}

    @torch.no_grad()
    def update_average(self) -> None:
        if self.average is None or self.settings.ema is None:
            return
        # Warm-up of the decay: an average over 1/(1-ema) steps would remember the start for long.
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
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
            "losses": self.losses,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "best": self.best,
            "best_step": self.best_step,
            "best_figures": self.best_figures,
        }

    def restore(self, saved: dict[str, object]) -> None:
        self.module.load_state_dict(saved["module"])  # type: ignore[arg-type]
        self.optimiser.load_state_dict(saved["optimiser"])  # type: ignore[arg-type]
        self.average = saved["average"]  # type: ignore[assignment]
        self.best = saved["best"]  # type: ignore[assignment]
        self.best_step = int(saved["best_step"])  # type: ignore[call-overload]
        self.best_figures = dict(saved["best_figures"])  # type: ignore[call-overload]
        self.step, self.skipped = int(saved["step"]), int(saved["skipped"])  # type: ignore[call-overload]
        self.seconds = float(saved["seconds"])  # type: ignore[arg-type]
        self.losses = list(saved.get("losses", []))  # type: ignore[call-overload]


def _update(
    task: Task,
    state: _State,
    trainable: list[nn.Parameter],
    *,
    rate: float,
    processes: ProcessGroup,
) -> float | None:
    """Make one optimiser step; a non-finite loss or gradient skips it and is counted."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.zero_grad(set_to_none=True)
    running = {k: v.clone() for k, v in state.module.named_buffers() if v.is_floating_point()}
    loss = task.loss(state.step)
    state.step += 1
    # One process's bad number makes the mean bad, so all of them skip the step together.
    value = float(processes.mean(loss.detach()))
    if not math.isfinite(value):
        state.skipped += 1
        _put_back(state.module, running)
        return None
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(trainable, state.settings.clip_norm or math.inf)
    if not math.isfinite(float(norm)):
        state.skipped += 1
        _put_back(state.module, running)
        return None
    state.optimiser.step()
    state.update_average()
    return value


@torch.no_grad()
def _put_back(module: nn.Module, running: dict[str, Tensor]) -> None:
    """Undo what a skipped step's forward pass did to running statistics."""
    for name, buffer in module.named_buffers():
        if name in running:
            buffer.copy_(running[name])


def _judged(figures: dict[str, float]) -> float:
    """Return the figure by which weights are compared; less is better."""
    return figures.get("nll", figures.get("loss", math.inf))


def _log(path: Path, line: TrainingProgress) -> None:
    record: dict[str, object] = {
        "step": line.step,
        "loss": line.loss if math.isfinite(line.loss) else None,
        "learning_rate": line.learning_rate,
        "seconds": round(line.seconds, 3),
        "skipped": line.skipped,
    }
    if line.validation is not None:
        figures = line.validation.items()
        record["validation"] = {name: v if math.isfinite(v) else None for name, v in figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


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
    with whole_file(path) as temporary:
        temporary.write_text("".join(kept))
