"""Pairs: by CSV or by globs, each mistake named with its place, nothing lost in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.manifest.models import PairsSource, Splits
from pipeline.sources import Scan, scan

Texture = Callable[..., np.ndarray]
WriteImage = Callable[[Path, np.ndarray], Path]
GLOBS = {"clean": "*_mean.png", "noisy": "*_Real.png"}


def scan_pairs(path: Path, splits: Splits | None = None, **options: object) -> Scan:
    source = PairsSource(type="pairs", path=str(path), **options)
    return scan([source], splits or Splits())


def scan_csv(path: Path, text: str | bytes, **options: object) -> Scan:
    data = text.encode() if isinstance(text, str) else text
    (path / "metadata.csv").write_bytes(data)
    return scan_pairs(path, metadata="metadata.csv", **options)


def reasons(result: Scan) -> dict[str, str]:
    return {Path(reject.uri).name: reject.reason for reject in result.rejects}


ROWS = (
    "scene,clean,noisy,camera,iso,split\n"
    "desk,desk_mean.png,desk_Real.png,Nikon D800,3200,train\n"
    "wall,wall_mean.png,wall_Real.png,,,val\n"
)


def test_a_csv_gives_names_cameras_isos_and_splits(pair_folder: Path) -> None:
    result = scan_csv(pair_folder, ROWS)
    desk, wall = result.records
    assert result.rejects == []
    assert (desk.scene, desk.camera, desk.iso, desk.split) == ("desk", "Nikon D800", 3200, "train")
    assert (wall.scene, wall.camera, wall.iso, wall.split) == ("wall", None, None, "val")
    assert desk.uri == str(pair_folder / "desk_mean.png")
    assert desk.noisy_uri == str(pair_folder / "desk_Real.png")
    assert desk.noisy_sha256 not in (None, desk.sha256)


def test_camera_iso_and_split_of_the_source_fill_gaps(pair_folder: Path) -> None:
    rows = ROWS.replace(",val\n", ",\n")
    records = scan_csv(pair_folder, rows, camera="Canon", iso=100, split="test").records
    assert [(r.camera, r.iso, r.split) for r in records] == [
        ("Nikon D800", 3200, "train"),
        ("Canon", 100, "test"),
    ]


def test_a_csv_from_a_spreadsheet_is_read(pair_folder: Path) -> None:
    text = "\ufeff" + ROWS.replace("\n", "\r\n").replace("Nikon D800", '"Nikon, D800"')
    assert scan_csv(pair_folder, text).records[0].camera == "Nikon, D800"


def test_only_the_wanted_splits_are_taken_and_their_files_alone_are_opened(
    pair_folder: Path,
) -> None:
    (pair_folder / "desk_Real.png").write_bytes(b"damaged, and of no interest")
    result = scan_csv(pair_folder, ROWS, only=["val"])
    assert [record.scene for record in result.records] == ["wall"]
    assert result.rejects == []
    with pytest.raises(ValueError, match=r"no pair of .* in splits test.*train, val"):
        scan_csv(pair_folder, ROWS, only=["test"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "clean,noisy",
            "sharp,noisy",
            r"metadata\.csv, line 1: no column clean; found scene, sharp",
        ),
        ("3200", "fast", r"metadata\.csv, line 2: iso 'fast'"),
        ("3200", "-3200", "line 2: iso '-3200'"),
        ("3200", "0", "line 2: iso '0'"),
        ("3200", "3200.5", "line 2: iso '3200.5'"),
        ("3200", "9" * 30, "line 2: iso"),
        ("val\n", "valid\n", "line 3: split 'valid'; expected train, val, test"),
        ("wall_Real.png", "", "line 3: column noisy is empty"),
        ("wall_mean.png", "", "line 3: column clean is empty"),
        ("val\n", "val,more\n", "line 3: more cells than columns"),
        (ROWS, "", "expected a CSV"),
        (ROWS, "\n", "line 1: no column clean and noisy; found nothing"),
        (ROWS, ROWS.splitlines()[0], "a header and no rows"),
        ("Nikon D800", '"Nikon D800', "after line 1: unexpected end of data"),
        (",val\n", "\n", "line 3: fewer cells than columns"),
    ],
)
def test_a_mistake_in_a_csv_is_named_with_its_line(
    pair_folder: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scan_csv(pair_folder, ROWS.replace(old, new))


def test_all_mistakes_of_a_csv_are_reported_at_once(pair_folder: Path) -> None:
    text = ROWS.replace("3200", "fast").replace(",val", ",valid")
    with pytest.raises(ValueError, match=r"line 2: iso 'fast'.*line 3: split 'valid'"):
        scan_csv(pair_folder, text)


def test_a_csv_that_is_missing_or_not_utf8_is_named(pair_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"other\.csv does not exist"):
        scan_pairs(pair_folder, metadata="other.csv")
    with pytest.raises(ValueError, match="not UTF-8"):
        scan_csv(pair_folder, ROWS.replace("Nikon D800", "Caméra").encode("latin-1"))


def test_a_scene_in_two_splits_is_an_error(pair_folder: Path) -> None:
    with pytest.raises(ValueError, match="scene 'desk' is in two splits"):
        scan_csv(pair_folder, ROWS.replace("wall,wall", "desk,wall"))


def test_the_same_clean_image_in_two_splits_is_an_error(pair_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"desk_mean\.png in train.*desk_mean\.png in val"):
        scan_csv(pair_folder, ROWS.replace("wall_mean", "desk_mean"))


def test_a_clean_image_with_two_partners_is_taken_once(pair_folder: Path) -> None:
    text = ROWS.replace("wall_mean", "desk_mean").replace(",val", ",train")
    result = scan_csv(pair_folder, text)
    assert [record.scene for record in result.records] == ["desk"]
    assert reasons(result) == {"desk_mean.png": "duplicate"}


@pytest.mark.parametrize("gone", ["desk_mean.png", "desk_Real.png"])
def test_a_file_of_a_csv_that_is_not_there_is_a_missing_partner(
    pair_folder: Path, gone: str
) -> None:
    (pair_folder / gone).unlink()
    result = scan_csv(pair_folder, ROWS)
    assert [record.scene for record in result.records] == ["wall"]
    assert reasons(result) == {gone: "missing-partner"}


def test_globs_pair_files_by_the_text_of_their_wildcards(pair_folder: Path) -> None:
    result = scan_pairs(pair_folder, **GLOBS, camera="Canon", iso=800)
    assert result.rejects == []
    assert [record.scene for record in result.records] == ["desk", "wall"]
    for record in result.records:
        assert record.uri.endswith(f"{record.scene}_mean.png")
        assert str(record.noisy_uri).endswith(f"{record.scene}_Real.png")
        assert (record.camera, record.iso) == ("Canon", 800)


def test_globs_reach_into_folders(pair_folder: Path) -> None:
    for old, new in (("desk_mean.png", "gt/x/desk.png"), ("desk_Real.png", "in/x/desk.png")):
        (pair_folder / new).parent.mkdir(parents=True)
        (pair_folder / old).rename(pair_folder / new)
    result = scan_pairs(pair_folder, clean="gt/**/*.png", noisy="in/**/*.png")
    assert [record.scene for record in result.records] == ["x/desk"]


@pytest.mark.parametrize("noisy", ["*_noisy.png", "*_n.png"])
def test_a_glob_that_also_fits_the_noisy_files_does_not_take_them(
    pair_folder: Path, noisy: str
) -> None:
    for name in ("desk", "wall"):
        (pair_folder / f"{name}_mean.png").rename(pair_folder / f"{name}.png")
        (pair_folder / f"{name}_Real.png").rename(pair_folder / noisy.replace("*", name))
    result = scan_pairs(pair_folder, clean="*.png", noisy=noisy)
    assert [record.scene for record in result.records] == ["desk", "wall"]
    assert result.rejects == []


@pytest.mark.parametrize("gone", ["desk_mean.png", "desk_Real.png"])
def test_a_file_without_partner_is_rejected(pair_folder: Path, gone: str) -> None:
    (pair_folder / gone).unlink()
    result = scan_pairs(pair_folder, **GLOBS)
    assert [record.scene for record in result.records] == ["wall"]
    lonely = "desk_Real.png" if gone == "desk_mean.png" else "desk_mean.png"
    assert reasons(result) == {lonely: "missing-partner"}


def test_no_pair_at_all_is_an_error_that_counts_what_was_found(pair_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"2 images fit clean.*0 fit noisy.*4 images in all"):
        scan_pairs(pair_folder, clean="*_mean.png", noisy="*_real.png")
    with pytest.raises(ValueError, match=r"has 1 wildcards and noisy 'b\.png' has 0"):
        scan_pairs(pair_folder, clean="*_mean.png", noisy="b.png")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        scan_pairs(pair_folder / "nowhere", **GLOBS)


def test_pairs_of_unequal_size_are_rejected(
    pair_folder: Path, texture: Texture, write_image: WriteImage
) -> None:
    write_image(pair_folder / "desk_Real.png", texture(48, 63))
    write_image(pair_folder / "wall_Real.png", texture(channels=1))
    result = scan_pairs(pair_folder, **GLOBS)
    assert result.records == []
    assert reasons(result) == {"desk_Real.png": "size-mismatch", "wall_Real.png": "size-mismatch"}
    assert "(48, 63, 3)" in result.rejects[0].detail
    assert "(48, 64, 3)" in result.rejects[0].detail


def test_a_damaged_noisy_image_is_rejected_by_name(pair_folder: Path) -> None:
    path = pair_folder / "desk_Real.png"
    path.write_bytes(path.read_bytes()[:-40])
    assert reasons(scan_pairs(pair_folder, **GLOBS)) == {"desk_Real.png": "truncated"}


def test_globs_split_by_scene(pair_folder: Path) -> None:
    records = scan_pairs(pair_folder, Splits(train=0.0, test=1.0), **GLOBS).records
    assert {record.split for record in records} == {"test"}


def test_real_pairs_are_found_the_same_way_by_csv_and_by_globs(data_dir: Path) -> None:
    by_csv = scan_pairs(data_dir / "polyu", metadata="metadata.csv")
    by_glob = scan_pairs(data_dir / "polyu", clean="*_mean.JPG", noisy="*_Real.JPG")
    assert by_csv.rejects == by_glob.rejects == []
    pairs = [{(r.sha256, r.noisy_sha256, r.scene) for r in x.records} for x in (by_csv, by_glob)]
    assert pairs[0] == pairs[1]
    splits = [record.split for record in by_csv.records]
    assert (splits.count("train"), splits.count("val")) == (22, 5)
    assert {record.camera for record in by_csv.records} == {
        "Canon EOS 5D Mark II",
        "Canon EOS 80D",
        "Nikon D800",
        "Sony A7 II",
    }
