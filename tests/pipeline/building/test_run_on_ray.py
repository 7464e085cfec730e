"""Building on Ray: the same bytes as in one process, whatever happens to the workers."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pipeline.building.run as build_module
from pipeline.building.run import Result, build
from pipeline.cli.errors import explain
from pipeline.corpus.verify import verify
from pipeline.engine.connection import cluster_machine
from pipeline.engine.resources import Machine
from pipeline.errors import WorkerError
from pipeline.manifest.models import CorpusManifest
from pipeline.storage import StorageError
from tests.contracts import faults
from tests.contracts.command import interruptible
from tests.contracts.runs import checksums

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

Make = Callable[..., CorpusManifest]


@pytest.fixture
def expected(corpus_manifest: Make, tmp_path: Path) -> dict[str, str]:
    """The shards that one process makes."""
    manifest = corpus_manifest(output={"path": str(tmp_path / "inline")})
    build(manifest, inline=True, overwrite=False, style="quiet")
    return checksums(manifest.output.path)


def made(manifest: CorpusManifest, *, style: Any = "quiet") -> Result:
    return build(manifest, inline=False, overwrite=False, style=style)


def change_stage(monkeypatch: pytest.MonkeyPatch, name: str, kind: type, **values: Any) -> None:
    original = getattr(build_module, name)
    monkeypatch.setattr(
        build_module, name, lambda ready: faults.turned_into(original(ready), kind, **values)
    )


def test_one_actor_two_actors_and_no_ray_make_the_same_bytes(
    corpus_manifest: Make,
    tmp_path: Path,
    expected: dict[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    for actors in (1, 2):
        changes = {"path": str(tmp_path / f"{actors}")}
        manifest = corpus_manifest(output=changes, resources={"actors": actors})
        result = made(manifest, style="json")
        assert result.made == 9
        assert checksums(manifest.output.path) == expected
        assert verify(manifest.output.path, deep=True).problems == []
        out, err = capfd.readouterr()
        assert out == ""
        # All of it is ours; the stages' counts arrive.
        *_, last = [json.loads(line) for line in err.splitlines()]
        assert last["write"]["patches"] == 72


def test_only_what_is_missing_is_made(corpus_manifest: Make, expected: dict[str, str]) -> None:
    manifest = corpus_manifest()
    build(manifest, inline=True, overwrite=False, style="quiet")
    for number in (1, 6):
        (Path(manifest.output.path) / f"hdf5/train-{number:05d}-of-00009.h5").unlink()
    result = made(manifest)
    assert result.made == 2
    assert checksums(manifest.output.path) == expected


def test_no_more_shards_are_under_way_than_the_window_has(
    corpus_manifest: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    change_stage(monkeypatch, "_cut_stage", faults.LoggedCut, log=log)
    change_stage(monkeypatch, "_write_stage", faults.LoggedWrite, log=log)
    result = made(corpus_manifest(output={"rows_per_shard": 3}))
    signs = log.read_text()
    # Tasks cut, not the actor: it would have no time to generate.
    assert "A" not in signs
    assert len(result.index.shards) == signs.count("+") == signs.count("-") == 24
    under_way = itertools.accumulate(1 if sign == "+" else -1 for sign in signs)
    # Two for the actor and one for each CPU; a shard counts as written a moment after its note.
    assert max(under_way) <= 2 + 2


def test_what_a_worker_raises_is_one_line_and_finished_shards_stay(
    corpus_manifest: Make,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    expected: dict[str, str],
) -> None:
    manifest = corpus_manifest()
    with monkeypatch.context() as patch:
        change_stage(patch, "_write_stage", faults.FullDisk)
        with pytest.raises(StorageError) as raised:
            made(manifest)
    assert raised.value.errno == 28
    message, code = explain(raised.value)
    assert code == 1
    assert faults.DISK_FULL in message
    assert "\n" not in message
    # The worker's own stack is kept for NOISEMILL_DEBUG.
    assert any("FullDisk" in line or "faults.py" in line for line in raised.value.__notes__)
    out, err = capfd.readouterr()
    # The shared cluster's messages go where its first driver prints; a run of its own cluster puts
    # them elsewhere or leaves them out, see pipeline/engine/ray_console.py.
    assert [line for line in out.splitlines() if "(raylet)" not in line] == []
    assert "Traceback" not in err
    there = checksums(manifest.output.path)
    assert there.items() <= expected.items()
    assert not (Path(manifest.output.path) / "corpus.json").exists()
    assert made(manifest).made >= 1
    assert checksums(manifest.output.path) == expected


def test_an_exception_that_does_not_survive_the_way_keeps_its_words(
    corpus_manifest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_stage(monkeypatch, "_write_stage", faults.OddWrite)
    with pytest.raises(RuntimeError, match="Odd: one and two"):
        made(corpus_manifest())


def test_a_worker_that_dies_once_is_replaced_and_the_bytes_are_the_same(
    corpus_manifest: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, str],
) -> None:
    log = tmp_path / "log"
    change_stage(monkeypatch, "_cut_stage", faults.FatalCut, log=log, times=1)
    manifest = corpus_manifest()
    made(manifest)
    assert len(log.read_text()) == 2
    assert checksums(manifest.output.path) == expected


def test_a_shard_that_kills_its_worker_each_time_is_given_up_by_name(
    corpus_manifest: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    change_stage(monkeypatch, "_cut_stage", faults.FatalCut, log=log, times=99)
    manifest = corpus_manifest(limits={"attempts_per_shard": 2})
    with pytest.raises(
        WorkerError, match=r"train-00002-of-00009 .* 2 times in stage cut"
    ) as raised:
        made(manifest)
    assert len(log.read_text()) == 2
    assert explain(raised.value)[1] == 1


def test_the_cluster_counts_its_cpus_and_machines() -> None:
    assert cluster_machine() == Machine(2, 0, 1)


def test_an_interrupt_ends_a_run_on_a_joined_cluster_and_keeps_what_is_finished(
    corpus_manifest: Make, tmp_path: Path
) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    changes: dict[str, Any] = {"patches": {"size": 24, "stride": 4}}
    manifest = corpus_manifest(**changes)
    path = tmp_path / "manifest.yaml"
    path.write_text(json.dumps(manifest.model_dump(mode="json", exclude_none=True)))
    command = interruptible("run", str(path), "--address", address)
    here = Path(__file__).resolve().parents[3]
    records = Path(manifest.output.path) / "_records"
    with subprocess.Popen(
        command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and len(list(records.glob("train-*.json"))) < 2:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    lines = [line for line in err.splitlines() if line]
    assert lines[-1].startswith("noisemill: interrupted. What is finished is kept")
    # Lines of Ray's own may stand between ours on a loaded machine; a traceback never does.
    assert "Traceback" not in err
    assert sum(line.startswith("noisemill: interrupted") for line in lines) == 1
    there = len(list(records.glob("train-*.json")))
    result = build(manifest, inline=True, overwrite=False, style="quiet")
    assert 2 <= there < len(result.index.shards)
    # A shard whose record the interrupt prevented is made again.
    assert result.made <= len(result.index.shards) - 2
    elsewhere = corpus_manifest(**changes, output={"path": str(tmp_path / "whole")})
    build(elsewhere, inline=True, overwrite=False, style="quiet")
    assert checksums(manifest.output.path) == checksums(elsewhere.output.path)
