"""The estimate: counts that a run then makes, a measured rate, and nothing written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generators
import pipeline.building.estimate as estimate_module
from generators.base import NoiseRequest, NoiseSample, as_generator
from pipeline.building.estimate import Estimate, estimate
from pipeline.building.run import build
from pipeline.engine.resources import Machine
from pipeline.errors import PlanError
from pipeline.manifest.models import CorpusManifest

Make = Callable[..., CorpusManifest]


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "local_machine", lambda: Machine(2, 0))
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def test_counts_are_those_of_the_run_and_nothing_is_written(
    corpus_manifest: Make, photo_folder: Path
) -> None:
    (photo_folder / "bad.png").write_bytes(b"")
    manifest = corpus_manifest(limits={"max_rejected": 0.5})
    found = estimate(manifest)
    assert not Path(manifest.output.path).exists()
    index = build(manifest, inline=True, overwrite=False, style="quiet").index
    assert (found.images, found.rejected_images) == (3, 1)
    assert (found.patches, found.shards) == (index.totals.rows, len(index.shards)) == (72, 9)
    assert found.splits == index.splits == {"train": 72}
    assert found.generators == {"awgn": 36, "heteroscedastic": 36}
    (note,) = found.notes
    assert note.startswith("refused: ")
    assert "bad.png" in note


@pytest.mark.parametrize("encoding", ["uint8", "uint16", "float32"])
def test_bytes_are_near_what_is_stored(
    corpus_manifest: Make, photo_folder: Path, encoding: str
) -> None:
    output = {"encoding": encoding, "rows_per_shard": 100}
    manifest = corpus_manifest(output=output, patches={"size": 48})
    index = build(manifest, inline=True, overwrite=False, style="quiet").index
    # PNG squeezes the clean half of these smooth pictures more than noisy photographs of a camera.
    assert 0.6 < index.totals.bytes / estimate(manifest).bytes < 1.3


class Slow:
    """A generator that takes 10 ms a row."""

    name = "slow"
    revision = 1
    accepts = gives = "srgb"
    needs: frozenset[str] = frozenset()

    def sample(self, request: NoiseRequest) -> NoiseSample:
        time.sleep(0.01 * len(request.seeds))
        return NoiseSample(clean=request.context.clean, noisy=request.context.clean)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = generators.create

    def create(name: str, **arguments: Any) -> Any:
        return (
            as_generator(Slow())
            if arguments["params"].get("sigma") == 10
            else original(name, **arguments)
        )

    monkeypatch.setattr(generators, "create", create)
    return {"name": "awgn", "label": "slow", "params": {"sigma": 10}}


def test_the_rate_is_measured_and_shared_by_the_actors(
    corpus_manifest: Make, slow: dict[str, Any]
) -> None:
    one, two = (
        estimate(corpus_manifest(generators=[slow], resources={"batch_size": 8, "actors": actors}))
        for actors in (1, 2)
    )
    # Never faster than it sleeps; slower as far as the machine is busy.
    assert 30 < one.patches_per_s["slow"] <= 100
    assert one.seconds >= 36 / 100
    assert one.seconds == pytest.approx(36 / one.patches_per_s["slow"], rel=0.01)
    assert two.seconds == pytest.approx(36 / two.patches_per_s["slow"] / 2, rel=0.01)


def test_generators_are_measured_apart(corpus_manifest: Make, slow: dict[str, Any]) -> None:
    found = estimate(
        corpus_manifest(generators=[slow, {"name": "awgn", "params": {"sigma": 5}}])
    ).patches_per_s
    assert found["slow"] <= 100 < found["awgn"]


def test_a_plan_that_would_wait_for_ever_is_refused(corpus_manifest: Make) -> None:
    with pytest.raises(PlanError, match=r"3 actors on 2 CPUs"):
        estimate(corpus_manifest(resources={"actors": 3}))


def test_it_does_without_photographs_that_cannot_be_cut(
    corpus_manifest: Make, photo_folder: Path, write_image: Callable[[Path, np.ndarray], Path]
) -> None:
    # Every patch of the first shard is flat: there is nothing to measure with.
    write_image(photo_folder / "a.png", np.full((48, 64, 3), 7, np.uint8))
    found = estimate(corpus_manifest(patches={"min_texture": 1.0}))
    assert found.seconds > 0
    assert all(rate > 0 for rate in found.patches_per_s.values())


def test_people_and_machines_are_told_the_same(corpus_manifest: Make) -> None:
    found: Estimate = estimate(corpus_manifest())
    data = json.loads(json.dumps(found.to_dict()))
    lines = {str(key): str(value) for key, value in found.rows()}
    assert lines["patches"] == "72 (train 72)"
    assert data["patches"] == 72
    assert "1 actor" in lines["time"]
    assert (data["actors"], data["cpus"], data["gpus"]) == (1, 2, 0)
    assert lines["needs"].startswith("1 of 2 CPUs")
