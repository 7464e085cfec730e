"""Raw corpora end to end: raw sources, raw noise on photographs, 16 bits and float."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import pipeline.building.run as module
from pipeline.building.recipe import recipe_of
from pipeline.building.run import build
from pipeline.corpus.formats import open_shard
from pipeline.corpus.index import load_corpus
from pipeline.corpus.verify import verify
from pipeline.errors import PlanError
from pipeline.images import read_pixels
from pipeline.manifest.models import CorpusManifest
from pipeline.pictures.sample import regenerate
from tests.contracts.command import noisemill, write_manifest
from tests.contracts.raw_files import (
    mosaic_of,
    write_mat5,
    write_mat73,
    write_png,
    write_sidd,
)

Make = Callable[..., CorpusManifest]
RAW_NOISE: dict[str, Any] = {
    "name": "heteroscedastic",
    "params": {"table": "sidd", "domain": "raw"},
}


def stored(root: str, format_: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return clean and noisy images and columns of all rows, in the order of the index."""
    clean, noisy, columns = [], [], {}
    for shard in load_corpus(root).shards:
        (file,) = [file for file in shard.files if file.format == format_]
        with open_shard(root, file) as reader:
            pair = reader.images(0, reader.rows)
            clean.append(np.asarray(pair[0]))
            noisy.append(np.asarray(pair[1]))
            for name, values in reader.columns(("domain", "camera", "iso", "sample_id")).items():
                columns.setdefault(name, []).extend(values)
    return np.concatenate(clean), np.concatenate(noisy), columns


