"""What a training says while it runs: one live line on a terminal, lines elsewhere, or JSON lines.

On a terminal the line moves with every step; validations stay above it. In a pipe a line comes
every ten seconds at most, and with every validation. JSON events come with every line of the log.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from torch import Tensor, nn

from pipeline.building.progress import Style, duration, tell
from pipeline.training.engine.loop import Task, TrainingProgress

__all__ = ["TrainingDisplay", "Watched"]

_EVERY_S = 10.0
_BAR = 16


class TrainingDisplay:
    """Shows a training on standard error.

    Args:
        steps: Steps in all.
        style: ``auto`` looks at the terminal; ``json`` prints one object a line; ``quiet`` nothing.
        console: Where to; standard error if absent.
    """

    def __init__(self, steps: int, *, style: Style, console: Console | None = None) -> None:
        self.steps, self.style = steps, style
        self._console = console or Console(stderr=True)
        self._live = style == "auto" and self._console.is_terminal
        self._step, self._doing = 0, "starting"
        # Where this run begins to be timed: a resumed one starts at any step.
        self._first: tuple[int, float] | None = None
        self._told = -math.inf
        self._last: TrainingProgress | None = None
        self._checked: Mapping[str, float] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Show the live line, where there is one, until the block ends."""
        if not self._live:
            yield
            return
        with Live(
            get_renderable=self._table,
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,  # results go there
            transient=True,
        ):
            yield
        if self._last is not None and self._last.validation is None:
            self._say(self._last)

    def at(self, step: int) -> None:
        """Take note that a step begins."""
        self._step, self._doing = step, ""
        if self._first is None:
            self._first = step, time.monotonic()

    def validating(self) -> None:
        """Take note that a validation begins."""
        self._step, self._doing = self._step + 1, "validating"

    def show(self, progress: TrainingProgress) -> None:
        """Say a line of the log."""
        self._step, self._last = progress.step, progress
        if progress.validation is not None:
            self._checked = progress.validation
        if self.style == "json":
            print(json.dumps(self._event(progress)), file=sys.stderr, flush=True)
        elif self._live:
            if progress.validation is not None:
                self._say(progress)
        elif progress.validation is not None or self._due(progress):
            self._told = time.monotonic()
            tell(self.style, self._text(progress))

    def _say(self, progress: TrainingProgress) -> None:
        self._console.print(f"noisemill: {self._text(progress)}", highlight=False, soft_wrap=True)

    def _due(self, progress: TrainingProgress) -> bool:
        return progress.step == progress.steps or time.monotonic() - self._told >= _EVERY_S

    def _left(self) -> float | None:
        """Return the seconds to go at the pace of this run; ``None`` where nothing is known."""
        if self._first is None:
            return None
        step, began = self._first
        done, left = self._step - step, self.steps - self._step
        return (time.monotonic() - began) / done * left if done > 0 and left > 0 else None

    def _event(self, progress: TrainingProgress) -> dict[str, Any]:
        left = self._left()
        event: dict[str, Any] = {
            "event": "progress",
            "step": progress.step,
            "steps": progress.steps,
            "loss": _finite(progress.loss),
            "learning_rate": progress.learning_rate,
            "seconds": round(progress.seconds, 1),
            "skipped": progress.skipped,
            "left_s": None if left is None else round(left, 1),
        }
        if progress.validation is not None:
            event["validation"] = {k: _finite(v) for k, v in progress.validation.items()}
        return event

    def _text(self, progress: TrainingProgress) -> str:
        parts = [f"step {progress.step:,}/{progress.steps:,}", f"loss {progress.loss:.4g}"]
        for name, value in (progress.validation or {}).items():
            parts.append(f"{'held out ' if name == 'loss' else ''}{name} {value:.4g}")
        parts += [f"{progress.skipped} steps skipped"] if progress.skipped else []
        left = self._left()
        parts += [f"{duration(left)} left"] if left is not None else []
        return ", ".join(parts)

    def _table(self) -> Table:
        bar = "━" * round(_BAR * min(self._step / max(self.steps, 1), 1.0))
        left, last = self._left(), self._last
        # The figure that decides what is best; the others are on the line of each validation.
        judged = next((k for k in ("nll", "loss") if k in self._checked), None)
        table = Table.grid(padding=(0, 2))
        for _ in range(6):
            table.add_column(no_wrap=True)
        table.add_row(
            f"[green]{bar}[/][dim]{'━' * (_BAR - len(bar))}[/]",
            f"{self._step:,}/{self.steps:,}",
            "" if last is None else f"loss {last.loss:.4g}",
            "" if judged is None else f"held out {judged} {self._checked[judged]:.4g}",
            f"[yellow]{last.skipped} skipped[/]" if last is not None and last.skipped else "",
            self._doing or ("" if left is None else f"{duration(left)} left"),
        )
        return table


class Watched:
    """A task that tells a display which step it is at.

    Args:
        task: The task.
        display: Who is told.
    """

    def __init__(self, task: Task, display: TrainingDisplay) -> None:
        self._task, self._display = task, display

    @property
    def module(self) -> nn.Module:
        """The trainable module."""
        return self._task.module

    def initialise(self) -> None:
        """Prepare a fresh module."""
        self._task.initialise()

    def loss(self, step: int) -> Tensor:
        """Return the scalar loss of a step."""
        self._display.at(step)
        return self._task.loss(step)

    def validate(self) -> dict[str, float]:
        """Measure the module as it stands on held-out data."""
        self._display.validating()
        return self._task.validate()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
