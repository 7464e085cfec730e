"""A corpus as a source: one record a row, the same from either format, damage named by shard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpus.columns import COLUMNS, ShardRows
from pipeline.corpus.formats import ShardName, SinkOptions, sink
from pipeline.corpus.index import CorpusIndex, Totals, write_index
from pipeline.corpus.shard_records import ShardRecord
from pipeline.images import ImageError, read_header, read_pixels
from pipeline.manifest.models import CorpusSource, Splits
from pipeline.sources import Scan, scan
from pipeline.storage import DatasetError

Texture = Callable[..., np.ndarray]
OPTIONS = SinkOptions(manifest_sha256="0" * 64, tool_version="0", settings={"rows_per_group": 2})
ROWS = 5


def shard_rows(clean: np.ndarray, noisy: np.ndarray, split: str, start: int) -> ShardRows:
    blank: dict[str, Any] = {"string": "x", "int32": 0, "uint64": 0, "float32": 0.0}
    columns = {name: [blank[column.kind]] * len(clean) for name, column in COLUMNS.items()}
    columns |= {
        "sample_id": [f"{split}-{start + i}" for i in range(len(clean))],
        "scene": [f"scene {i // 2}" for i in range(len(clean))],
        "camera": ["Nikon D800", None, "Canon", None, "Canon"][: len(clean)],
        "iso": [800, None, 100, None, 3200][: len(clean)],
        "split": [split] * len(clean),
        "domain": ["srgb"] * len(clean),
        "height": [clean.shape[1]] * len(clean),
        "width": [clean.shape[2]] * len(clean),
    }
    return ShardRows(clean=clean, noisy=noisy, columns=columns)


def make_corpus(
    root: Path, texture: Texture, *, dtype: str = "uint8", formats: tuple[str, ...]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write a corpus of one train and one val shard; returns their clean and noisy images."""
    pixels, shards = {}, []
    for index, split in enumerate(("train", "val")):
        pair = [np.stack([texture(16, 24, seed=100 * s + 10 * index + i) for i in range(ROWS)])
                for s in (1, 2)]  # fmt: skip
        factor = {"uint8": 1, "uint16": 257, "float32": 1 / 255}[dtype]
        clean, noisy = ((image * np.float64(factor)).astype(dtype) for image in pair)
        clean[4] = clean[3]  # one patch through two generators
        rows = shard_rows(clean, noisy, split, index * ROWS)
        name = ShardName(split=split, index=0, count=1)
        files = [sink(kind, OPTIONS).write(str(root), name, rows) for kind in formats]
        shards.append(
            ShardRecord(index=index, name=name.stem, split=split, rows=ROWS, planned=ROWS,
                        files=files, seconds=0.0, plan_sha256="0")
        )  # fmt: skip
        pixels[split] = (clean, noisy)
    empty = ShardRecord(index=2, name="test", split="test", rows=0, planned=3, files=(),
                        seconds=0.0, plan_sha256="0")  # fmt: skip
    every = [*shards, empty]
    index_ = CorpusIndex(
        name="c", manifest={"license": "CC-BY-4.0"}, manifest_sha256="0", plan_sha256="0", seed=0,
        created="2026-01-01T00:00:00Z", software={}, git=None, hardware={}, generators=(),
        sources=(), shards=every, totals=Totals.of(every, seconds=0.0),
    )  # fmt: skip
    write_index(str(root), index_)
    return pixels


def scan_corpus(root: Path | str, **options: Any) -> Scan:
    return scan([CorpusSource(type="corpus", path=str(root), **options)], Splits())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", ["hdf5", "parquet"])
def test_each_row_is_a_record_whose_uris_read_its_pixels(
    tmp_path: Path, texture: Texture, kind: str, dtype: str
) -> None:
    pixels = make_corpus(tmp_path, texture, dtype=dtype, formats=(kind,))
    result = scan_corpus(tmp_path)
    assert result.rejects == []
    assert len(result.records) == 2 * ROWS
    for number, record in enumerate(result.records):
        clean, noisy = pixels["train" if number < ROWS else "val"]
        row = number % ROWS
        np.testing.assert_array_equal(read_pixels(record.uri), clean[row])
        np.testing.assert_array_equal(read_pixels(str(record.noisy_uri)), noisy[row])
        assert (record.height, record.width, record.channels) == (16, 24, 3)
        assert record.depth == dtype
        assert read_header(record.uri).sha256 == record.sha256
        assert record.scene == f"scene {row // 2}"
        assert record.camera == ("Nikon D800", None, "Canon", None, "Canon")[row]
        assert record.iso == (800, None, 100, None, 3200)[row]
        assert record.split == ("train" if number < ROWS else "val")
        assert record.license == "CC-BY-4.0"


