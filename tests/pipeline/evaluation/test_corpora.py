"""Evaluating a corpus: against its own partners and other pairs, on Ray and without, damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.building.run import build
from pipeline.corpus.dataset import CorpusDataset
from pipeline.evaluation import evaluate
from pipeline.evaluation.corpora import CorpusMeasure, ShardPiece, open_subject, own_partners
from pipeline.evaluation.noise import NoiseMeasure
from pipeline.evaluation.spread import in_process, on_ray
from pipeline.manifest.models import CorpusManifest, EvaluateManifest
from pipeline.storage import DatasetError

Make = Callable[..., EvaluateManifest]


def work(manifest: EvaluateManifest) -> tuple[CorpusMeasure, list[ShardPiece]]:
    """Return what measures the shards of a corpus against its own partners, and its shards."""
    opened = open_subject(manifest.corpus)  # type: ignore[arg-type]
    pieces = [ShardPiece(opened.root, file, "awgn") for file in opened.files]
    return CorpusMeasure(manifest.metrics, own_partners(opened)), pieces


def test_real_noise_is_at_no_distance_from_itself(
    evaluation: Make, pair_corpus: CorpusManifest
) -> None:
    found = evaluate(evaluation(corpus={"path": pair_corpus.output.path}))
    real, white = found.row("real"), found.row("awgn")
    assert real.subset("all")["kld (naflow)"]["mean"] == 0.0
    assert real.subset("all")["akld (danet, 1 sample)"]["mean"] == 0.0
    assert set(real.figures["pooled"].values()) == {0.0}
    assert white.subset("all")["akld (danet, 1 sample)"]["mean"] > 0.1
    assert white.figures["pooled"]["kld (naflow, pooled)"] > 0.05
    assert real.subset("all")["blocks"] == white.subset("all")["blocks"] == 24


def test_level_and_offset_are_those_of_the_stored_rows(
    evaluation: Make, pair_corpus: CorpusManifest
) -> None:
    found = evaluate(evaluation(corpus={"path": pair_corpus.output.path})).row("awgn")
    rows = CorpusDataset(pair_corpus.output.path, generators=["awgn"])
    stds = [float((s["noisy"] - s["clean"]).double().std(correction=0)) * 255 for s in rows]
    assert found.subset("all")["std"]["mean"] == pytest.approx(np.mean(stds), rel=1e-5)
    assert found.subset("sound")["blocks"] <= found.subset("all")["blocks"]


def test_a_corpus_can_be_held_against_other_pairs(
    evaluation: Make, pair_corpus: CorpusManifest, pairs: dict[str, Any]
) -> None:
    found = evaluate(
        evaluation(corpus={"path": pair_corpus.output.path}, data={"sources": [pairs], "grid": 4})
    )
    real, white = (found.row(key).figures["pooled"] for key in ("real", "awgn"))
    for name in ("kld (naflow, pooled)", "spectrum distance (rms dB)"):
        assert real[name] < 0.5 * white[name]
    assert "kld (naflow, pooled)" in found.describe()
    assert found.row("real").subset("all")["kld (naflow)"] == {"mean": None, "median": None}


def test_shards_merge_to_the_whole_in_any_order(
    evaluation: Make, pair_corpus: CorpusManifest
) -> None:
    manifest = evaluation(corpus={"path": pair_corpus.output.path})
    measure, pieces = work(manifest)
    parts = [measure(piece) for piece in pieces]
    assert len(parts) > 3
    forwards, backwards = (NoiseMeasure(manifest.metrics).empty() for _ in range(2))
    for one, other in zip(parts, reversed(parts), strict=True):
        forwards.merge(one)
        backwards.merge(other)
    for a, b in zip(
        forwards.noise("made").total().to_dict()["correlation map"],
        backwards.noise("made").total().to_dict()["correlation map"],
        strict=True,
    ):
        assert a == pytest.approx(b, abs=1e-9)
    found, expected = forwards.scores.total().result(), backwards.scores.total().result()
    assert found["kld (naflow)"]["median"] == expected["kld (naflow)"]["median"]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_ray_gives_the_same_sums_as_one_process(
    evaluation: Make, pair_corpus: CorpusManifest
) -> None:
    measure, pieces = work(evaluation(corpus={"path": pair_corpus.output.path}))
    pieces = pieces[:3]
    here = [sums.scores.total().table() for sums in in_process(measure, pieces)]
    there = [sums.scores.total().table() for sums in on_ray(measure, pieces, address=None)]
    assert len(here) == len(there) == 3
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_that_is_no_corpus_is_refused(evaluation: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no corpus\.json"):
        evaluate(evaluation(corpus={"path": str(tmp_path)}))


@pytest.mark.parametrize("harm", ["missing", "altered"])
def test_a_damaged_shard_is_told_before_work(
    evaluation: Make, pair_corpus: CorpusManifest, harm: str, tmp_path: Path
) -> None:
    shard = sorted(Path(pair_corpus.output.path, "hdf5").rglob("*.h5"))[1]
    if harm == "missing":
        shard.unlink()
    else:
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(bytes(data))
    with pytest.raises(DatasetError, match=rf"is damaged:[\s\S]*{shard.name}: "):
        evaluate(evaluation(corpus={"path": pair_corpus.output.path}))
    assert not (tmp_path / "evaluation/evaluation.json").exists()


def test_an_empty_split_and_an_unknown_generator_are_named(
    evaluation: Make, pair_corpus: CorpusManifest
) -> None:
    path = pair_corpus.output.path
    with pytest.raises(ValueError, match="no split 'test'; it has val"):
        evaluate(evaluation(corpus={"path": path, "split": "test"}))
    with pytest.raises(ValueError, match="no generator 'naflow'; it has real, awgn"):
        evaluate(evaluation(corpus={"path": path, "generators": ["naflow"]}))


def test_a_corpus_without_real_noise_asks_for_pairs(
    evaluation: Make, corpus_manifest: Callable[..., CorpusManifest]
) -> None:
    manifest = corpus_manifest()
    build(manifest, inline=True, overwrite=False, style="quiet")
    with pytest.raises(ValueError, match=r"have no real noise.*data\.sources"):
        evaluate(evaluation(corpus={"path": manifest.output.path}))
