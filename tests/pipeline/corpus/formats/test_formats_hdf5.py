"""What other readers of HDF5 find in a shard."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from noisemill.testing.formats import NAME
from noisemill.testing.rows import make_rows, options
from pipeline.corpus.columns import COLUMNS
from pipeline.corpus.formats import FileRecord, open_shard, sink


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, FileRecord]:
    record = sink("hdf5", options()).write(str(tmp_path), NAME, make_rows())
    return tmp_path, record


def test_one_chunk_holds_one_sample(written: tuple[Path, FileRecord]) -> None:
    with h5py.File(written[0] / written[1].path) as file:
        for key in ("clean", "noisy"):
            assert file[key].shape == (6, 16, 12, 3)
            assert file[key].chunks == (1, 16, 12, 3)
            assert file[key].compression is None


def test_every_dataset_has_one_value_a_row(written: tuple[Path, FileRecord]) -> None:
    with h5py.File(written[0] / written[1].path) as file:
        assert set(file) == {"clean", "noisy", *COLUMNS}
        assert {dataset.shape[0] for dataset in file.values()} == {6}


def test_unknown_is_empty_or_minus_one(written: tuple[Path, FileRecord]) -> None:
    with h5py.File(written[0] / written[1].path) as file:
        assert file["camera"].asstr()[:].tolist() == ["Nikon D800", "", "Ké:7"] * 2
        assert file["iso"][:].tolist() == [1600, -1, 100] * 2
        assert file["seed"].dtype == np.uint64


def test_file_format_is_that_of_hdf5_1_10(written: tuple[Path, FileRecord]) -> None:
    with h5py.File(written[0] / written[1].path) as file:
        assert file["clean"].id.get_create_plist().get_layout() == h5py.h5d.CHUNKED
    superblock = (written[0] / written[1].path).read_bytes()[:9]
    assert superblock == b"\x89HDF\r\n\x1a\n\x03"  # version 3: readable since 1.10


def test_a_shard_reads_while_it_is_open_elsewhere(written: tuple[Path, FileRecord]) -> None:
    with (
        h5py.File(written[0] / written[1].path) as file,
        open_shard(str(written[0]), written[1]) as shard,
    ):
        assert np.array_equal(shard.pair(2)[0], file["clean"][2])
