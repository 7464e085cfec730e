"""A metric of another distribution: registered by one entry point, it appears everywhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import generators.registry
from pipeline.evaluation import evaluate
from pipeline.evaluation.metrics import Shown, shown
from pipeline.kinds import METRICS
from pipeline.manifest.models import EvaluateManifest
from pipeline.measure.metrics import Metric, NoiseBlock, NoiseMetric, PictureMetric

Make = Callable[..., EvaluateManifest]
HERE = "tests.pipeline.evaluation.test_metrics"


class LevelGap(NoiseMetric):
    """How far the standard deviations are apart."""

    name = "level-gap"
    better = "lower"
    unit = "grey levels"
    digits = 3
    about = "difference of the standard deviations, grey levels"

    @property
    def title(self) -> str:
        return "level-gap (grey levels)"

    def measure(self, block: NoiseBlock) -> float:
        return abs(float(block.fakes[0].std() - block.real.std())) * 255.0


class WorstPixel(PictureMetric):
    """The largest difference of a pixel."""

    name = "worst-pixel"
    better = "lower"
    about = "largest |denoised - clean|"

    def measure(self, clean: np.ndarray, estimate: np.ndarray) -> float:
        return float(np.abs(clean - estimate).max())


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two metrics of another distribution."""
    entries = [
        EntryPoint("level-gap", f"{HERE}:LevelGap", "noisemill.metrics"),
        EntryPoint("worst-pixel", f"{HERE}:WorstPixel", "noisemill.metrics"),
    ]
    monkeypatch.setattr(
        generators.registry,
        "entry_points",
        lambda group: entries if group == "noisemill.metrics" else [],
    )


@pytest.mark.usefixtures("plug_ins")
def test_a_metric_of_another_package_is_in_every_result(
    evaluation: Make, pairs: dict[str, Any], tmp_path: Path
) -> None:
    manifest = evaluation(
        generators=[{"name": "awgn", "params": {"sigma": 5}}, {"name": "awgn-measured"}],
        data={"sources": [pairs], "block": 24, "grid": 2},
        metrics={"also": ["level-gap"], "sound_offset": 100},
        report=True,
    )
    found = evaluate(manifest)
    title, folder = "level-gap (grey levels)", tmp_path / "evaluation"
    record = json.loads((folder / "evaluation.json").read_text())
    mean = record["rows"][0]["figures"]["summary"]["all"][title]["mean"]
    assert mean > 0
    assert record["rows"][0]["figures"]["metrics"][title]["better"] == "lower"
    assert record["conventions"][title] == LevelGap.about
    lines = list(csv.DictReader((folder / "evaluation.csv").read_text().splitlines()))
    assert float(lines[0][f"{title} mean"]) == pytest.approx(mean)
    for text in (found.describe(), (folder / "evaluation.md").read_text()):
        assert title in text
        assert f"{mean:.3f}" in text
    assert f"{title} by image" in (folder / "report.html").read_text()


@pytest.mark.usefixtures("plug_ins")
def test_a_picture_metric_is_measured_of_denoisers(
    evaluation: Make, pairs: dict[str, Any], tmp_path: Path
) -> None:
    manifest = evaluation(
        denoisers=[{"name": "naflow-none"}],
        data={"sources": [pairs]},
        metrics={"also": ["worst-pixel"]},
    )
    with pytest.raises(RuntimeError, match="no row could be measured"):  # such weights are nowhere
        evaluate(manifest)
    row = json.loads((tmp_path / "evaluation/evaluation.json").read_text())["rows"][0]
    assert 0 < row["figures"]["summary"]["all"]["worst-pixel"]["mean"] <= 1


@pytest.mark.usefixtures("plug_ins")
def test_rows_without_other_metrics_stay_good_and_those_with_them_are_measured(
    evaluation: Make, pairs: dict[str, Any]
) -> None:
    rows = {
        "generators": [{"name": "awgn-measured"}],
        "data": {"sources": [pairs], "block": 24, "grid": 2},
    }
    plain = evaluate(evaluation(**rows))
    more = evaluate(evaluation(**rows, metrics={"also": ["level-gap"]}))
    assert more.taken_over == 0
    assert plain.rows[0].key != more.rows[0].key
    assert evaluate(evaluation(**rows, metrics={"also": ["level-gap"]})).taken_over == 1


@pytest.mark.usefixtures("plug_ins")
def test_a_metric_of_another_kind_is_refused_before_work(
    evaluation: Make, pairs: dict[str, Any], tmp_path: Path
) -> None:
    manifest = evaluation(
        generators=[{"name": "awgn-measured"}],
        data={"sources": [pairs]},
        metrics={"also": ["worst-pixel"]},
    )
    with pytest.raises(ValueError, match=r"compares pictures, and this evaluation compares noise"):
        evaluate(manifest)
    assert not (tmp_path / "evaluation" / "rows").exists()


@pytest.mark.parametrize(
    ("also", "words"),
    [
        (["kld"], "key of its own: metrics.kld"),
        (["level-gab"], "Did you mean 'level-gap'"),
        (["level-gap", "level-gap"], "named twice"),
    ],
)
@pytest.mark.usefixtures("plug_ins")
def test_mistakes_are_told_by_the_manifest(
    evaluation: Make, pairs: dict[str, Any], also: list[str], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        evaluation(generators=[{"name": "awgn"}], data={"sources": [pairs]}, metrics={"also": also})


def test_every_built_in_metric_says_what_it_is() -> None:
    for name in METRICS.built_in:
        metric = METRICS.load(name)()
        assert isinstance(metric, Metric)
        assert metric.name == name
        assert metric.title.startswith(name)
        assert {metric.better} <= {"lower", "higher"}


def test_rows_of_earlier_versions_are_shown_by_the_names_of_their_measures() -> None:
    assert shown([{}], "kld (naflow)") == Shown("kld", "lower", 4, skewed=True)
    assert shown([{}], "psnr (kair)") == Shown("psnr", "higher", 2, skewed=False)
    assert shown([{}], "real std") == Shown()
    kept = {"name": "gone", "better": "higher", "digits": 1, "skewed": True}
    assert shown([{"metrics": {"gone (x)": kept}}], "gone (x)") == Shown("gone", "higher", 1, True)
