"""What a folder means to a run: new, ours to finish, another's to refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline.building.resume as module
from pipeline.building.plan import Plan
from pipeline.building.resume import Resumed, look_at_output, refuse_foreign, remember_plan
from pipeline.building.run import prepare
from pipeline.corpus.shard_records import ShardRecord, write_record
from pipeline.errors import ManifestChangedError, NotACorpusError
from pipeline.manifest.models import CorpusManifest
from pipeline.storage import list_files
from tests.contracts.runs import state

Make = Callable[..., CorpusManifest]
NOTE = "_records/plan.json"


@pytest.fixture
def manifest(corpus_manifest: Make) -> CorpusManifest:
    return corpus_manifest()


@pytest.fixture
def plan(manifest: CorpusManifest) -> Plan:
    return prepare(manifest).plan


def record(plan_sha256: str, index: int = 0) -> ShardRecord:
    return ShardRecord(
        index=index,
        name=f"train-{index:05d}-of-00009",
        split="train",
        rows=0,
        planned=8,
        files=(),
        seconds=0.1,
        plan_sha256=plan_sha256,
    )


def test_nothing_and_an_empty_folder_are_new(
    tmp_path: Path, plan: Plan, manifest: CorpusManifest
) -> None:
    for folder in (tmp_path / "nothing", tmp_path / "empty"):
        refuse_foreign(str(folder))
        look = look_at_output(str(folder), plan, manifest, overwrite=False)
        assert look == Resumed({}, [])
        (tmp_path / "empty").mkdir(exist_ok=True)


def test_what_a_killed_first_run_leaves_is_new(
    tmp_path: Path, plan: Plan, manifest: CorpusManifest
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").touch()
    (tmp_path / "out" / ".tmp-1-a").touch()
    look = look_at_output(str(tmp_path / "out"), plan, manifest, overwrite=False)
    assert look == Resumed({}, [".tmp-1-a"])


def test_the_plan_is_remembered_with_its_recipe_and_written_once(
    tmp_path: Path, plan: Plan, manifest: CorpusManifest, corpus_manifest: Make
) -> None:
    remember_plan(str(tmp_path), plan, manifest)
    before = state(tmp_path)[NOTE]
    remember_plan(str(tmp_path), plan, corpus_manifest(name="told otherwise"))
    assert state(tmp_path)[NOTE] == before
    with pytest.raises(ManifestChangedError, match="seed: 7 -> 9"):
        look_at_output(
            str(tmp_path),
            prepare(corpus_manifest(seed=9)).plan,
            corpus_manifest(seed=9),
            overwrite=False,
        )


@pytest.mark.parametrize("note", ["", "[]", '{"plan_sha256": 3}', "{}"])
def test_a_damaged_note_loses_no_shard_and_mixes_no_two_plans(
    tmp_path: Path, plan: Plan, manifest: CorpusManifest, corpus_manifest: Make, note: str
) -> None:
    remember_plan(str(tmp_path), plan, manifest)
    write_record(str(tmp_path), record(plan.sha256))
    (tmp_path / NOTE).write_text(note)
    look = look_at_output(str(tmp_path), plan, manifest, overwrite=False)
    assert look.done == {0: record(plan.sha256)}
    other = corpus_manifest(seed=9)
    with pytest.raises(ManifestChangedError, match="not remembered"):
        look_at_output(str(tmp_path), prepare(other).plan, other, overwrite=False)


def test_overwriting_removes_ours_and_only_ours(
    tmp_path: Path, plan: Plan, manifest: CorpusManifest
) -> None:
    remember_plan(str(tmp_path), plan, manifest)
    write_record(str(tmp_path), record("0" * 64))
    ours = ("corpus.json", "report.html", "gallery.png", "README.md", "rejected.jsonl")
    for name in (*ours, "hdf5/a.h5", "data/a.parquet", "tensor/a.parquet", "mine.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / NOTE).write_text(json.dumps({"plan_sha256": "0" * 64, "recipe": {}}))
    look = look_at_output(str(tmp_path), plan, manifest, overwrite=True)
    assert look.done == {}
    kept = [name for name in list_files(str(tmp_path)) if not name.startswith("photos/")]
    assert kept == ["mine.txt"]


def test_overwriting_that_is_interrupted_can_go_on(
    tmp_path: Path,
    plan: Plan,
    manifest: CorpusManifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = str(tmp_path / "out")
    remember_plan(out, plan, manifest)
    for number in range(3):
        write_record(out, record("0" * 64, number))
    for name in ("corpus.json", "a.h5"):
        path = tmp_path / "out" / ("hdf5" if name.endswith("h5") else "") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    (tmp_path / "out" / NOTE).write_text(json.dumps({"plan_sha256": "0" * 64, "recipe": {}}))
    original = module.remove
    removed: list[str] = []

    def remove_one(root: str, path: str) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(path)
        original(root, path)

    order = []
    while len(list_files(out)) > 1:
        with monkeypatch.context() as patch:
            patch.setattr(module, "remove", remove_one)
            with pytest.raises(KeyboardInterrupt):
                look_at_output(out, plan, manifest, overwrite=True)
        # The next run still knows that the rest is ours.
        refuse_foreign(out)
        order.append(removed.pop())
    # No reader takes the rest for a corpus.
    assert order[0] == "corpus.json"
    assert list_files(out) == [NOTE]
    assert look_at_output(out, plan, manifest, overwrite=True).done == {}
    assert list_files(out) == []


@pytest.mark.parametrize("name", ["a.txt", "data/x.parquet", "hdf5/x.h5", "README.md", "a/b/c"])
def test_files_of_others_make_a_folder_foreign_whatever_they_are_called(
    tmp_path: Path, plan: Plan, manifest: CorpusManifest, name: str
) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.touch()
    for look in (
        lambda: refuse_foreign(str(tmp_path / "out")),
        lambda: look_at_output(str(tmp_path / "out"), plan, manifest, overwrite=True),
    ):
        with pytest.raises(NotACorpusError, match=name):
            look()
    assert list_files(str(tmp_path / "out")) == [name]
