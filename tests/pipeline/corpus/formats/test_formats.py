"""Every sink keeps the contract, the contract can fail, and the formats agree with each other."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisemill.testing.formats import (
    CHECKS,
    ENCODINGS,
    NAME,
    colours_keep_their_order,
    reads_back_what_was_written,
)
from noisemill.testing.rows import make_rows, options
from pipeline.corpus.formats import ShardName, open_shard, sink
from pipeline.corpus.formats.hdf5 import Hdf5Sink
from pipeline.corpus.formats.parquet import ParquetSink
from pipeline.kinds import FORMATS
from pipeline.storage import DatasetError, StorageError, list_files


@pytest.mark.parametrize("format", FORMATS.names())
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_contract(check: Any, format: Any, tmp_path: Path) -> None:
    check(sink(format, options()), str(tmp_path))


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_compressed_hdf5_reads_back(compression: Any, tmp_path: Path) -> None:
    writer = sink("hdf5", options(hdf5_compression=compression))
    reads_back_what_was_written(writer, str(tmp_path))


@pytest.mark.parametrize("format", FORMATS.names())
def test_remote_shards_are_the_local_ones(format: Any, tmp_path: Path) -> None:
    writer = sink(format, options())
    remote = f"memory://sinks-{format}"
    reads_back_what_was_written(writer, remote)
    record = writer.write(remote, NAME, make_rows())
    assert record == writer.write(str(tmp_path), NAME, make_rows())


class SwappedColours(ParquetSink):
    def _pictures(self, key: str, image: np.ndarray, rows: Any) -> Any:
        return super()._pictures(key, image[..., ::-1], rows)


class LosesTheLastRow(Hdf5Sink):
    def encode(self, name: Any, rows: Any) -> Any:
        return super().encode(name, make_rows(len(rows) - 1))


@pytest.mark.parametrize("broken", [SwappedColours, LosesTheLastRow])
def test_contract_notices_a_broken_sink(broken: Any, tmp_path: Path) -> None:
    check = colours_keep_their_order if broken is SwappedColours else reads_back_what_was_written
    with pytest.raises(AssertionError):
        check(broken(options()), str(tmp_path))


@pytest.mark.parametrize(("encoding", "channels"), ENCODINGS)
def test_both_formats_hold_identical_pixels_and_columns(
    encoding: str, channels: int, tmp_path: Path
) -> None:
    rows = make_rows(encoding=encoding, channels=channels)
    found = []
    for format in FORMATS.names():
        with open_shard(
            str(tmp_path), sink(format, options()).write(str(tmp_path), NAME, rows)
        ) as shard:
            found.append(
                (shard.images(0, 6), shard.columns(list(rows.columns)), dict(shard.attributes))
            )
    (a, left, said), (b, right, also) = found
    assert left == right
    assert said == also
    for one, two in zip(a, b, strict=True):
        assert one.dtype == two.dtype
        assert np.array_equal(one, two)


@pytest.mark.parametrize("format", FORMATS.names())
def test_a_closed_shard_opens_again(format: Any, tmp_path: Path) -> None:
    rows = make_rows()
    shard = open_shard(str(tmp_path), sink(format, options()).write(str(tmp_path), NAME, rows))
    shard.close()
    shard.close()
    assert np.array_equal(shard.pair(1)[1], rows.noisy[1])
    shard.close()
    assert shard.columns(["seed"])["seed"] == rows.columns["seed"].tolist()
    shard.close()


@pytest.mark.parametrize("format", FORMATS.names())
def test_rows_out_of_range_are_refused(format: Any, tmp_path: Path) -> None:
    record = sink(format, options()).write(str(tmp_path), NAME, make_rows())
    with open_shard(str(tmp_path), record) as shard, pytest.raises(IndexError, match="no row 6"):
        shard.pair(6)


@pytest.mark.parametrize("format", FORMATS.names())
def test_rows_of_another_split_are_refused(format: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds rows of val"):
        sink(format, options()).write(str(tmp_path), NAME, make_rows(split="val"))
    assert list_files(str(tmp_path)) == []


@pytest.mark.parametrize("format", FORMATS.names())
def test_a_file_too_large_for_its_place_leaves_nothing(format: Any, tmp_path: Path) -> None:
    kept = sink(format, options()).write(
        str(tmp_path), ShardName(split="train", index=0, count=12), make_rows(1)
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*smaller shards"):
            sink(format, options()).write(str(tmp_path), NAME, make_rows(40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list_files(str(tmp_path)) == [kept.path]


@pytest.mark.parametrize("format", FORMATS.names())
def test_a_full_disk_is_one_clear_line(
    format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        sink(format, options()).write(str(tmp_path), NAME, make_rows())
    assert caught.value.errno == errno.ENOSPC
    assert list_files(str(tmp_path)) == []


@pytest.mark.parametrize("format", FORMATS.names())
@pytest.mark.parametrize("damage", ["empty", "text", "half", "other"])
def test_damaged_files_are_named(damage: str, format: Any, tmp_path: Path) -> None:
    record = sink(format, options()).write(str(tmp_path), NAME, make_rows())
    path = tmp_path / record.path
    data = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "text": b"hello" * 99, "half": data[: len(data) // 2]}.get(damage, data)
    )
    if damage == "other":
        path.write_bytes(foreign_file(format))
    with pytest.raises(DatasetError, match=path.name):
        open_shard(str(tmp_path), record).images(0, 6)


def foreign_file(format: str) -> bytes:
    import io

    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    if format == "hdf5":
        with h5py.File(buffer, "w") as file:
            file["clean"] = np.zeros((2, 4, 4, 3), np.uint8)
    else:
        pq.write_table(pa.table({"clean": [1, 2]}), buffer)
    return buffer.getvalue()


def test_a_newer_version_is_told_apart_from_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.corpus.formats.base.FORMAT_VERSION", 2)
    record = sink("hdf5", options()).write(str(tmp_path), NAME, make_rows())
    monkeypatch.undo()
    with pytest.raises(DatasetError, match=r"format version 2.*newer noisemill"):
        open_shard(str(tmp_path), record)


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="there are hdf5, parquet"):
        sink("zarr", options())


def test_shard_numbers_stay_below_their_count() -> None:
    with pytest.raises(ValueError, match="must be in"):
        ShardName(split="train", index=2, count=2)
