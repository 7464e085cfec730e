"""TensorBoard: the same numbers as the log, if asked for; a clear word where it is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.training.engine.events import training_log
from pipeline.training.engine.loop import TrainingProgress


def line(step: int, validation: dict[str, float] | None = None) -> TrainingProgress:
    return TrainingProgress(
        step=step,
        steps=9,
        loss=1.0 / step,
        learning_rate=1e-3,
        seconds=1.0,
        skipped=0,
        validation=validation,
    )


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    with training_log(tmp_path, tensorboard=False) as record:
        record(line(1))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(ValueError, match=r"pip install noisemill\[tensorboard\]"),
        training_log(tmp_path, tensorboard=True),
    ):
        pass


def test_events_hold_the_numbers_of_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    with training_log(tmp_path, tensorboard=True) as record:
        record(line(2))
        record(line(4, {"nll": -2.5}))
    (file,) = (tmp_path / "tensorboard").iterdir()
    found = {
        (value.tag, event.step): value.simple_value
        for event in LegacyEventFileLoader(str(file)).Load()
        for value in event.summary.value
    }
    assert found == {
        ("loss", 2): 0.5,
        ("loss", 4): 0.25,
        ("learning_rate", 2): pytest.approx(1e-3),
        ("learning_rate", 4): pytest.approx(1e-3),
        ("validation/nll", 4): -2.5,
    }
