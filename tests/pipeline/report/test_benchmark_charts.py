"""The charts of a benchmark stay legible: names apart, copies on a logarithmic axis, far rows."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.benchmark.rows import RowResult, SeedResult
from pipeline.report.benchmark_charts import fidelity_chart, gap_chart, learning_curves

_LETTERS_HIGH = 7.0  # of a name, in the units of the picture


def row(name: str, rank: int, gap: float, **fidelity: float) -> Any:
    interval = SimpleNamespace(mean=gap, low=gap - 0.1, high=gap + 0.1)
    return SimpleNamespace(name=name, rank=rank, gap=interval, fidelity=fidelity or None)


def curves(ends: dict[str, float]) -> str:
    """Draw learning curves that end at the given heights."""
    results = {}
    for name, end in ends.items():
        curve = [{"step": step, "psnr": end - 10 / step} for step in (10, 20, 40)]
        seed = SeedResult(seed=1, psnr=[end], ssim=[0.9], curve=curve)
        results[name] = RowResult(name=name, kind="generator", fingerprint="", seeds=[seed])
    found = learning_curves([row(name, 1, 0.0) for name in ends], results)
    assert found is not None
    return str(found)


def height(drawing: str, name: str) -> float:
    """Return where a name stands, downwards."""
    found = re.search(rf'y="([-\d.]+)"[^>]*>{name}</text>', drawing)
    if found is None:
        found = re.search(rf"translate\([-\d.]+ ([-\d.]+)\)[^>]*>{name}</text>", drawing)
    assert found is not None, drawing
    return float(found[1])


def test_names_of_equal_curves_stand_apart_and_in_their_order() -> None:
    ends = {"best": 31.0, "a": 30.0, "b": 30.0, "c": 30.001, "real": 29.999, "far": 27.0}
    drawing = curves(ends)
    places = sorted((height(drawing, name), name) for name in ends)
    assert places[0][1] == "best"
    assert places[-1][1] == "far"
    gaps = [below[0] - above[0] for above, below in itertools.pairwise(places)]
    assert min(gaps) >= _LETTERS_HIGH


def test_a_row_without_validations_has_no_curve() -> None:
    result = RowResult(name="a", kind="generator", fingerprint="")
    assert learning_curves([row("a", 1, 0.0)], {"a": result}) is None


@pytest.mark.parametrize("distance", [0.0, 1e-9])
def test_a_copy_is_drawn_near_the_others_not_decades_away(distance: float) -> None:
    rows = [row("copy", 1, 0.0, kld=distance, akld=distance)]
    rows += [row(f"r{i}", i, -0.1 * i, kld=0.01 * i, akld=0.1 * i) for i in (2, 3, 4)]
    ticks = [float(text) for text in re.findall(r">([\d.e-]+)</text>", str(fidelity_chart(rows)))]
    assert min(tick for tick in ticks if tick > 0) > 0.02 / 10  # the next nearest is at 0.02


def test_too_few_points_make_no_chart() -> None:
    assert fidelity_chart([row("a", 1, 0.0, kld=0.1, akld=0.1)]) is None
    assert gap_chart([SimpleNamespace(name="real", gap=None)]) is None  # type: ignore[list-item]


def test_a_row_far_behind_is_named_at_the_edge_and_leaves_the_others_their_room() -> None:
    rows = [row("a", 1, -0.1), row("b", 2, -0.2), row("c", 3, -0.3), row("far", 4, -9.0)]
    drawing = str(gap_chart(rows))
    assert "◂ −9.00 dB" in drawing
    assert drawing.count("◂") == 1
