"""Capture metadata end to end: table, plan, generator, shards, data set, a corpus of a corpus."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generators
from generators.capture import COLUMNS
from pipeline.building.plan import PlanError, make_plan
from pipeline.building.recipe import load_generators, recipe_sha256
from pipeline.building.run import build
from pipeline.corpus.dataset import CorpusDataset
from pipeline.corpus.verify import verify
from pipeline.manifest.models import CorpusManifest
from pipeline.sources import scan

Make = Callable[..., CorpusManifest]

PLUG_IN = '''
import torch
from generators.base import NoiseGenerator, NoiseSample
from generators.capture import CaptureColumn
from generators.seeds import standard_normal

FOCAL_LENGTH = CaptureColumn(kind="float32", doc="Focal length.", unit="mm")

class ByFocalLength(NoiseGenerator):
    """Noise that grows with the focal length, which is not how noise works."""

    name = "by-focal-length"
    revision = 1
    needs = frozenset({"focal_length"})

    def _sample(self, request):
        clean, lengths = request.context.clean, request.context.capture["focal_length"]
        levels = torch.tensor(lengths)[:, None, None, None] / 1000
        noise = levels * standard_normal(request.seeds, clean.shape[1:], "noise")
        return NoiseSample(clean=clean, noisy=clean + noise)
'''
TABLE = (
    "scene,clean,noisy,camera,iso,focal_length,exposure,note\n"
    "desk,desk_mean.png,desk_Real.png,A,800,50,0.02,read by nobody\n"
    "wall,wall_mean.png,wall_Real.png,,,200,,\n"
)


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column and a generator of another package; no file of ours knows them."""
    (tmp_path / "far_noise.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(COLUMNS.built_in, "focal_length", "far_noise:FOCAL_LENGTH")
    monkeypatch.setitem(generators.REGISTRY.built_in, "by-focal-length", "far_noise:ByFocalLength")


@pytest.fixture
def manifest(plug_in: None, corpus_manifest: Make, pair_folder: Path) -> Make:
    (pair_folder / "metadata.csv").write_text(TABLE)
    source = {"type": "pairs", "path": str(pair_folder), "metadata": "metadata.csv"}

    def make(**changes: Any) -> CorpusManifest:
        generator = {"name": "by-focal-length"}
        return corpus_manifest(**{"sources": [source], "generators": [generator], **changes})

    return make


def run(manifest: CorpusManifest) -> None:
    build(manifest, inline=True, overwrite=False, style="quiet")


def test_a_column_and_a_generator_that_needs_it_need_no_file_of_ours(manifest: Make) -> None:
    corpus = manifest(output={"formats": ["hdf5", "parquet"]})
    run(corpus)
    root = corpus.output.path
    assert verify(root, deep=True).problems == []
    assert "| `focal_length` | float32 | Focal length. |" in (Path(root) / "README.md").read_text()
    for format in ("hdf5", "parquet"):
        rows = list(CorpusDataset(root, format=format))
        assert {(row["camera"], row["focal_length"]) for row in rows} == {("A", 50.0), ("", 200.0)}
        assert all("note" not in row for row in rows)
        assert {round(row["exposure"], 6) for row in rows if row["camera"]} == {0.02}
        assert all(math.isnan(row["exposure"]) for row in rows if not row["camera"])
        for length in (50.0, 200.0):
            noise = np.concatenate(
                [(r["noisy"] - r["clean"]).ravel() for r in rows if r["focal_length"] == length]
            )
            # Rounding and clipping change the deviation by a few percent; the lengths by four.
            assert noise.std() == pytest.approx(length / 1000, rel=0.2)


def test_a_corpus_hands_its_columns_on(manifest: Make, tmp_path: Path) -> None:
    first = manifest()
    run(first)
    source = {"type": "corpus", "path": first.output.path}
    second = manifest(sources=[source], output={"path": str(tmp_path / "second")})
    run(second)
    rows = list(CorpusDataset(second.output.path))
    assert {row["focal_length"] for row in rows} == {50.0, 200.0}


def test_a_need_that_no_source_fills_is_told_before_any_work(manifest: Make) -> None:
    bare = manifest(sources=[{"type": "photographs"}])
    with pytest.raises(PlanError, match=r"needs focal_length.*`capture: \{focal_length: ...\}`"):
        make_plan(bare, load_generators(bare.generators, precision="float32"))


def test_the_manifest_fills_what_the_source_does_not_know(manifest: Make) -> None:
    given = {"type": "photographs", "capture": {"focal_length": 35, "camera": "B"}}
    made = manifest(sources=[given])
    records = scan(made.sources, made.splits).records
    assert {(r.camera, r.capture["focal_length"]) for r in records} == {("B", 35.0)}


@pytest.mark.parametrize(
    ("cell", "told"),
    [("1/50", r"line 2: exposure '1/50'; expected a number in s"), ("inf", "exposure 'inf'")],
)
def test_a_wrong_cell_is_told_by_line(
    manifest: Make, pair_folder: Path, cell: str, told: str
) -> None:
    (pair_folder / "metadata.csv").write_text(TABLE.replace("0.02", cell))
    made = manifest()
    with pytest.raises(ValueError, match=told):
        scan(made.sources, made.splits)


@pytest.mark.parametrize(
    ("capture", "told"),
    [({"exposur": 1}, "Did you mean 'exposure'"), ({"iso": "fast"}, "expected a whole number")],
)
def test_a_wrong_column_of_a_manifest_is_told(
    manifest: Make, capture: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        manifest(sources=[{"type": "photographs", "capture": capture}])


def test_manifests_and_plans_without_further_columns_keep_their_hash(
    corpus_manifest: Make,
) -> None:
    made = corpus_manifest()
    assert "capture" not in made.model_dump(mode="json")["sources"][0]
    told = corpus_manifest(sources=[{**made.model_dump(mode="json")["sources"][0], "capture": {}}])
    assert recipe_sha256(told) == recipe_sha256(made)
    loaded = load_generators(made.generators, precision="float32")
    plan = make_plan(made, loaded)
    assert plan.further == ()
    source = {**made.model_dump(mode="json")["sources"][0], "capture": {"exposure": 0.1}}
    assert make_plan(corpus_manifest(sources=[source]), loaded).sha256 != plan.sha256
