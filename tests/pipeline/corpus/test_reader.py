"""One way to open a corpus: it selects, prefers, checks and keeps; a row has all that is stored."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline.corpus.reader
from noisemill.testing.rows import GENERATORS, make_rows
from pipeline.corpus.columns import COLUMNS
from pipeline.corpus.damage import damage
from pipeline.corpus.reader import CorpusReader, open_corpus, preferred_file
from pipeline.corpus.verify import verify
from pipeline.storage import DatasetError
from tests.contracts.corpora import write_corpus


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("corpus"))
    write_corpus(folder)
    return folder


@pytest.mark.parametrize("format", [None, "hdf5", "parquet"])
def test_a_row_is_its_stored_pixels_and_every_column(root: str, format: str | None) -> None:
    reader, rows = open_corpus(root, splits=["train"], format=format), make_rows(9)
    assert len(reader) == 9
    for number, row in enumerate(reader):
        assert set(row) == {"clean", "noisy", *COLUMNS}
        np.testing.assert_array_equal(row["clean"], rows.clean[number])
        np.testing.assert_array_equal(row["noisy"], rows.noisy[number])
        assert {name: row[name] for name in COLUMNS} == {
            name: list(rows.columns[name])[number] for name in COLUMNS
        }
    assert reader[-1]["sample_id"] == reader[8]["sample_id"]
    for number in (9, -10):
        with pytest.raises(IndexError, match="9 rows"):
            reader[number]


def test_splits_and_generators_divide_a_corpus(root: str) -> None:
    everything = [row["sample_id"] for row in open_corpus(root)]
    chosen = [
        row["sample_id"]
        for split in ("train", "val")
        for key in GENERATORS
        for row in open_corpus(root, splits=[split], generators=[key])
    ]
    assert len(set(everything)) == 12
    assert sorted(chosen) == sorted(everything)
    assert open_corpus(root, generators=[GENERATORS[1]]).generators == [GENERATORS[1]]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"splits": ["test"]}, "no split 'test'; it has train, val"),
        ({"format": "zarr"}, "no format 'zarr'; it has hdf5, parquet"),
        ({"generators": ["naflow"]}, "no generator 'naflow'; it has awgn, heteroscedastic"),
    ],
)
def test_a_choice_that_is_not_there_is_refused_with_what_is(
    choice: dict[str, Any], message: str, root: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_corpus(root, **choice)


def test_single_rows_are_preferred_whatever_the_order_of_the_files(root: str) -> None:
    for shard in open_corpus(root).index.shards:
        for files in (shard.files, shard.files[::-1]):
            assert preferred_file(files).format == "hdf5"  # type: ignore[union-attr]
            assert preferred_file(files, "parquet").format == "parquet"  # type: ignore[union-attr]
    assert preferred_file([]) is None
    assert open_corpus(root).single_rows
    assert not open_corpus(root, format="parquet").single_rows


@pytest.mark.parametrize("harm", ["missing", "shorter", "altered"])
def test_damage_is_told_in_one_wording(harm: str, tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path), formats=["hdf5"])
    file = index.shards[1].files[0]
    path = tmp_path / file.path
    good = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(good[:-9] if harm == "shorter" else good[:-1] + bytes([good[-1] ^ 1]))
    told = damage(str(tmp_path), file)
    assert told is not None
    assert told.startswith(f"{file.path}: ")
    assert told in verify(str(tmp_path), deep=False).problems
    with pytest.raises(DatasetError) as caught:
        open_corpus(tmp_path, check="checksums")
    assert told in str(caught.value)
    assert "Run the corpus's manifest again" in str(caught.value)
    if harm == "altered":  # of the right size
        open_corpus(tmp_path, check="sizes")


def test_files_stay_open_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.corpus.reader, "_OPEN_SHARDS", 2)
    write_corpus(str(tmp_path), plan=[("train", 2)] * 5)
    reader = open_corpus(tmp_path)
    first = [row["sample_id"] for row in reader]
    assert len(reader._open) == 2
    assert [row["sample_id"] for row in reader] == first
    reader.close()
    assert len(reader._open) == 0
    assert reader[4]["sample_id"] == first[4]


def _ids(reader: CorpusReader) -> list[str]:
    return [row["sample_id"] for row in reader]


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_other_processes_open_their_own_files(start: str, root: str) -> None:
    reader = open_corpus(root)
    expected = _ids(reader)  # open here by now
    with get_context(start).Pool(1) as pool:
        assert pool.map(_ids, [reader]) == [expected]
    assert len(pickle.loads(pickle.dumps(reader))._open) == 0
    inherited = reader.shard(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        assert reader.shard(0) is not inherited


def test_threads_may_open_files_of_their_own(root: str) -> None:
    reader = open_corpus(root)

    def count(number: int) -> int:
        with reader.opened(number) as shard:
            return shard.rows

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(count, range(len(reader.files)))) == len(reader)
