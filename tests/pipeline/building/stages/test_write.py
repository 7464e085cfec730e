"""Write: files first, then the record that says so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline.building.stages.write as write_module
from pipeline.building.run import Prepared, inline_stages, prepare, task_for
from pipeline.building.stages.work import MadeShard
from pipeline.building.stages.write import WriteStage
from pipeline.corpus.formats import SinkOptions, open_shard
from pipeline.corpus.shard_records import done_shards
from pipeline.kinds import FORMATS
from pipeline.manifest.models import CorpusManifest
from pipeline.storage import list_files, sha256_file

Make = Callable[..., CorpusManifest]


@pytest.fixture
def ready(corpus_manifest: Make) -> Prepared:
    return prepare(corpus_manifest())


def made(ready: Prepared, number: int = 2) -> MadeShard:
    cut, generate = inline_stages(ready)
    return generate(cut(task_for(ready, ready.plan.shards[number])))


def stage(root: Path) -> WriteStage:
    options = SinkOptions(manifest_sha256="a" * 64, tool_version="0.1.0")
    return WriteStage(str(root), formats=FORMATS.names(), options=options, plan_sha256="b" * 64)


def test_what_is_read_back_is_what_was_made(ready: Prepared, tmp_path: Path) -> None:
    shard = made(ready)
    record = stage(tmp_path)(shard)
    assert (record.index, record.name, record.split) == (2, "train-00002-of-00009", "train")
    assert (record.rows, record.planned, record.plan_sha256) == (8, 8, "b" * 64)
    assert [file.format for file in record.files] == list(FORMATS.names())
    for file in record.files:
        assert sha256_file(str(tmp_path), file.path) == file.sha256
        with open_shard(str(tmp_path), file) as reader:
            clean, noisy = reader.images(0, 8)
            np.testing.assert_array_equal(clean, shard.clean)
            np.testing.assert_array_equal(noisy, shard.noisy)
            assert reader.columns(["seed"])["seed"] == shard.columns["seed"]


def test_the_record_is_written_last_and_makes_the_shard_done(
    ready: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: str, record: Any) -> None:
        # All files are there already.
        assert all((Path(root) / file.path).is_file() for file in record.files)
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(write_module, "write_record", fail)
        with pytest.raises(OSError, match="killed"):
            stage(tmp_path)(made(ready))
    assert done_shards(str(tmp_path), "b" * 64) == {}
    record = stage(tmp_path)(made(ready))
    assert done_shards(str(tmp_path), "b" * 64) == {2: record}


def test_two_writers_of_one_shard_leave_equal_bytes(ready: Prepared, tmp_path: Path) -> None:
    records = [stage(tmp_path / name)(made(ready)) for name in "ab"]
    assert records[0].files == records[1].files


def test_an_empty_shard_has_a_record_and_no_files(
    ready: Prepared, tmp_path: Path, photo_folder: Path
) -> None:
    for path in photo_folder.rglob("*.png"):
        os.truncate(path, 0)
    root = tmp_path / "corpus"
    record = stage(root)(made(ready))
    assert (record.rows, record.planned, record.files) == (0, 8, ())
    assert sum(reject.patches for reject in record.rejects) == 8
    assert list_files(str(root)) == ["_records/train-00002-of-00009.json"]
    stored = json.loads((root / "_records" / "train-00002-of-00009.json").read_text())
    assert stored["rejects"][0]["reason"] == "empty"
    assert done_shards(str(root), "b" * 64) == {2: record}
