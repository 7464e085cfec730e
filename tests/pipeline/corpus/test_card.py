"""The card says what is in the corpus, and its head opens it as pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from noisemill.testing.rows import make_rows
from pipeline.corpus.card import write_card
from pipeline.corpus.index import INDEX_NAME
from tests.contracts.corpora import write_corpus


def card(root: Path, **rows: Any) -> tuple[dict[str, Any], str]:
    write_card(str(root), write_corpus(str(root), **rows))
    _, head, body = (root / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_head_names_the_files_of_each_split(tmp_path: Path) -> None:
    head, _ = card(tmp_path)
    assert head["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "data/train-*.parquet"},
                {"split": "validation", "path": "data/val-*.parquet"},
            ],
        }
    ]
    for entry in head["configs"][0]["data_files"]:
        assert list(tmp_path.glob(entry["path"]))
    assert head["license"] == "cc0-1.0"
    assert head["task_categories"] == ["image-to-image"]
    assert head["size_categories"] == ["n<1K"]


def test_tensors_are_not_offered_as_pictures(tmp_path: Path) -> None:
    head, body = card(tmp_path, encoding="uint16", formats=["parquet"])
    assert "configs" not in head
    assert "load_dataset" not in body
    both, _ = card(tmp_path / "both", encoding="uint16")
    assert both["configs"][0]["data_files"][0]["path"] == "hdf5/train-*.h5"


def test_the_body_tells_generators_cameras_licences_and_checksums(tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path))
    write_card(str(tmp_path), index)
    text = (tmp_path / "README.md").read_text()
    assert "12 pairs" in text
    assert "| `heteroscedastic` | heteroscedastic | 1 | some `cccccccccccc` | 5 |" in text
    assert "| Nikon D800 | 1600 | 4 |" in text
    assert "| unknown | unknown | 4 |" in text
    assert "| photographs | images | 5 | CC0-1.0 |" in text
    assert "| `heteroscedastic` | some | CC-BY-4.0 |" in text
    for shard in index.shards:
        for file in shard.files:
            assert file.sha256 in text


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        (None, {"license": "unknown"}),
        ("CC BY 4.0", {"license": "cc-by-4.0"}),
        ("Our own terms", {"license": "other", "license_name": "our-own-terms"}),
    ],
)
def test_licences_are_spelled_as_the_hub_wants(
    license: str | None, expected: dict[str, str], tmp_path: Path
) -> None:
    index = write_corpus(str(tmp_path))
    manifest = {**index.manifest, "license": license, "description": "A | B: *C*"}
    write_card(str(tmp_path), dataclasses.replace(index, manifest=manifest))
    head = yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])
    assert {key: head[key] for key in expected} == expected


def test_the_card_can_be_written_before_the_index(tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path))
    (tmp_path / INDEX_NAME).unlink()
    write_card(str(tmp_path), index)
    assert (tmp_path / "README.md").exists()


def test_hugging_face_opens_the_folder_with_no_options(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    card(tmp_path)
    opened = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in opened.items()} == {"train": 9, "validation": 3}
    assert np.array_equal(np.asarray(opened["train"][6]["clean"]), make_rows(7).clean[6])
