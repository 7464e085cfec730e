"""A whole benchmark on tiny pictures: rows share patches, failures stay alone, work is kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file

import generators
import pipeline.benchmark.corpora as corpora_module
import pipeline.benchmark.work as work
import pipeline.building.run as building
import pipeline.corpus.index as index_module
import pipeline.training.jobs.denoiser_data as denoiser_data
import pipeline.training.jobs.generator_data as generator_data
from pipeline.benchmark.corpora import CorpusMaker
from pipeline.benchmark.patches import load_patches
from pipeline.benchmark.rows import rows_of
from pipeline.benchmark.run import run_benchmark
from pipeline.building.run import build
from pipeline.manifest.benchmark import BenchmarkManifest
from pipeline.manifest.models import CorpusManifest

Write = Callable[[Path, np.ndarray], Path]
Make = Callable[..., BenchmarkManifest]


@pytest.fixture
def pairs(tmp_path: Path, texture: Callable[..., np.ndarray], write_image: Write) -> Path:
    """Six scenes of 48x64 with noise of 8 grey levels: four to train on, two to test on."""
    rng = np.random.default_rng(3)
    lines = ["clean,noisy,scene,camera,iso,split"]
    for number in range(6):
        clean = texture(seed=number)
        noisy = np.clip(clean + rng.normal(0, 8, clean.shape), 0, 255).round().astype(np.uint8)
        write_image(tmp_path / "pairs" / f"c{number}.png", clean)
        write_image(tmp_path / "pairs" / f"n{number}.png", noisy)
        split = "train" if number < 4 else "test"
        lines.append(f"c{number}.png,n{number}.png,s{number},X,{800 << (number % 2)},{split}")
    (tmp_path / "pairs" / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "pairs"


@pytest.fixture
def benchmark(tmp_path: Path, pairs: Path) -> Make:
    """Makes manifests of a benchmark of a few steps."""

    def make(**changes: Any) -> BenchmarkManifest:
        def source(split: str) -> dict[str, Any]:
            return {
                "type": "pairs",
                "path": str(pairs),
                "metadata": "metadata.csv",
                "only": [split],
            }

        data: dict[str, Any] = {
            "kind": "benchmark",
            "name": "tiny",
            "seed": 3,
            "train": {"sources": [source("train")], "patches": {"size": 16, "per_image": 6}},
            "test": {"sources": [source("test")], "patches": {"size": 32}, "max_offset": 3.0},
            "generators": [
                {"name": "awgn", "label": "strong", "params": {"sigma": 40}},
                {"name": "heteroscedastic-fitted"},
            ],
            "denoiser": {"params": {"depth": 3, "width": 4, "batch_norm": False}},
            "schedule": {"steps": 4, "batch_size": 4, "threads": 1},
            "seeds": [1, 2],
            "bm3d": False,
            "intervals": 100,
            "report": False,
            "output": {"path": str(tmp_path / "benchmark")},
        }
        data.update(changes)
        return BenchmarkManifest.model_validate(data)

    return make


def run(manifest: BenchmarkManifest) -> Any:
    return run_benchmark(manifest, source="tiny.yaml", style="quiet")


def test_all_rows_are_there_and_share_their_clean_patches(benchmark: Make, tmp_path: Path) -> None:
    found = run(
        benchmark(mixtures=[{"name": "both", "shares": {"real": 1, "strong": 3}}], report=True)
    )
    names = {row.name for row in found.ranking.rows}
    assert names == {"noisy", "real", "awgn", "strong", "heteroscedastic-fitted", "both"}
    ranks = {row.name: row.rank for row in found.ranking.rows}
    assert sorted(rank for rank in ranks.values() if rank) == [1, 2, 3]
    assert ranks["real"] == ranks["noisy"] == ranks["both"] == 0  # these do not compete
    folders = sorted((tmp_path / "benchmark" / "corpora").glob("train-*"))
    clean = {
        folder.name.split("-")[1]: np.stack([place.clean for place in load_patches(str(folder))])
        for folder in folders
    }
    assert len(clean) == 4
    for pixels in clean.values():
        assert np.array_equal(pixels, clean["real"])
    page = (tmp_path / "benchmark" / "report.html").read_text()
    assert all(name in page for name in names)
    assert "all rows done" in page
    saved = json.loads((tmp_path / "benchmark" / "benchmark.json").read_text())
    assert [row["name"] for row in saved["rows"]] == [row.name for row in found.ranking.rows]


def test_the_real_rows_training_patches_are_the_real_pairs(
    benchmark: Make, tmp_path: Path, pairs: Path
) -> None:
    run(benchmark(seeds=[1], generators=[{"name": "awgn", "label": "x", "params": {"sigma": 8}}]))
    (folder,) = (tmp_path / "benchmark" / "corpora").glob("train-real-*")
    noise = np.concatenate([place.noise.ravel() for place in load_patches(str(folder))])
    assert noise.std() * 255 == pytest.approx(8.0, rel=0.05)
    assert len(load_patches(str(folder))) == 4 * 6


def test_what_is_done_is_not_made_again_and_a_new_row_joins(
    benchmark: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(benchmark())
    trained = []

    def count(manifest: Any, **rest: Any) -> Any:
        trained.append(manifest.name)
        return training(manifest, **rest)

    training = work.train_denoiser
    monkeypatch.setattr(work, "train_denoiser", count)
    again = run(benchmark())
    assert trained == []
    assert again.ranking.to_dict() == first.ranking.to_dict()
    more = [
        {"name": "awgn", "label": "strong", "params": {"sigma": 40}},
        {"name": "heteroscedastic-fitted"},
        {"name": "awgn", "label": "weak", "params": {"sigma": 2}},
    ]
    run(benchmark(generators=more))
    assert trained == ["weak-seed1", "weak-seed2"]


def test_a_row_that_fails_says_why_and_the_others_go_on(
    benchmark: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training = work.train_denoiser

    def fails(manifest: Any, **rest: Any) -> Any:
        if manifest.name.startswith("strong"):
            raise FloatingPointError("the loss was not finite for 100 steps")
        return training(manifest, **rest)

    monkeypatch.setattr(work, "train_denoiser", fails)
    found = run(benchmark())
    assert [(row.name, row.failed) for row in found.ranking.failed] == [
        ("strong", "the loss was not finite for 100 steps")
    ]
    assert {"real", "awgn", "noisy"} <= {row.name for row in found.ranking.rows}
    assert "the loss was not finite" in found.describe()
    assert (tmp_path / "benchmark" / "rows" / "strong.error.txt").is_file()
    monkeypatch.setattr(work, "train_denoiser", training)
    assert not run(benchmark()).ranking.failed  # tried again


def test_rows_of_a_seed_start_alike(benchmark: Make, tmp_path: Path) -> None:
    run(benchmark(schedule={"steps": 1, "batch_size": 4, "threads": 1, "learning_rate": 1e-12}))
    files = sorted((tmp_path / "benchmark" / "trainings").glob("*-seed1-*/*.safetensors"))
    kernels = [next(iter(load_file(path).values())) for path in files]
    assert len(kernels) == 4
    assert all((kernel - kernels[0]).abs().max() < 1e-6 for kernel in kernels)


def test_test_photographs_that_are_trained_on_are_refused(benchmark: Make, pairs: Path) -> None:
    everything = {
        "type": "pairs",
        "path": str(pairs),
        "metadata": "metadata.csv",
        "only": ["train", "test"],
    }
    manifest = benchmark(train={"sources": [everything], "patches": {"size": 16, "per_image": 2}})
    with pytest.raises(ValueError, match="also trained on"):
        run(manifest)


def test_a_corpus_of_the_photographs_that_are_tested_on_is_refused(
    benchmark: Make, pairs: Path, tmp_path: Path
) -> None:
    tested = benchmark().test.sources[0].model_dump()
    corpus = CorpusManifest.model_validate(
        {
            "kind": "corpus",
            "sources": [tested],
            "patches": {"size": 16, "per_image": 2},
            "generators": [{"name": "real"}],
            "output": {"path": str(tmp_path / "cut"), "formats": ["hdf5"]},
            "report": False,
        }
    )
    build(corpus, inline=True, overwrite=False, style="quiet")
    source = {"type": "corpus", "path": str(tmp_path / "cut")}
    with pytest.raises(ValueError, match=r"c4\.png.* also trained on"):
        run(benchmark(train={"sources": [source], "patches": {"size": 16}}))


def test_a_place_without_any_noise_keeps_the_scores_finite(
    benchmark: Make, pairs: Path, tmp_path: Path, write_image: Write
) -> None:
    white = np.full((48, 64, 3), 255, np.uint8)
    for name in ("c5.png", "n5.png"):
        write_image(pairs / name, white)
    found = run(benchmark(seeds=[1], test=benchmark().test.model_dump() | {"max_offset": None}))
    assert not found.ranking.failed
    saved = json.loads((tmp_path / "benchmark" / "rows" / "noisy.json").read_text())
    assert max(saved["seeds"][0]["psnr"]) == 100.0


def test_a_mixture_is_another_one_when_its_parts_are_made_otherwise(
    benchmark: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators = [{"name": "naflow", "weights": "naflow-simulated"}]
    manifest = benchmark(
        generators=generators, mixtures=[{"name": "both", "shares": {"real": 1, "naflow": 1}}]
    )
    real = work.Real(folders={}, indexes={}, sides={}, places=[], shown=[])
    corpora = CorpusMaker(manifest, "quiet")
    bench = work.Workbench(corpora, Path(), real, "")
    mixture = rows_of(manifest, bm3d=False)[-1]
    before = bench.fingerprint(mixture)
    (loaded,) = corpora.generators(manifest.generators)
    monkeypatch.setattr(loaded.generator, "revision", loaded.generator.revision + 1, raising=False)
    assert bench.fingerprint(mixture) != before
    monkeypatch.undo()
    assert bench.fingerprint(mixture) == before
    trained_again = replace(loaded, weights_sha256="trained again")
    monkeypatch.setattr(CorpusMaker, "generators", lambda self, specs: [trained_again])
    assert bench.fingerprint(mixture) != before


def test_no_sound_place_is_an_error_that_says_so(benchmark: Make, pairs: Path) -> None:
    test = benchmark().test.model_copy(update={"max_offset": 1e-9})
    with pytest.raises(ValueError, match="brightness offsets beyond"):
        run(benchmark().model_copy(update={"test": test}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generators": [{"name": "awgn"}]}, "always there"),
        ({"mixtures": [{"name": "m", "shares": {"real": 1, "nobody": 1}}]}, "nobody"),
        ({"seeds": [1, 1]}, "twice"),
        ({"generators": [{"name": "awgn", "label": "a/b"}]}, "neither / nor"),
        ({"mixtures": [{"name": "Strong", "shares": {"real": 1, "awgn": 1}}]}, "one file"),
    ],
)
def test_mistakes_in_the_manifest_are_told(
    benchmark: Make, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        benchmark(**changes)


def test_nothing_is_made_scanned_or_planned_twice(
    benchmark: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counts: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        original = getattr(module, name)

        def counted(*args: Any, **rest: Any) -> Any:
            counts[name] += 1
            return original(*args, **rest)

        monkeypatch.setattr(module, name, counted)

    count(generators, "create")
    count(corpora_module, "scan")
    count(building, "make_plan")
    count(denoiser_data, "scan_for_training")
    count(generator_data, "scan_for_training")
    count(index_module, "_check_version")  # once for each index that is read
    mixture = {"name": "both", "shares": {"real": 1, "strong": 3}}
    run(benchmark(mixtures=[mixture], seeds=[1], curve_every=2))
    folders = list((tmp_path / "benchmark" / "corpora").iterdir())
    # Real patches and three generators, to train and to test on; candidates share the real scan.
    assert len(folders) == 8
    # A training scans its validation once. It reads the index of each of its inputs, that of the
    # corpus behind it unless it is the real one, and, in the scan, that of its validation.
    trainings, inputs, behind, real = 5, 6, 4, 2
    assert counts == {
        "create": 4,
        "scan": 4,
        "make_plan": 8,
        "scan_for_training": trainings,
        "_check_version": real + trainings + inputs + behind,
    }
