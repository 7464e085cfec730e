"""The summary counts what is there; the contact sheet shows it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisemill.testing.rows import make_rows
from pipeline.corpus.inspect import GAIN, draw_gallery, summarise
from pipeline.storage import read_bytes
from tests.contracts.corpora import write_corpus


def test_counts_agree_with_the_rows(tmp_path: Path) -> None:
    index = write_corpus(str(tmp_path))
    found = summarise(str(tmp_path))
    assert found.rows == 12
    assert found.splits == {"train": 9, "val": 3}
    assert found.generators == {"awgn": 7, "heteroscedastic": 5}
    assert found.captures == {("Ké:7", 100): 4, ("Nikon D800", 1600): 4, ("unknown", None): 4}
    assert found.image == {(16, 12): 12}
    assert sum(found.bytes.values()) == index.totals.bytes
    assert found.files == {"hdf5": 3, "parquet": 3}
    assert found.rejected == 3
    json.dumps(found.to_dict(), allow_nan=False)


def test_noise_levels_are_those_of_the_rows(tmp_path: Path) -> None:
    write_corpus(str(tmp_path), plan=(("train", 12),))
    rows = make_rows(12)
    levels = rows.columns["noise_std"][[key == "awgn" for key in rows.columns["generator"]]]
    found = summarise(str(tmp_path)).noise["awgn"]
    assert found.rows == 6
    assert found.median == pytest.approx(np.median(levels))
    assert (found.minimum, found.maximum) == (levels.min(), levels.max())


def test_a_line_shows_clean_noisy_and_amplified_noise(tmp_path: Path) -> None:
    write_corpus(str(tmp_path), plan=(("train", 1),))
    draw_gallery(str(tmp_path), str(tmp_path / "gallery.png"))
    sheet = np.asarray(Image.open(tmp_path / "gallery.png"))
    rows = make_rows(1)
    clean, noisy = rows.clean[0], rows.noisy[0]
    amplified = np.clip(0.5 + GAIN * (noisy / 255.0 - clean / 255.0), 0, 1)
    for tile in (clean, noisy, (255 * amplified).round().astype(np.uint8)):
        assert contains(sheet, tile.repeat(14, axis=0).repeat(14, axis=1))


def contains(sheet: np.ndarray, tile: np.ndarray) -> bool:
    height, width = tile.shape[:2]
    starts = np.argwhere((sheet == tile[0, 0]).all(axis=2))
    return any(
        np.array_equal(sheet[y : y + height, x : x + width], tile) for y, x in starts.tolist()
    )


@pytest.mark.parametrize(
    ("encoding", "channels", "size"), [("uint8", 1, 16), ("uint16", 4, 20), ("float32", 3, 300)]
)
def test_every_kind_of_image_can_be_drawn(
    encoding: str, channels: int, size: int, tmp_path: Path
) -> None:
    write_corpus(
        str(tmp_path),
        plan=(("train", 3),),
        encoding=encoding,
        channels=channels,
        height=size,
        width=size,
    )
    draw_gallery(str(tmp_path), str(tmp_path / "gallery.png"), rows=2)
    with Image.open(tmp_path / "gallery.png") as sheet:
        width, height = sheet.size
    assert 500 < width < 800
    assert 300 < height < 700


def test_lines_cover_generators_and_shots_before_repeating(tmp_path: Path) -> None:
    from pipeline.corpus.inspect import _choose
    from pipeline.corpus.reader import open_corpus

    write_corpus(str(tmp_path))
    reader = open_corpus(tmp_path)
    lines = _choose(reader, 6)
    keys = [(line[0][2]["generator"], line[0][2]["camera"]) for line in lines]
    assert len(lines) == len(set(keys)) == 6
    lines = _choose(reader, 50)
    many = [candidate[2]["sample_id"] for line in lines for candidate in line]
    assert len(many) == len(set(many)) == 12


def test_the_sheet_is_the_same_each_time_and_can_be_remote(tmp_path: Path) -> None:
    write_corpus(str(tmp_path))
    for name in ("a.png", "b.png"):
        draw_gallery(str(tmp_path), str(tmp_path / name))
    draw_gallery(str(tmp_path), "memory://gallery/c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert read_bytes("memory://gallery", "c.png") == (tmp_path / "a.png").read_bytes()


def test_wrong_calls_are_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a corpus"):
        draw_gallery(str(tmp_path), str(tmp_path / "gallery.png"))
    with pytest.raises(ValueError, match="at least one line"):
        draw_gallery(str(tmp_path), "x.png", rows=0)
