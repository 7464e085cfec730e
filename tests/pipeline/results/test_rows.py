"""Kept rows: only what is done and of the same hash is taken over, of earlier versions too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.benchmark.rows import RowResult, SeedResult, load_result, save_result
from pipeline.evaluation.rows import Row, row_store
from pipeline.results.rows import failure_text, json_text

# As the first version wrote them.
EVALUATION_ROW = """{
 "status": "done", "name": "awgn", "kind": "generator", "key": "k", "seconds": 1.5, "error": null,
 "about": {"generator": "awgn"},
 "figures": {"summary": {"all": {"blocks": 2, "kld (naflow)": {"mean": 0.1, "median": 0.1}}}}
}"""
BENCHMARK_ROW = """{
 "name": "strong", "kind": "generator", "fingerprint": "f",
 "seeds": [{"seed": 1, "psnr": [30.0, 31.0], "ssim": [0.9, 0.8], "seconds": 2.0, "weights": "w",
            "weights_sha256": "s", "curve": [], "manifest": {}}],
 "fidelity": {"kld": 0.1}, "patches": 4, "generation_seconds": 1.0, "parameters": 0,
 "corpora": {"train": "a", "test": "b"}, "failed": null
}"""


def test_a_row_that_is_done_is_taken_over_by_its_hash_alone(tmp_path: Path) -> None:
    store = row_store(str(tmp_path))
    row = Row(name="a/b", kind="generator", key="k", figures={"summary": {}})
    store.save(row)
    assert store.load("a/b", "k") == row
    assert store.load("a/b", "other") is None
    assert store.load("a-b", "k") is None  # another name, another file
    store.save(Row(name="a/b", kind="generator", key="k", error="no such weights"))
    assert store.load("a/b", "k") is None  # failed: tried again


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "a/b"}', "null"])
def test_a_damaged_row_is_one_not_made_yet(tmp_path: Path, text: str) -> None:
    store = row_store(str(tmp_path))
    store.save(Row(name="a/b", kind="generator", key="k"))
    (file,) = (tmp_path / "rows").iterdir()
    file.write_text(text)
    assert store.load("a/b", "k") is None


def test_rows_of_earlier_versions_are_taken_over(tmp_path: Path) -> None:
    store = row_store(str(tmp_path))
    (tmp_path / "rows").mkdir()
    (tmp_path / store.path("awgn")).write_text(EVALUATION_ROW)
    row = store.load("awgn", "k")
    assert row is not None
    assert row.subset("all")["kld (naflow)"]["mean"] == 0.1
    (tmp_path / "rows" / "strong.json").write_text(BENCHMARK_ROW)
    kept = load_result(tmp_path, "strong", "f")
    assert kept is not None
    assert kept[0].psnr.tolist() == [[30.0, 31.0]]
    assert kept[1] == {}


def test_a_benchmarks_row_brings_its_crops_along(tmp_path: Path) -> None:
    result = RowResult(
        name="real + a",
        kind="mixture",
        fingerprint="f",
        seeds=[SeedResult(seed=1, psnr=[30.0], ssim=[0.9])],
    )
    crop = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    save_result(tmp_path, result, {3: crop})
    kept = load_result(tmp_path, "real + a", "f")
    assert kept is not None
    assert json_text(kept[0].to_dict()) == json_text(result.to_dict())
    assert np.array_equal(kept[1][3], crop)
    (tmp_path / "rows" / "real---a.npz").write_bytes(b"half")
    assert load_result(tmp_path, "real + a", "f") is None


def test_json_refuses_what_is_no_number_and_keeps_letters() -> None:
    assert json.loads(json_text({"größe": [1.5]})) == {"größe": [1.5]}
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text({"psnr": float("inf")})


def test_a_failure_says_its_type_only_where_nobody_expected_it() -> None:
    assert failure_text(ValueError("no such camera")) == "no such camera"
    assert failure_text(KeyError("camera")) == "KeyError: 'camera'"
    assert failure_text(RuntimeError()) == "RuntimeError"
