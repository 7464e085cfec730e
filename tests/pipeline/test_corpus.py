"""The index round-trips, refuses what it does not know, and tells what a resumed run may keep."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.canonical import canonical_json, sha256_of
from pipeline.corpus import (
    INDEX_NAME,
    RECORDS,
    ShardRecord,
    Totals,
    done_shards,
    is_corpus,
    load_corpus,
    sweep_orphans,
    write_record,
)
from pipeline.records import Reject
from pipeline.storage import DatasetError, list_files, publish, read_bytes
from tests.contracts.corpora import PLAN, write_corpus


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    local = request.param == "local"
    return str(tmp_path) if local else f"memory://corpus-{tmp_path.name}-{id(tmp_path)}"


def test_the_index_reads_back_as_it_was_written(root: str) -> None:
    assert not is_corpus(root)
    written = write_corpus(root)
    found = load_corpus(root)
    assert found.to_dict() == written.to_dict()
    assert is_corpus(root)
    assert found.formats == ["hdf5", "parquet"]
    assert found.splits == {"train": 9, "val": 3}


def test_the_index_lists_exactly_the_files(root: str) -> None:
    index = write_corpus(root)
    listed = [file.path for shard in index.shards for file in shard.files]
    records = [f"{RECORDS}/{shard.name}.json" for shard in index.shards]
    assert list_files(root) == sorted([*listed, *records, INDEX_NAME])


def test_totals_are_sums(root: str) -> None:
    index = write_corpus(root)
    assert index.totals.rows == 12
    assert index.totals.rejected == 3
    assert index.totals.bytes == sum(f.bytes for s in index.shards for f in s.files)


def test_a_folder_without_index_is_no_corpus(root: str) -> None:
    publish(root, "data/train-00000-of-00001.parquet", b"x")
    with pytest.raises(FileNotFoundError, match=r"is not a corpus: it holds no corpus\.json"):
        load_corpus(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2; this noisemill reads up to 1"),
        ({"format_version": True}, "is not the index"),
        ({"format": "other"}, "is not the index"),
        ({"shards": None}, "'shards' is no list"),
        ({"shards": [1]}, "is damaged"),
        ({"seed": "7"}, "'seed' of CorpusIndex is '7'"),
        ({"totals": {"rows": 1}}, "Totals has no 'bytes'"),
        ({"generators": [{}]}, "GeneratorEntry has no 'key'"),
    ],
)
def test_a_wrong_index_is_explained(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    data = write_corpus(str(tmp_path)).to_dict() | change
    (tmp_path / INDEX_NAME).write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=message):
        load_corpus(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff"])
def test_a_damaged_index_is_explained(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX_NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"corpus\.json is"):
        load_corpus(str(tmp_path))


@pytest.mark.parametrize("path", ["../elsewhere.h5", "/etc/passwd", ""])
def test_an_index_cannot_point_outside(path: str, tmp_path: Path) -> None:
    data = write_corpus(str(tmp_path)).to_dict()
    data["shards"][0]["files"][0]["path"] = path
    (tmp_path / INDEX_NAME).write_text(json.dumps(data))
    with pytest.raises(DatasetError, match="below its root"):
        load_corpus(str(tmp_path))


def test_later_additions_to_the_index_are_passed_over(tmp_path: Path) -> None:
    data = write_corpus(str(tmp_path)).to_dict() | {"added_in_1_7": {"a": 1}}
    (tmp_path / INDEX_NAME).write_text(json.dumps(data))
    assert load_corpus(str(tmp_path)).name == "tiny"


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


def test_canonical_json_has_one_spelling() -> None:
    assert sha256_of({"b": [1, 2], "a": "ä"}) == sha256_of(json.loads('{"a": "\\u00e4","b":[1,2]}'))
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_totals_of_no_shards_are_zero() -> None:
    assert Totals.of([], seconds=0) == Totals(rows=0, bytes=0, rejected=0, seconds=0.0)


def test_a_record_names_the_missing_field() -> None:
    with pytest.raises(DatasetError, match="here is damaged: ShardRecord has no 'index'"):
        ShardRecord.from_dict({"files": []}, where="here")
