"""The ranking of made-up scores: places, ties, and a bound that was passed."""

from __future__ import annotations

import csv
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.benchmark.patches import PatchUnderTest
from pipeline.benchmark.rows import RowKind, RowResult, SeedResult
from pipeline.benchmark.table import Ranking, rank, ranking_csv, ranking_markdown

_SCENES, _EACH = 6, 4


def ranked(gaps: dict[str, float], *, spread: float = 0.01) -> Ranking:
    """Rank rows whose scores are those of real noise and a gap each."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((2, 2, 3), np.uint8)
    places = [
        PatchUnderTest(
            uri=f"shard#{i}",
            source_uri=f"{i}",
            clean=pixels,
            noisy=pixels,
            scene=f"s{i // _EACH}",
            camera="X",
            iso=1600 << (i % 2),
            y=0,
            x=0,
            domain="srgb",
        )
        for i in range(_SCENES * _EACH)
    ]
    base = rng.normal(35, 3, len(places))  # some places are harder than others, for every row
    results = []
    for name, gap in gaps.items():
        kind: RowKind = "real" if name == "real" else "generator"
        scores = [base + gap + rng.normal(0, spread, len(base)) for _ in range(2)]
        seeds = [SeedResult(seed=s, psnr=p.tolist(), ssim=p / 50) for s, p in enumerate(scores)]
        results.append(RowResult(name=name, kind=kind, fingerprint="", seeds=seeds))
    manifest: Any = SimpleNamespace(name="made up", intervals=500, seed=1, high_iso=3200)
    return rank(manifest, places, results)


def test_rows_are_ranked_by_their_mean_and_real_noise_does_not_compete() -> None:
    found = ranked({"far": -1.0, "real": 0.0, "near": -0.1})
    assert [(row.rank, row.name) for row in found.rows] == [(0, "real"), (1, "near"), (2, "far")]
    near = found.rows[1]
    assert near.gap is not None
    assert near.gap.mean == pytest.approx(-0.1, abs=0.02)
    assert near.high is not None
    assert near.high.places == _SCENES * _EACH // 2
    assert near.high.gap == pytest.approx(-0.1, abs=0.02)


def test_rows_that_cannot_be_told_apart_are_tied() -> None:
    found = ranked({"real": 0.0, "a": -0.1, "b": -0.101, "c": -2.0}, spread=0.05)
    assert [row.tied for row in found.rows] == [False, False, True, False]
    assert "| 2= | " in ranking_markdown(found)


def test_a_generator_above_real_noise_says_that_the_training_was_short() -> None:
    found = ranked({"real": 0.0, "above": 0.5, "near": 0.0, "below": -0.5})
    assert found.above_real == ["above"]
    assert "Better than real noise" in ranking_markdown(found)
    assert "Better than real noise" not in ranking_markdown(ranked({"real": 0.0, "below": -0.5}))


def test_the_csv_has_the_numbers_and_names_the_convention() -> None:
    found = ranked({"real": 0.0, "near": -0.1})
    lines = list(csv.DictReader(io.StringIO(ranking_csv(found))))
    assert [line["row"] for line in lines] == ["real", "near"]
    assert float(lines[1][f"psnr_{found.convention}_db"]) == found.rows[1].psnr.mean
    assert lines[0]["gap_to_real_db"] == ""
