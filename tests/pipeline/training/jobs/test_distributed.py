"""Several workers train what one would: the same curve, the same weights, resumed by any number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generators.weights_file import load_weights
from pipeline.building.run import build
from pipeline.manifest.models import CorpusManifest, TrainDenoiserManifest
from pipeline.training.jobs.denoiser import train_denoiser


@pytest.fixture
def training(
    tmp_path: Path, corpus_manifest: Callable[..., CorpusManifest]
) -> Callable[..., TrainDenoiserManifest]:
    """Makes manifests of twelve steps of eight crops, by so many workers."""
    manifest = corpus_manifest(
        splits={"train": 1.0, "val": 0.0, "test": 0.0},
        output={"rows_per_shard": 72, "formats": ["hdf5"]},
    )
    build(manifest, inline=True, overwrite=False, style="quiet")

    def make(name: str, workers: int, **changes: Any) -> TrainDenoiserManifest:
        data: dict[str, Any] = {
            "kind": "train-denoiser",
            "name": "tiny",
            "seed": 5,
            "params": {"depth": 3, "width": 4, "batch_norm": False, "bias": "all"},
            "data": {"inputs": [{"corpus": manifest.output.path}], "patch": 16},
            "schedule": {"steps": 12, "batch_size": 8, "threads": 1, "ema": 0.9, "clip_norm": 1.0},
            "checkpoint_every": 4,
            "log_every": 1,
            "output": {"path": str(tmp_path / name)},
            "report": False,
            "workers": workers,
        }
        return TrainDenoiserManifest.model_validate(data | changes)

    return make


def run(manifest: TrainDenoiserManifest) -> tuple[Any, list[float]]:
    left = train_denoiser(manifest, source="tiny.yaml", style="quiet")
    log = (Path(manifest.output.path) / "log.jsonl").read_text().splitlines()
    return left, [json.loads(line)["loss"] for line in log]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_train_as_one_does_at_the_same_batch(
    training: Callable[..., TrainDenoiserManifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, curve = run(training("one", 1))
    together, other = run(training("two", 2))
    assert len(other) == 12
    # Sums in another order: some last bits of float32 in each of twelve steps.
    np.testing.assert_allclose(other, curve, rtol=1e-5)
    tensors = [load_weights(left.weights, family="dncnn").tensors for left in (alone, together)]
    for name, tensor in tensors[0].items():
        np.testing.assert_allclose(tensors[1][name], tensor, atol=2e-5)
    folder = together.weights.parent
    assert not (folder / "_ray").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_worker_cannot_do_is_told_before_any_is_started(
    training: Callable[..., TrainDenoiserManifest],
) -> None:
    with pytest.raises(ValueError, match="8 workers need a CPU each, and the cluster has 2"):
        run(training("many", 8))