def rejected(manifest: CorpusManifest) -> list[dict[str, Any]]:
    lines = (Path(manifest.output.path) / "rejected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def made(manifest: CorpusManifest) -> str:
    build(manifest, inline=True, overwrite=False, style="quiet")
    assert verify(manifest.output.path, deep=True).problems == []
    return manifest.output.path


@pytest.mark.parametrize("encoding", ["uint16", "float32"])
def test_sidd_raw_becomes_a_raw_corpus(
    tmp_path: Path, corpus_manifest: Make, encoding: str
) -> None:
    written = write_sidd(tmp_path / "sidd", "small", "raw", size=98)
    manifest = corpus_manifest(
        sources=[
            {"type": "sidd", "path": str(tmp_path / "sidd"), "layout": "small", "color": "raw"}
        ],
        generators=[RAW_NOISE],
        output={"encoding": encoding},
    )
    root = made(manifest)
    clean, noisy, columns = stored(root, "hdf5")
    again = stored(root, "parquet")
    np.testing.assert_array_equal(clean, again[0])
    np.testing.assert_array_equal(noisy, again[1])
    assert set(columns["domain"]) == {"raw"}
    assert clean.dtype == encoding
    assert clean.shape[1:] == (16, 16, 4)
    white = 65535 if encoding == "uint16" else 1
    # The first patch is the upper left corner of the first instance, a Galaxy S6 (GRBG).
    mosaic = written["0004_GT_RAW_010"][:, 1:]
    np.testing.assert_allclose(
        clean[0, ..., 0] / white, mosaic[:32:2, :32:2], atol=1e-5 if white == 1 else 1 / white
    )
    rows = np.array(columns["camera"]) == "S6"
    unit_clean, unit_noisy = (x[rows].astype(np.float64) / white for x in (clean, noisy))
    expected = 0.000479 * unit_clean + 0.000002
    ratio = float(((unit_noisy - unit_clean) ** 2 / expected).mean())
    n = unit_clean.size
    assert ratio == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert regenerate(root, columns["sample_id"][0]).equal


def test_mosaics_become_a_raw_corpus(tmp_path: Path, corpus_manifest: Make) -> None:
    packed = np.random.default_rng(0).integers(100, 900, (32, 48, 4)).astype(np.uint16)
    write_png(tmp_path / "raw/a.png", mosaic_of(packed, "BGGR"))
    (tmp_path / "raw/mosaics.yaml").write_text(
        yaml.safe_dump({"cfa": "BGGR", "black_level": 64, "white_level": 1023})
    )
    manifest = corpus_manifest(
        sources=[{"type": "mosaics", "path": str(tmp_path / "raw"), "align": "reorder"}],
        generators=[
            {
                "name": "poisson-gaussian",
                "params": {"gain": 1e-3, "read_noise": 0.01, "domain": "raw"},
            }
        ],
        output={"encoding": "uint16"},
    )
    clean, _, _ = stored(made(manifest), "hdf5")
    assert clean.shape == (6, 16, 16, 4)
    expected = (packed[:16, :16].astype(np.float64) - 64) / (1023 - 64)
    np.testing.assert_allclose(clean[0] / 65535, expected, atol=1 / 65535)


def test_a_raw_file_that_changes_after_the_plan_is_refused(
    tmp_path: Path, corpus_manifest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sidd(tmp_path / "sidd", "small", "raw", size=98)
    source = {"type": "sidd", "path": str(tmp_path / "sidd"), "layout": "small", "color": "raw"}
    manifest = corpus_manifest(
        sources=[source], generators=[RAW_NOISE], limits={"max_rejected": 1.0}
    )
    prepare = module.prepare

    def prepare_then_change(wanted: CorpusManifest) -> Any:
        ready = prepare(wanted)
        write_sidd(tmp_path / "sidd", "small", "raw", size=98, seed=1)
        return ready

    monkeypatch.setattr(module, "prepare", prepare_then_change)
    result = build(manifest, inline=True, overwrite=False, style="quiet")
    assert sum(file.rows for shard in result.index.shards for file in shard.files) == 0
    assert {reject["reason"] for reject in rejected(manifest)} == {"changed"}


@pytest.mark.parametrize(("output", "shape"), [("srgb", (16, 16, 3)), ("raw", (8, 8, 4))])
def test_raw_noise_serves_photographs(
    corpus_manifest: Make, output: str, shape: tuple[int, ...]
) -> None:
    spec = {
        "name": "heteroscedastic",
        "params": {"beta1": 0.01, "beta2": 1e-4, "domain": "raw"},
        "unprocess": {"output": output},
    }
    manifest = corpus_manifest(generators=[spec], output={"encoding": "uint16"})
    root = made(manifest)
    clean, noisy, columns = stored(root, "hdf5")
    assert clean.shape[1:] == shape
    assert set(columns["domain"]) == {output}
    assert (clean != noisy).mean() > 0.5
    assert regenerate(root, columns["sample_id"][0]).equal


def test_raw_noise_on_photographs_without_it_is_refused_with_the_key_to_set(
    tmp_path: Path, photo_folder: Path
) -> None:
    manifest = write_manifest(tmp_path / "m.yaml", source=photo_folder, generators=[RAW_NOISE])
    result = noisemill("run", str(manifest), "--inline")
    assert result.exit_code == 2
    assert "reads raw images; source 'images' gives srgb" in result.stderr
    assert "unprocess: {output: srgb}" in result.stderr
    assert not (tmp_path / "out").exists()


def test_srgb_noise_behind_unprocess_is_refused(corpus_manifest: Make) -> None:
    spec = {"name": "awgn", "params": {"sigma": 5}, "unprocess": {}}
    with pytest.raises(ValueError, match=r"generator 'awgn', unprocess: .*domain: raw"):
        made(corpus_manifest(generators=[spec]))


def test_unprocess_on_a_raw_source_is_refused(tmp_path: Path, corpus_manifest: Make) -> None:
    write_sidd(tmp_path / "sidd", "small", "raw", size=98)
    source = {"type": "sidd", "path": str(tmp_path / "sidd"), "layout": "small", "color": "raw"}
    with pytest.raises(PlanError, match="`unprocess` is for photographs"):
        made(corpus_manifest(sources=[source], generators=[{**RAW_NOISE, "unprocess": {}}]))


def test_the_benchmark_cannot_be_cut(tmp_path: Path, corpus_manifest: Make) -> None:
    name = "BenchmarkNoisyBlocksSrgb"
    blocks = np.random.default_rng(0).integers(0, 255, (1, 2, 32, 32, 3)).astype(np.uint8)
    write_mat5(tmp_path / f"{name}.mat", name, blocks)
    source = {"type": "sidd", "path": str(tmp_path), "layout": "benchmark"}
    with pytest.raises(ValueError, match="noisy images without a clean one"):
        made(corpus_manifest(sources=[source]))


def test_validation_blocks_are_cut(tmp_path: Path, corpus_manifest: Make) -> None:
    rng = np.random.default_rng(0)
    blocks = {
        kind: rng.integers(0, 255, (2, 2, 32, 32, 3)).astype(np.uint8) for kind in ("Gt", "Noisy")
    }
    for kind, array in blocks.items():
        name = f"Validation{kind}BlocksSrgb"
        write_mat73(tmp_path / f"{name}.mat", name, array)
    source = {"type": "sidd", "path": str(tmp_path), "layout": "validation", "split": "val"}
    clean, _, columns = stored(made(corpus_manifest(sources=[source])), "hdf5")
    np.testing.assert_array_equal(clean[0], blocks["Gt"][0, 0, :16, :16])
    assert len(clean) == 4 * 4 * 2
    assert set(columns["camera"]) == {"S6", "GP"}
    assert read_pixels(f"{tmp_path}/ValidationGtBlocksSrgb.mat#2").shape == (32, 32, 3)


def test_a_key_that_is_not_used_leaves_older_recipes_alone(corpus_manifest: Make) -> None:
    recipe = recipe_of(corpus_manifest())
    assert all("unprocess" not in spec for spec in recipe["generators"])
    spec = {"name": "awgn", "params": {"sigma": 5, "domain": "raw"}, "unprocess": {"output": "raw"}}
    assert recipe_of(corpus_manifest(generators=[spec]))["generators"][0]["unprocess"] == {
        "output": "raw",
        "matrix": "random",
        "white_balance": "random",
        "brightness": "random",
    }
