"""The check passes what was written and names whatever was changed afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisemill.testing.rows import make_rows, options
from pipeline.corpus.columns import ShardRows
from pipeline.corpus.formats import ShardName, sink
from pipeline.corpus.index import CorpusIndex, write_index
from pipeline.corpus.shard_records import ShardRecord
from pipeline.corpus.verify import verify
from pipeline.kinds import FORMATS
from pipeline.storage import publish
from tests.contracts.corpora import make_index, write_corpus


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("encoding", ["uint8", "uint16", "float32"])
def test_a_fresh_corpus_is_in_order(encoding: str, deep: bool, tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path), encoding=encoding)
    report = verify(str(tmp_path), deep=deep)
    assert report.problems == []
    assert report.ok
    assert (report.files, report.rows, report.bytes) == (6, 12, index.totals.bytes)


def test_a_remote_corpus_is_checked_the_same() -> None:
    write_corpus("memory://verify")
    assert verify("memory://verify", deep=True).ok


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("format", FORMATS.names())
def test_one_changed_byte_is_found_and_named(format: str, place: float, tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path))
    victim = next(f for f in index.shards[1].files if f.format == format)
    path = tmp_path / victim.path
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0x10
    path.write_bytes(data)
    problems = verify(str(tmp_path), deep=False).problems
    assert problems[0].startswith(f"{victim.path}: changed since")
    # The other format of the shard is untouched and stays unsuspected.
    assert len(problems) == 1


def test_missing_cut_and_stray_files_are_all_reported(tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path))
    gone, cut = index.shards[0].files[0].path, index.shards[2].files[1].path
    (tmp_path / gone).unlink()
    (tmp_path / cut).write_bytes((tmp_path / cut).read_bytes()[:-7])
    publish(str(tmp_path), "data/train-00007-of-00008.parquet", b"from another run")
    publish(str(tmp_path), "hdf5/.tmp-12-34", b"half")
    publish(str(tmp_path), "_records/train-00007-of-00008.json", b"{}")
    publish(str(tmp_path), "report.html", b"is no shard")
    problems = verify(str(tmp_path), deep=False).problems
    assert sorted({line.split(":")[0] for line in problems}) == sorted(
        [
            gone,
            cut,
            "data/train-00007-of-00008.parquet",
            "hdf5/.tmp-12-34",
            "_records/train-00007-of-00008.json",
        ]
    )


def test_no_corpus_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a corpus"):
        verify(str(tmp_path), deep=False)


def corpus_of(root: str, *shards: tuple[str, dict[str, ShardRows]]) -> CorpusIndex:
    """Write shards whose formats may hold different rows, under honest hashes."""
    records = []
    for number, (split, tables) in enumerate(shards):
        name = ShardName(split=split, index=number, count=len(shards))
        files = [
            sink(format, options()).write(root, name, rows)  # type: ignore[arg-type]
            for format, rows in tables.items()
        ]
        rows = files[0].rows
        records.append(
            ShardRecord(
                index=number,
                name=name.stem,
                split=split,
                rows=rows,
                planned=rows,
                files=files,
                seconds=0.1,
                plan_sha256="p",
            )
        )
    index = make_index(records)
    write_index(root, index)
    return index


def changed(rows: ShardRows, **columns: Any) -> ShardRows:
    return ShardRows(clean=rows.clean, noisy=rows.noisy, columns={**rows.columns, **columns})


def other_pixel(rows: ShardRows) -> ShardRows:
    noisy = rows.noisy.copy()
    noisy[2, 0, 0, 0] ^= 1
    return ShardRows(clean=rows.clean, noisy=noisy, columns=rows.columns)


def test_formats_with_different_pixels_are_found(tmp_path: Path) -> None:
    rows = make_rows()
    corpus_of(str(tmp_path), ("train", {"hdf5": rows, "parquet": other_pixel(rows)}))
    assert verify(str(tmp_path), deep=False).ok
    problems = verify(str(tmp_path), deep=True).problems
    assert any("noisy pixels of rows 0.. differ from hdf5/" in line for line in problems)


def test_formats_with_different_columns_are_found(tmp_path: Path) -> None:
    rows = make_rows()
    corpus_of(
        str(tmp_path),
        ("train", {"hdf5": rows, "parquet": changed(rows, seed=np.arange(6).tolist())}),
    )
    assert any("'seed' differs" in line for line in verify(str(tmp_path), deep=False).problems)


def test_a_wrong_noise_level_is_found(tmp_path: Path) -> None:
    rows = make_rows()
    levels = rows.columns["noise_std"].copy()
    levels[4] += 1e-3
    corpus_of(str(tmp_path), ("train", {"hdf5": changed(rows, noise_std=levels)}))
    problems = verify(str(tmp_path), deep=True).problems
    assert len(problems) == 1
    assert "1 rows have another noise level" in problems[0]
    assert rows.columns["sample_id"][4] in problems[0]


Change = Callable[[ShardRows], ShardRows]


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("train", lambda rows: rows, "samples are in hdf5/train-00000"),
        (
            "val",
            lambda rows: changed(rows, sample_id=[f"n{i}" for i in range(6)], split=["val"] * 6),
            "scene 'train-0' is in split val, and in train",
        ),
        (
            "val",
            lambda rows: changed(
                rows,
                sample_id=[f"n{i}" for i in range(6)],
                split=["val"] * 6,
                scene=[f"other-{i}" for i in range(6)],
            ),
            "photograph '",
        ),
        (
            "train",
            lambda rows: changed(
                rows, sample_id=[f"n{i}" for i in range(6)], generator=["mystery"] * 6
            ),
            "generators that the index does not list: mystery",
        ),
        (
            "train",
            lambda rows: changed(
                rows, sample_id=[f"n{i}" for i in range(6)], params=["{sigma"] * 6
            ),
            "params are no JSON",
        ),
    ],
    ids=["ids", "scenes", "photographs", "generators", "params"],
)
def test_contradictions_between_shards_are_found(
    split: str, change: Change, message: str, tmp_path: Path
) -> None:
    rows = make_rows()
    corpus_of(str(tmp_path), ("train", {"hdf5": rows}), (split, {"hdf5": change(rows)}))
    problems = verify(str(tmp_path), deep=False).problems
    assert any(message in line for line in problems), problems


def test_false_totals_and_counts_are_found(tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path))
    shard = dataclasses.replace(index.shards[0], rows=index.shards[0].rows + 1)
    write_index(str(tmp_path), dataclasses.replace(index, shards=[shard, *index.shards[1:]]))
    problems = verify(str(tmp_path), deep=False).problems
    assert any("totals differ" in line for line in problems)
    assert any("5 rows; the index lists 5 of 6" in line for line in problems)


def test_a_shard_of_another_manifest_is_found(tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path), plan=(("train", 2),))
    write_index(str(tmp_path), dataclasses.replace(index, manifest_sha256="d" * 64))
    problems = verify(str(tmp_path), deep=False).problems
    assert [line for line in problems if "another manifest" in line]


def test_a_changed_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = write_corpus(str(tmp_path), formats=["hdf5"], plan=(("train", 2),))
    path = tmp_path / index.shards[0].files[0].path
    path.write_bytes(path.read_bytes() + b"x")

    def fail(root: str, file: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("pipeline.corpus.verify.open_shard", fail)
    assert len(verify(str(tmp_path), deep=True).problems) == 1
