"""Records tell what a resumed run may keep."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.corpus.index import INDEX_NAME
from pipeline.corpus.shard_records import (
    RECORDS,
    ShardRecord,
    done_shards,
    sweep_orphans,
    write_record,
)
from pipeline.records import Reject
from pipeline.storage import DatasetError, list_files, publish, read_bytes
from tests.contracts.corpora import PLAN, write_corpus


def test_all_shards_of_a_finished_run_are_done(root: str) -> None:
    index = write_corpus(root)
    assert done_shards(root, PLAN) == {shard.index: shard for shard in index.shards}
    assert done_shards(root, "another plan") == {}


def test_nothing_is_done_where_nothing_is(root: str) -> None:
    assert done_shards(root, PLAN) == {}


@pytest.mark.parametrize("damage", ["gone", "one byte", "shorter", "no record", "bad record"])
def test_a_shard_is_done_only_if_record_and_files_agree(damage: str, tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path))
    victim = index.shards[1]
    path = tmp_path / victim.files[1].path
    data = bytearray(path.read_bytes())
    record = tmp_path / RECORDS / f"{victim.name}.json"
    if damage == "gone":
        path.unlink()
    elif damage == "one byte":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "shorter":
        path.write_bytes(data[:-1])
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text("[{]")
    assert set(done_shards(str(tmp_path), PLAN)) == {0, 2}


@pytest.mark.parametrize("content", ["[]", "3", '{"index": 1}', '{"files": [3], "index": 0}'])
def test_strange_records_are_not_done(content: str, tmp_path: Path) -> None:
    publish(str(tmp_path), f"{RECORDS}/train-00000-of-00001.json", content.encode())
    assert done_shards(str(tmp_path), PLAN) == {}


def test_records_keep_rejects_and_the_index_does_not(tmp_path: Path) -> None:
    reject = Reject(uri="a.png[y=0,x=0]", reason="nan", detail="why", stage="cut", patches=1)
    shard = dataclasses.replace(
        write_corpus(str(tmp_path)).shards[0], rejects=(reject,), rows=0, files=()
    )
    write_record(str(tmp_path), shard)
    assert done_shards(str(tmp_path), PLAN)[0] == shard
    assert json.loads(read_bytes(str(tmp_path), INDEX_NAME))["shards"][0].get("rejects") is None


def test_orphans_are_swept_and_nothing_else(root: str) -> None:
    write_corpus(root)
    before = list_files(root)
    publish(root, "hdf5/.tmp-1-2", b"half a shard")
    publish(root, ".tmp-3-4", b"half an index")
    assert sorted(sweep_orphans(root)) == [".tmp-3-4", "hdf5/.tmp-1-2"]
    assert list_files(root) == before


def test_a_record_names_the_missing_field() -> None:
    with pytest.raises(DatasetError, match="here is damaged: ShardRecord has no 'index'"):
        ShardRecord.from_dict({"files": []}, where="here")


def test_a_record_says_what_made_it_and_one_from_before_is_read_without(root: str) -> None:
    index = write_corpus(root)
    record = dataclasses.replace(index.shards[0], processor="maker 1/2 AVX2")
    write_record(root, record)
    assert done_shards(root, PLAN)[0].processor == "maker 1/2 AVX2"
    path = f"{RECORDS}/{record.name}.json"
    values = json.loads(read_bytes(root, path))
    del values["processor"]
    publish(root, path, json.dumps(values).encode())
    assert done_shards(root, PLAN)[0] == dataclasses.replace(record, processor="")
