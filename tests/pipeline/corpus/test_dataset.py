"""The torch dataset gives the stored pixels, whatever the format and however workers start."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import pipeline.corpus.reader
from noisemill.testing.rows import GENERATORS, make_rows
from pipeline.corpus.dataset import CorpusDataset
from tests.contracts.corpora import write_corpus

# Python 3.12 warns at any fork of a process with threads; forking workers is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("corpus"))
    write_corpus(folder)
    return folder


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
@pytest.mark.parametrize(
    ("encoding", "channels"), [("uint8", 3), ("uint8", 1), ("uint16", 4), ("float32", 3)]
)
def test_samples_are_the_stored_pixels_in_unit_range(
    encoding: str, channels: int, format: str, tmp_path: Path
) -> None:
    write_corpus(str(tmp_path), encoding=encoding, channels=channels)
    data = CorpusDataset(tmp_path, split="train", format=format)
    rows = make_rows(9, encoding=encoding, channels=channels)
    top = {"uint8": 255, "uint16": 65535, "float32": 1}[encoding]
    assert len(data) == 9
    for number, sample in enumerate(data[i] for i in range(9)):
        for key, images in (("clean", rows.clean), ("noisy", rows.noisy)):
            expected = images[number].astype(np.float32) / np.float32(top)
            assert sample[key].dtype == torch.float32
            assert sample[key].is_contiguous()
            assert torch.equal(sample[key], torch.from_numpy(expected.transpose(2, 0, 1).copy()))
        assert sample["sample_id"] == rows.columns["sample_id"][number]
        assert sample["camera"] == (rows.columns["camera"][number] or "")
        assert sample["iso"] == (rows.columns["iso"][number] or -1)
        assert sample["generator"] == rows.columns["generator"][number]


def test_the_corpus_can_be_remote() -> None:
    write_corpus("memory://dataset")
    for format in ("hdf5", "parquet"):
        data = CorpusDataset("memory://dataset", format=format)
        assert torch.equal(data[7]["noisy"], CorpusDataset("memory://dataset")[7]["noisy"])


def test_rows_are_chosen_by_split_and_generator(root: str) -> None:
    everything = [sample["sample_id"] for sample in map(CorpusDataset(root).__getitem__, range(12))]
    assert len(set(everything)) == 12
    chosen = []
    for split in ("train", "val"):
        for key in GENERATORS:
            data = CorpusDataset(root, split=split, generators=[key])
            samples = [data[i] for i in range(len(data))]
            assert {sample["generator"] for sample in samples} == {key}
            chosen += [sample["sample_id"] for sample in samples]
    assert sorted(chosen) == sorted(everything)
    assert len(CorpusDataset(root, generators=GENERATORS)) == 12
    assert len(CorpusDataset(root, generators=[])) == 0


def test_indices_behave_like_a_list(root: str) -> None:
    data = CorpusDataset(root)
    assert data[-1]["sample_id"] == data[11]["sample_id"]
    for index in (12, -13):
        with pytest.raises(IndexError, match="12 samples"):
            data[index]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"split": "test"}, "no split 'test'; it has train, val"),
        ({"format": "zarr"}, "no format 'zarr'; it has hdf5, parquet"),
        ({"generators": ["naflow"]}, "no generator 'naflow'; it has awgn, heteroscedastic"),
    ],
)
def test_a_wrong_choice_is_explained(choice: dict[str, Any], message: str, root: str) -> None:
    with pytest.raises(ValueError, match=message):
        CorpusDataset(root, **choice)


def test_a_transform_comes_last(root: str) -> None:
    data = CorpusDataset(root, transform=lambda sample: {"level": sample["noisy"].mean()})
    assert set(data[0]) == {"level"}


@pytest.mark.parametrize(
    ("start", "format"), [("fork", "hdf5"), ("fork", "parquet"), ("spawn", "hdf5")]
)
def test_workers_give_the_same_samples(start: str, format: str, root: str) -> None:
    data = CorpusDataset(root, format=format)
    expected = {sample["sample_id"]: sample for sample in (data[i] for i in range(len(data)))}
    # Shards are open in this process by now: forked workers inherit the handles.
    loader = DataLoader(
        data, batch_size=2, num_workers=2, multiprocessing_context=start, shuffle=False
    )
    for _ in range(2 if start == "fork" else 1):
        seen = []
        for batch in loader:
            for row, sample_id in enumerate(batch["sample_id"]):
                for key in ("clean", "noisy"):
                    assert torch.equal(batch[key][row], expected[sample_id][key])
                assert batch["iso"][row] == expected[sample_id]["iso"]
            seen += batch["sample_id"]
        assert seen == list(expected)
    assert torch.equal(data[3]["clean"], expected[list(expected)[3]]["clean"])


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_pickling_leaves_handles_behind(format: str, root: str) -> None:
    data = CorpusDataset(root, format=format)
    data[0]
    copy = pickle.loads(pickle.dumps(data))
    assert not copy.reader._open
    assert torch.equal(copy[5]["noisy"], data[5]["noisy"])


def test_another_process_opens_its_own_files(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = CorpusDataset(root)
    data[0]
    inherited = data.reader.shard(0)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    data[0]
    assert data.reader.shard(0) is not inherited


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_open_files_are_limited(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.corpus.reader, "_OPEN_SHARDS", 2)
    write_corpus(str(tmp_path), plan=[("train", 2)] * 5)
    data = CorpusDataset(tmp_path, format=format)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    first = [data[i]["sample_id"] for i in range(10)]
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert [data[i]["sample_id"] for i in range(10)] == first
    data.close()
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before
    assert data[4]["sample_id"] == first[4]


def test_a_shard_without_rows_is_passed_over(tmp_path: Path) -> None:
    import dataclasses

    from pipeline.corpus.index import write_index

    index = write_corpus(str(tmp_path))
    empty = dataclasses.replace(index.shards[0], rows=0, files=())
    write_index(str(tmp_path), dataclasses.replace(index, shards=[empty, *index.shards[1:]]))
    data = CorpusDataset(tmp_path)
    assert len(data) == 7
    assert data[0]["sample_id"] == make_rows(1, first=5).columns["sample_id"][0]
