"""Progress: numbers add up, every style says the same, and a lost cluster is no new error."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping

import pytest
from rich.console import Console

import pipeline.building.progress as progress_module
from pipeline.building.progress import Display, duration, tell
from pipeline.engine.counters import ProgressCounters
from pipeline.engine.work import STAGES

Snapshot = Callable[[], Mapping[str, tuple[int, int]]]


def counted_as(**counts: tuple[int, int]) -> ProgressCounters:
    made = ProgressCounters()
    for stage, (patches, rejected) in counts.items():
        made.add(stage, patches, rejected)
    return made


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(10, done=0, style="quiet").watching(ProgressCounters().snapshot):
        tell("quiet", "starting")
    assert capsys.readouterr() == ("", "")


def test_json_lines_can_be_read_and_standard_output_stays_free(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Display(20, done=4, style="json").watching(counted_as(write=(6, 2)).snapshot):
        tell("json", "starting")
    out, err = capsys.readouterr()
    assert out == ""
    note, last = (json.loads(line) for line in err.splitlines())
    assert note == {"event": "note", "text": "starting"}
    assert last["event"] == "progress"
    assert last["total"] == 20
    assert (last["write"]["patches"], last["write"]["rejected"]) == (6, 2)
    assert set(STAGES) < set(last)


def test_lines_count_what_an_earlier_run_made(capsys: pytest.CaptureFixture[str]) -> None:
    counted = counted_as(cut=(8, 0), generate=(8, 0), write=(6, 2))
    with Display(20, done=4, style="auto").watching(counted.snapshot):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("noisemill: 10/20 patches, ")
    assert "2 rejected" in line
    assert "(cut 8, generate 8, write 6)" in line


def test_a_line_comes_every_while_and_a_last_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "_EVERY_S", 0.05)
    counted, looked = ProgressCounters(), threading.Semaphore(0)

    def snapshot() -> Mapping[str, tuple[int, int]]:
        looked.release()
        return counted.snapshot()

    with Display(9, done=0, style="auto").watching(snapshot):
        for _ in range(2):
            assert looked.acquire(timeout=10)
        counted.add("write", 9, 0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert lines[0].startswith("noisemill: 0/9 patches")
    assert lines[-1].startswith("noisemill: 9/9 patches")


def test_time_left_follows_the_rate_and_goes_when_all_is_done() -> None:
    display = Display(30, done=10, style="quiet")
    display.started = time.monotonic() - 10
    # 4 made and 6 refused in 10 s: 10 are left at 0.4 a second.
    rows = display._numbers(4, 6)
    assert rows["per_second"] == pytest.approx(0.4, rel=0.05)
    assert rows["left_s"] == pytest.approx(25, rel=0.05)
    assert display._numbers(14, 6)["left_s"] is None
    assert display._numbers(0, 0)["left_s"] is None


def test_on_a_terminal_each_stage_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    display = Display(40, done=0, style="auto")
    display.console = Console(file=screen, force_terminal=True, width=100)
    with display.watching(counted_as(cut=(30, 10), generate=(20, 0), write=(10, 0)).snapshot):
        pass
    text = screen.getvalue()
    for stage, count in (("cut", "30/40"), ("generate", "20/40"), ("write", "10/40")):
        assert stage in text
        assert count in text
    assert "10 rejected" in text


@pytest.mark.parametrize("style", ["auto", "json"])
def test_a_cluster_that_is_gone_ends_the_counts_and_not_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    monkeypatch.setattr(progress_module, "_EVERY_S", 0.02)
    answers = iter([{"cut": (5, 0), "generate": (4, 0), "write": (3, 0)}])

    def snapshot() -> Mapping[str, tuple[int, int]]:
        found = next(answers, None)
        if found is None:
            raise ConnectionError("the cluster is gone")
        return found

    with Display(9, done=0, style=style).watching(snapshot):  # type: ignore[arg-type]
        time.sleep(0.1)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert ("3/9" if style == "auto" else '"patches": 3') in err.splitlines()[-1]


def test_an_exception_of_the_run_comes_through_and_ends_the_display() -> None:
    before = threading.active_count()
    with (
        pytest.raises(RuntimeError, match="the run's own"),
        Display(9, done=0, style="json").watching(ProgressCounters().snapshot),
    ):
        raise RuntimeError("the run's own")
    assert threading.active_count() == before


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (None, 0.4, 59.6, 61, 3599, 3600, 90_000)] == [
        "unknown",
        "0 s",
        "1 min 00 s",
        "1 min 01 s",
        "59 min 59 s",
        "1 h 00 min",
        "25 h 00 min",
    ]


def test_notes_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    tell("auto", "starting Ray")
    assert capsys.readouterr() == ("", "noisemill: starting Ray\n")
    assert sys.stderr is not None
