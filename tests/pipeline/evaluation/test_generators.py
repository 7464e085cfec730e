"""Evaluating generators: the block protocol, likelihoods, rows that fail, rows that are kept."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from generators.measured import MeasuredAwgn
from generators.parametric import AWGN
from pipeline.evaluation import evaluate
from pipeline.evaluation.corpora import pairs_of
from pipeline.evaluation.generated import GeneratorMeasure, blocks_of
from pipeline.manifest.models import EvaluateManifest
from pipeline.measure.block_scores import evaluate_blocks

Make = Callable[..., EvaluateManifest]
WHITE = {"name": "awgn", "params": {"sigma": 5}}


def data(pairs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"sources": [pairs], "block": 24, "grid": 2, **more}


def test_figures_are_those_of_the_block_protocol(evaluation: Make, pairs: dict[str, Any]) -> None:
    manifest = evaluation(generators=[{"name": "awgn-measured"}], data=data(pairs), seed=3)
    row = evaluate(manifest).rows[0]
    blocks = list(blocks_of(manifest.data, pairs_of(manifest.data)))  # type: ignore[arg-type]
    scores = evaluate_blocks(MeasuredAwgn(), blocks, seed=3)
    found = row.subset("all")
    assert found["blocks"] == len(scores) == 8
    for name, measure in (
        ("kld (naflow)", "kld"),
        ("akld (danet, 1 sample)", "akld"),
        ("correlation right", "correlation"),
        ("real correlation right", "real_correlation"),
        ("std", "std"),
        ("real std", "real_std"),
        ("offset", "offset"),
    ):
        values = [getattr(score, measure) for score in scores]
        assert found[name]["mean"] == pytest.approx(np.mean(values), rel=1e-9), name
        assert found[name]["median"] == pytest.approx(np.median(values), rel=1e-9), name


def test_groups_are_the_means_of_their_own_blocks(evaluation: Make, pairs: dict[str, Any]) -> None:
    manifest = evaluation(generators=[WHITE], data=data(pairs))
    row = evaluate(manifest).rows[0]
    images = row.figures["groups"]["image"]
    assert [(entry["image"], entry["all blocks"]) for entry in images] == [("desk", 4), ("wall", 4)]
    sound = row.subset("sound")
    weighted = sum(e["kld (naflow)"]["mean"] * e["blocks"] for e in images) / sound["blocks"]
    assert weighted == pytest.approx(sound["kld (naflow)"]["mean"])
    assert row.figures["groups"]["camera, iso"][0]["camera"] == "X"
    assert row.figures["groups"]["camera, iso"][0]["iso"] == 800


def test_more_samples_average_akld_and_carry_their_number(
    evaluation: Make, pairs: dict[str, Any]
) -> None:
    one = evaluate(evaluation(generators=[WHITE], data=data(pairs))).rows[0]
    manifest = evaluation(
        generators=[WHITE], data=data(pairs), metrics={"akld_samples": 3}, output={"path": "unused"}
    )
    sums = GeneratorMeasure(AWGN(sigma=5), "awgn", manifest)(
        blocks_of(manifest.data, pairs_of(manifest.data))  # type: ignore[arg-type]
    )
    total = sums.scores.total().result()
    assert total["kld (naflow)"] == one.subset("all")["kld (naflow)"]
    first = one.subset("all")["akld (danet, 1 sample)"]["mean"]
    assert total["akld (danet, 3 samples)"]["mean"] != first
    assert total["akld (danet, 3 samples)"]["mean"] == pytest.approx(first, rel=0.5)


@pytest.mark.parametrize("convention", ["as-stored", "dequantised"])
def test_nll_of_white_noise_is_scipys(
    evaluation: Make, pairs: dict[str, Any], convention: str
) -> None:
    manifest = evaluation(
        generators=[WHITE], data=data(pairs), metrics={"nll": convention, "sound_offset": 100}
    )
    found = evaluate(manifest).rows[0].subset("all")[f"nll ({convention})"]["mean"]
    noise = [b.noise for b in blocks_of(manifest.data, pairs_of(manifest.data))]  # type: ignore[arg-type]
    stored = -norm(0, 5 / 255).logpdf(np.stack(noise)).mean()
    # Dequantising adds the variance of a uniform grey level, 1/12, to the squared noise.
    extra = 0.5 * (1 / 12) / 5**2 if convention == "dequantised" else 0.0
    tolerance = 1e-6 if convention == "as-stored" else 5 * 0.06 / np.sqrt(np.stack(noise).size)
    assert found == pytest.approx(stored + extra, abs=tolerance)


def test_a_row_that_fails_says_why_and_the_others_go_on(
    evaluation: Make, pairs: dict[str, Any], tmp_path: Path
) -> None:
    raw = {"name": "poisson-gaussian", "label": "raw", "params": {"gain": 1e-3, "read_noise": 0.01,
           "domain": "raw"}}  # fmt: skip
    found = evaluate(evaluation(generators=[raw, WHITE], data=data(pairs)))
    assert [row.done for row in found.rows] == [False, True]
    assert "pairs are sRGB" in (found.row("raw").error or "")
    assert "raw failed" in found.describe()
    lines = list(csv.DictReader((tmp_path / "evaluation/evaluation.csv").read_text().splitlines()))
    assert [line["status"] for line in lines if line["row"] == "raw"] == ["failed"]
    record = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert [row["status"] for row in record["rows"]] == ["failed", "done"]


def test_an_evaluation_whose_rows_all_fail_is_a_failure(
    evaluation: Make, pairs: dict[str, Any]
) -> None:
    raw = {
        "name": "poisson-gaussian",
        "params": {"gain": 1e-3, "read_noise": 0.01, "domain": "raw"},
    }
    with pytest.raises(RuntimeError, match="no row could be measured"):
        evaluate(evaluation(generators=[raw], data=data(pairs)))


def test_rows_that_are_done_are_taken_over_and_no_others(
    evaluation: Make, pairs: dict[str, Any], tmp_path: Path
) -> None:
    first = evaluate(evaluation(generators=[WHITE], data=data(pairs)))
    both = [WHITE, {"name": "awgn-measured"}]
    second = evaluate(evaluation(generators=both, data=data(pairs)))
    assert (first.taken_over, second.taken_over) == (0, 1)
    assert second.rows[0] == first.rows[0]
    changed = evaluate(evaluation(generators=both, data=data(pairs), seed=1))
    assert changed.taken_over == 0
    assert changed.rows[0].figures != first.rows[0].figures
    for path in (tmp_path / "evaluation/rows").iterdir():
        path.write_text(path.read_text()[:100])
    assert evaluate(evaluation(generators=both, data=data(pairs), seed=1)).taken_over == 0


def test_every_number_that_is_stored_or_printed_names_its_convention(
    evaluation: Make, pairs: dict[str, Any], tmp_path: Path
) -> None:
    metrics = {"kld": ["naflow", "neca"]}
    found = evaluate(evaluation(generators=[WHITE], data=data(pairs), metrics=metrics))
    for text in (
        found.describe(),
        (tmp_path / "evaluation/evaluation.md").read_text(),
        (tmp_path / "evaluation/evaluation.csv").read_text(),
        (tmp_path / "evaluation/evaluation.json").read_text(),
    ):
        assert "kld (naflow)" in text
        assert "kld (neca)" in text
        assert "akld (danet, 1 sample)" in text


def test_pairs_of_unequal_size_are_told_before_work(
    evaluation: Make,
    pairs: dict[str, Any],
    pair_folder: Path,
    texture: Callable[..., np.ndarray],
    write_image: Callable[[Path, np.ndarray], Path],
) -> None:
    for name in ("desk", "wall"):
        write_image(pair_folder / f"{name}_Real.png", texture(40, 64))
    with pytest.raises(ValueError, match=r"no clean/noisy pairs[\s\S]*40"):
        evaluate(evaluation(generators=[WHITE], data=data(pairs)))


def test_blocks_larger_than_the_photographs_fail_the_row(
    evaluation: Make, pairs: dict[str, Any]
) -> None:
    with pytest.raises(RuntimeError, match="holds no block of 256x256"):
        evaluate(evaluation(generators=[WHITE], data={"sources": [pairs]}))
