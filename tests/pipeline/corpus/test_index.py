"""The index round-trips, and refuses what it does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.index import INDEX_NAME, Totals, is_corpus, load_corpus
from pipeline.corpus.shard_records import RECORDS
from pipeline.storage import DatasetError, list_files, publish
from tests.contracts.corpora import write_corpus


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


def test_totals_of_no_shards_are_zero() -> None:
    assert Totals.of([], seconds=0) == Totals(rows=0, bytes=0, rejected=0, seconds=0.0)
