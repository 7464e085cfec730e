"""Marks: a generator that was told the answer says so, and a copy is never the best."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation import evaluate
from pipeline.evaluation.likeness import LIKENESS, likeness
from pipeline.evaluation.marks import is_copy, mark
from pipeline.evaluation.rows import Row
from pipeline.evaluation.tables import conventions, printed
from pipeline.manifest.models import CorpusManifest, EvaluateManifest

Make = Callable[..., EvaluateManifest]


def test_likeness_is_one_for_a_copy_of_any_strength_and_none_for_new_noise() -> None:
    first, second = np.random.default_rng(1).normal(0, 0.02, (2, 64, 64, 3))
    assert likeness(first, 0.5 * first + 0.01) == pytest.approx(1.0)
    assert likeness(first, np.round(255 * first) / 255) > 0.99
    # Five standard errors of a correlation of 64 * 64 * 3 samples.
    assert abs(likeness(first, second)) < 5 / np.sqrt(first.size)
    assert np.isnan(likeness(first, np.zeros_like(first)))


def test_the_real_noise_of_a_corpus_is_a_copy_and_another_row_is_the_best(
    evaluation: Make, pair_corpus: CorpusManifest, tmp_path: Path
) -> None:
    manifest = evaluation(corpus={"path": pair_corpus.output.path}, report=True)
    rows = evaluate(manifest).rows
    assert {row.name: mark(row) for row in rows} == {"real": "copy", "awgn": ""}
    assert rows[0].subset("all")[LIKENESS]["mean"] == pytest.approx(1.0)
    assert " copy" in printed(manifest, rows)
    assert "no merit" in conventions(manifest, rows)["copy"]
    page = (tmp_path / "evaluation/report.html").read_text()
    groups = page[page.index('id="groups"') : page.index('id="conventions"')]
    lines = re.findall(r"<tr><td>.*?</tr>", groups)
    assert lines
    for line in lines:
        real = re.findall(r'<td class="(n[^"]*)"', line)[1]
        assert "best" not in real, line


def test_a_generator_that_is_told_the_scored_block_says_so(
    evaluation: Make, pairs: dict[str, Any]
) -> None:
    data = {"sources": [pairs], "block": 24, "grid": 2}
    generators = [{"name": "awgn-measured"}, {"name": "awgn", "params": {"sigma": 5}}]
    manifest = evaluation(generators=generators, data=data)
    rows = evaluate(manifest).rows
    assert [mark(row) for row in rows] == ["told the block", ""]
    assert "told the answer" in conventions(manifest, rows)["told the block"]


def test_a_copy_measured_without_a_likeness_is_known_by_its_distance() -> None:
    def row(akld: float) -> Row:
        summary = {"all": {"akld (danet, 1 sample)": {"mean": akld, "median": akld}}}
        return Row(name="x", kind="generator", key="", figures={"summary": summary})

    assert is_copy(row(1e-4))
    assert not is_copy(row(0.04))  # two draws of one white noise
