"""What a training says: every style tells the same, and only a terminal gets a moving line."""

from __future__ import annotations

import io
import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import pipeline.training.jobs.progress as progress_module
from pipeline.training.engine.loop import TrainingProgress
from pipeline.training.jobs.progress import TrainingDisplay, Watched


def line(step: int, **changes: Any) -> TrainingProgress:
    values: dict[str, Any] = {
        "step": step,
        "steps": 100,
        "loss": 0.5,
        "learning_rate": 1e-3,
        "seconds": float(step),
        "skipped": 0,
    }
    return TrainingProgress(**values | changes)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that displays see; the test sets it."""
    now = [1000.0]
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_pipe_gets_a_line_every_ten_seconds_every_validation_and_the_last(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    display = TrainingDisplay(100, style="auto")
    with display.watching():
        for step in range(1, 101):
            clock[0] += 1.0
            display.at(step - 1)
            checked = {"nll": -2.5, "kld": 0.01} if step == 55 else None
            display.show(line(step, validation=checked))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert all(text.startswith("noisemill: step ") for text in lines)
    steps = [int(text.split()[2].split("/")[0]) for text in lines]
    assert steps == [1, 11, 21, 31, 41, 51, 55, 65, 75, 85, 95, 100]
    assert "nll -2.5, kld 0.01" in lines[6]
    assert ("left" in lines[5], "left" in lines[-1]) == (True, False)


def test_the_time_left_is_that_of_this_run_at_its_pace(clock: list[float]) -> None:
    display = TrainingDisplay(100, style="quiet")
    display.at(80)  # resumed there
    clock[0] += 6.0
    display.at(82)
    assert display._left() == pytest.approx(18 * 3.0)


def test_events_are_json_even_where_numbers_are_not_finite(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = TrainingDisplay(100, style="json")
    display.show(line(3, loss=math.nan, skipped=2, validation={"nll": math.inf, "kld": 0.5}))
    out, err = capsys.readouterr()
    assert out == ""
    event = json.loads(err, parse_constant=lambda name: pytest.fail(name))
    assert event["event"] == "progress"
    assert (event["step"], event["steps"], event["loss"], event["skipped"]) == (3, 100, None, 2)
    assert event["validation"] == {"nll": None, "kld": 0.5}


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    display = TrainingDisplay(100, style="quiet")
    with display.watching():
        display.show(line(100, validation={"nll": 1.0}))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_one_moving_line_and_keeps_validations(clock: list[float]) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    display = TrainingDisplay(100, style="auto", console=console)
    with display.watching():
        display.at(0)
        clock[0] += 4.0
        display.at(40)
        display.show(line(40, loss=0.25, skipped=3, validation={"nll": -2.25, "kld": 0.01}))
        console.print(display._table())
        display.validating()
        console.print(display._table())
        display.show(line(60))
    text = file.getvalue()
    assert "noisemill: step 40/100, loss 0.25, nll -2.25, kld 0.01, 3 steps skipped" in text
    assert "held out nll -2.25" in text
    assert "6 s left" in text
    assert "validating" in text
    assert "noisemill: step 60/100, loss 0.5" in text.rstrip().splitlines()[-1]


def test_a_watched_task_is_the_task_and_tells_where_it_is() -> None:
    class Task:
        module = nn.Linear(1, 1)
        started = False

        def initialise(self) -> None:
            self.started = True

        def loss(self, step: int) -> Tensor:
            return torch.tensor(float(step))

        def validate(self) -> dict[str, float]:
            return {"nll": 7.0}

    task, display = Task(), TrainingDisplay(10, style="quiet")
    watched = Watched(task, display)
    watched.initialise()
    assert task.started
    assert watched.module is task.module
    assert watched.loss(4).item() == 4.0
    assert display._step == 4
    assert watched.validate() == {"nll": 7.0}
    assert display._doing == "validating"
