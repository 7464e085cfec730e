"""The benchmarks run, whatever they measure: nothing here depends on how fast the machine is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_WHY = "benchmarks stay in the checkout and are in no wheel"
results = pytest.importorskip("benchmarks.results", reason=_WHY)
suite = pytest.importorskip("benchmarks.suite", reason=_WHY)
timing = pytest.importorskip("benchmarks.timing", reason=_WHY)

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", suite.BENCHMARKS)
def test_each_benchmark_runs_and_gives_finite_lines(name: str, tmp_path: Path) -> None:
    lines = suite.run(name, results.TINY, tmp_path)
    assert lines
    assert len({line.name for line in lines}) == len(lines)
    for line in lines:
        assert line.values
        assert all(0 <= value < float("inf") for value in line.values), line.name


def test_a_target_is_judged_by_the_median() -> None:
    def met(values: tuple[float, ...], sense: str) -> object:
        return results.Line(name="a", values=values, target=2.0, sense=sense).met

    assert met((0.0, 2.1, 9.0), "at least") is True
    assert met((0.0, 1.9, 9.0), "at least") is False
    assert met((0.0, 1.9, 9.0), "at most") is True
    assert met((0.0, 2.1, 9.0), "at most") is False
    assert results.Line(name="a", values=(1.0,)).met is None


def test_the_table_tells_what_is_not_met() -> None:
    lines = [
        results.Line(name="slow", values=(3.0, 1.0, 2.0), target=1.5),
        results.Line(name="told", values=(1234.5,), unit="MB", note="a note"),
    ]
    head, slow, told = results.table(lines).splitlines()
    assert head.split() == ["what", "median", "min..max", "target", "met"]
    assert slow.split() == ["slow", "2", "x", "1..3", "at", "most", "1.5", "NO"]
    assert told.endswith("a note")


def test_runs_take_turns() -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    times = timing.in_turn(note("a"), note("b"), rounds=2, warm=True)
    assert "".join(calls) == "ababab"
    assert len(times) == 2
    assert timing.ratios([(6.0, 3.0), (1.0, 4.0)], 0, 1) == (2.0, 0.25)


def test_sizes_shrink_with_effort_but_never_vanish() -> None:
    assert results.Effort(rounds=1, scale=0.5).of(100) == 50
    assert results.Effort(rounds=1, scale=0.001).of(100) == 1
    assert results.Effort(rounds=1, scale=0.001).of(100, least=8) == 8


def test_the_command_refuses_unknown_names_and_lists_the_known() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("speed", *suite.BENCHMARKS))


def test_figures_are_json() -> None:
    line = results.Line(name="a", values=(1.0, 3.0), target=2.0, sense="at least", note="why")
    assert json.loads(json.dumps(line.to_dict())) == {
        "name": "a",
        "unit": "x",
        "median": 2.0,
        "min": 1.0,
        "max": 3.0,
        "rounds": 2,
        "sense": "at least",
        "target": 2.0,
        "met": True,
        "note": "why",
    }