def test_both_formats_give_the_same_ids(tmp_path: Path, texture: Texture) -> None:
    make_corpus(tmp_path / "h", texture, formats=("hdf5",))
    make_corpus(tmp_path / "p", texture, formats=("parquet",))
    make_corpus(tmp_path / "both", texture, formats=("parquet", "hdf5"))
    ids = [
        [record.image_id for record in scan_corpus(tmp_path / name).records]
        for name in ("h", "p", "both")
    ]
    assert ids[0] == ids[1] == ids[2]
    assert ".h5#" in scan_corpus(tmp_path / "both").records[0].uri


def test_a_clean_patch_with_two_noises_is_two_pairs_but_one_photograph(
    tmp_path: Path, texture: Texture
) -> None:
    make_corpus(tmp_path, texture, formats=("hdf5",))
    pairs = scan_corpus(tmp_path, only=["train"])
    assert pairs.records[3].sha256 == pairs.records[4].sha256
    assert pairs.records[3].image_id != pairs.records[4].image_id
    clean = scan_corpus(tmp_path, only=["train"], pairs=False)
    assert len(clean.records) == ROWS - 1
    assert clean.rejects == []
    assert {record.noisy_uri for record in clean.records} == {None}


def test_only_the_wanted_splits_are_taken(tmp_path: Path, texture: Texture) -> None:
    make_corpus(tmp_path, texture, formats=("parquet",))
    assert {record.split for record in scan_corpus(tmp_path, only=["val"]).records} == {"val"}
    with pytest.raises(ValueError, match=r"no rows in splits test; it has train, val"):
        scan_corpus(tmp_path, only=["test"])


@pytest.mark.parametrize("kind", ["hdf5", "parquet"])
def test_a_shard_changed_by_one_byte_is_rejected_and_the_others_stay(
    tmp_path: Path, texture: Texture, kind: str
) -> None:
    make_corpus(tmp_path, texture, formats=(kind,))
    (shard,) = tmp_path.rglob("train-*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    result = scan_corpus(tmp_path)
    assert {record.split for record in result.records} == {"val"}
    assert [(Path(r.uri).name, r.reason) for r in result.rejects] == [(shard.name, "changed")]


def test_a_missing_shard_is_rejected_by_name(tmp_path: Path, texture: Texture) -> None:
    make_corpus(tmp_path, texture, formats=("hdf5",))
    (shard,) = tmp_path.rglob("val-*")
    shard.unlink()
    result = scan_corpus(tmp_path)
    assert {record.split for record in result.records} == {"train"}
    assert [(Path(r.uri).name, r.reason) for r in result.rejects] == [(shard.name, "unreadable")]


def test_a_folder_that_is_no_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not a corpus"):
        scan_corpus(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(DatasetError, match=r"corpus\.json is damaged"):
        scan_corpus(tmp_path)


@pytest.mark.parametrize("kind", ["hdf5", "parquet"])
def test_rows_that_are_not_there_are_image_errors(
    tmp_path: Path, texture: Texture, kind: str
) -> None:
    make_corpus(tmp_path, texture, formats=(kind,))
    (shard,) = tmp_path.rglob("train-*")
    for uri, reason in ((f"{shard}#99", "missing"), (f"{shard}x{shard.suffix}#0", "unreadable")):
        with pytest.raises(ImageError) as caught:
            read_pixels(uri)
        assert caught.value.reason == reason
        assert uri in str(caught.value)
    shard.write_bytes(b"no shard at all, whatever it is called")
    with pytest.raises(ImageError) as caught:
        read_pixels(f"{shard}#0")
    assert caught.value.reason == "unreadable"


def test_a_relative_corpus_gives_absolute_uris(
    tmp_path: Path, texture: Texture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus(tmp_path / "c", texture, formats=("hdf5",))
    monkeypatch.chdir(tmp_path)
    assert scan_corpus("c").records[0].uri.startswith(str(tmp_path))


def test_a_corpus_behind_a_url_is_read(tmp_path: Path, texture: Texture) -> None:
    pixels = make_corpus(tmp_path, texture, formats=("parquet",))
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(f"{tmp_path}/", "/corpus-source", recursive=True)
    result = scan_corpus("memory://corpus-source", only=["val"])
    assert len(result.records) == ROWS
    np.testing.assert_array_equal(read_pixels(result.records[1].uri), pixels["val"][0][1])
