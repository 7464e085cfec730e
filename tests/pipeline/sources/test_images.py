"""Folders of photographs: which files are taken, in what order, and what is said of the others."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pipeline.images import read_pixels
from pipeline.manifest.models import ImagesSource, PhotographsSource, Splits
from pipeline.records import ImageRecord
from pipeline.sources import Scan, scan
from pipeline.sources.listing import glob_regex, list_images

Texture = Callable[..., np.ndarray]
WriteImage = Callable[[Path, np.ndarray], Path]


def folder(path: Path | str, **options: object) -> ImagesSource:
    return ImagesSource(type="images", path=str(path), **options)


def scan_folder(path: Path | str, **options: object) -> Scan:
    return scan([folder(path, **options)], Splits())


def names(records: list[ImageRecord]) -> list[str]:
    return [record.uri.rsplit("/", 1)[-1] for record in records]


def reasons(result: Scan) -> dict[str, str]:
    return {Path(reject.uri).name: reject.reason for reject in result.rejects}


def test_images_are_found_below_the_folder_sorted_with_ids_from_their_bytes(
    photo_folder: Path,
) -> None:
    result = scan_folder(photo_folder, camera="Nikon D800", iso=400, license="CC0-1.0")
    assert result.rejects == []
    assert names(result.records) == ["a.png", "b.png", "c.png"]
    assert [record.scene for record in result.records] == ["a.png", "b.png", "below/c.png"]
    for record in result.records:
        sha256 = hashlib.sha256(Path(record.uri).read_bytes()).hexdigest()
        assert (record.sha256, record.image_id) == (sha256, sha256[:32])
        assert (record.height, record.width, record.channels, record.depth) == (48, 64, 3, "uint8")
        assert (record.camera, record.iso, record.license) == ("Nikon D800", 400, "CC0-1.0")
        assert (record.source, record.split, record.noisy_uri) == ("images", "train", None)


def test_ids_do_not_depend_on_where_the_folder_is_or_what_its_files_are_called(
    photo_folder: Path, tmp_path: Path
) -> None:
    before = scan_folder(photo_folder).records
    photo_folder.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "a.png").rename(tmp_path / "elsewhere" / "z.png")
    after = scan_folder(tmp_path / "elsewhere").records
    assert {record.image_id for record in before} == {record.image_id for record in after}


def test_relative_folders_give_absolute_uris(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo_folder.parent)
    for record in scan_folder("photos").records:
        assert os.path.isabs(record.uri)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*", ["a.png", "b.png", "c.png"]),
        ("*", ["a.png", "b.png"]),
        ("*.png", ["a.png", "b.png"]),
        ("below/*.png", ["c.png"]),
        ("**/c.*", ["c.png"]),
        ("[ac].png", ["a.png"]),
        ("[!a].png", ["b.png"]),
        ("?.png", ["a.png", "b.png"]),
    ],
)
def test_patterns_choose_files(photo_folder: Path, pattern: str, expected: list[str]) -> None:
    assert names(scan_folder(photo_folder, pattern=pattern).records) == expected


def test_a_glob_means_its_other_characters_literally() -> None:
    assert glob_regex("a+(b).png").fullmatch("a+(b).png")
    assert not glob_regex("a.png").fullmatch("aXpng")
    assert not glob_regex("*.png").fullmatch("below/a.png")
    assert glob_regex("**/a.png").fullmatch("a.png")


def test_other_and_hidden_files_are_left_alone(photo_folder: Path) -> None:
    for name in ("Readme.txt", ".DS_Store", "._a.png", "below/metadata.csv"):
        (photo_folder / name).write_text("not an image")
    (photo_folder / ".thumbnails").mkdir()
    (photo_folder / ".thumbnails" / "a.png").write_text("not an image")
    result = scan_folder(photo_folder)
    assert len(result.records) == 3
    assert result.rejects == []


def test_each_bad_file_is_rejected_with_its_reason_and_the_good_ones_stay(
    photo_folder: Path, texture: Texture, write_image: WriteImage
) -> None:
    (photo_folder / "empty.png").touch()
    (photo_folder / "text.png").write_text("words")
    (photo_folder / "cut.png").write_bytes((photo_folder / "a.png").read_bytes()[:-50])
    (photo_folder / "broken-link.png").symlink_to(photo_folder / "nowhere.png")
    write_image(photo_folder / "dot.png", np.zeros((1, 1, 3), np.uint8))
    (photo_folder / "copy.png").write_bytes((photo_folder / "a.png").read_bytes())
    result = scan_folder(photo_folder)
    assert names(result.records) == ["a.png", "b.png", "c.png"]
    assert reasons(result) == {
        "empty.png": "empty",
        "text.png": "not-an-image",
        "cut.png": "truncated",
        "broken-link.png": "missing",
        "dot.png": "too-small",
        "copy.png": "duplicate",
    }
    for reject in result.rejects:
        assert reject.stage == "plan"
        assert "\n" not in reject.detail
    (copy,) = (reject for reject in result.rejects if reject.reason == "duplicate")
    assert "a.png" in copy.detail


def test_a_file_that_may_not_be_read_is_rejected(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(self: Path) -> bytes:
        if self.name == "b.png":
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    result = scan_folder(photo_folder)
    assert reasons(result) == {"b.png": "unreadable"}
    assert "Permission denied" in result.rejects[0].detail
    assert len(result.records) == 2


def test_a_loop_of_links_ends(photo_folder: Path) -> None:
    (photo_folder / "below" / "up").symlink_to(photo_folder, target_is_directory=True)
    (photo_folder / "self").symlink_to(photo_folder / "self")
    assert len(scan_folder(photo_folder).records) == 3


def test_a_folder_that_is_a_link_itself_is_followed(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photo_folder, target_is_directory=True)
    assert len(scan_folder(tmp_path / "link").records) == 3


def test_names_that_are_not_utf8_become_records_that_can_be_stored_and_read(
    photo_folder: Path,
) -> None:
    os.rename(photo_folder / "a.png", os.fsencode(photo_folder) + b"/caf\xe9.png")
    with open(os.fsencode(photo_folder) + b"/b\xff.png", "wb") as file:
        file.write(b"words")
    result = scan_folder(photo_folder)
    assert len(result.records) == 3
    assert len(result.rejects) == 1
    for item in (*result.records, *result.rejects):
        json.dumps(item.to_dict(), ensure_ascii=False).encode()  # strict: no lone surrogates
    (odd,) = (record for record in result.records if "caf" in record.uri)
    assert read_pixels(odd.uri).shape == (48, 64, 3)
    assert odd.scene == "caf\\udce9.png"


def test_a_missing_folder_a_file_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        scan_folder(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(NotADirectoryError, match="is a file"):
        scan_folder(tmp_path / "a.txt")
    with pytest.raises(ValueError, match=r"no image in folder .* found 0 of them"):
        scan_folder(tmp_path)


def test_a_pattern_that_fits_nothing_says_how_many_images_there_are(photo_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"'\*\.tif'.*found 3 of them"):
        scan_folder(photo_folder, pattern="*.tif")


def test_scenes_are_taken_from_the_name(photo_folder: Path) -> None:
    for old, new in (("a.png", "017_1.png"), ("b.png", "017_2.png"), ("below/c.png", "x.png")):
        (photo_folder / old).rename(photo_folder / new)
    result = scan_folder(photo_folder, scene=r"^(\d+)_")
    assert [record.scene for record in result.records] == ["017", "017"]
    assert reasons(result) == {"x.png": "no-scene"}


def test_scenes_can_be_taken_from_the_folder(photo_folder: Path) -> None:
    result = scan_folder(photo_folder, scene=r"^(.+)/", pattern="below/*")
    assert [record.scene for record in result.records] == ["below"]


@pytest.mark.parametrize("expression", ["(", r"^\d+_", "(a)(b)"])
def test_a_wrong_expression_for_the_scene_is_explained(photo_folder: Path, expression: str) -> None:
    with pytest.raises(ValueError, match="scene"):
        scan_folder(photo_folder, scene=expression)


def test_splits_follow_the_source_or_the_scene(photo_folder: Path) -> None:
    assert {r.split for r in scan_folder(photo_folder, split="test").records} == {"test"}
    records = scan([folder(photo_folder)], Splits(train=0.0, val=1.0)).records
    assert {record.split for record in records} == {"val"}


def test_copies_are_rejected_whatever_splits_their_names_would_have(
    photo_folder: Path,
) -> None:
    data = (photo_folder / "a.png").read_bytes()
    for i in range(20):
        (photo_folder / f"copy{i}.png").write_bytes(data)
    result = scan([folder(photo_folder)], Splits(train=0.5, val=0.5))
    assert len(result.records) == 3
    assert [reject.reason for reject in result.rejects] == ["duplicate"] * 20


def test_the_same_picture_in_two_splits_is_an_error_that_names_both(
    photo_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.png").write_bytes((photo_folder / "b.png").read_bytes())
    sources = [folder(photo_folder, split="train"), folder(tmp_path / "other", split="val")]
    with pytest.raises(ValueError, match=r"two splits: .*b\.png in train, .*holiday\.png in val"):
        scan(sources, Splits())
    same = [folder(photo_folder), folder(tmp_path / "other")]
    assert reasons(scan(same, Splits())) == {"holiday.png": "duplicate"}


def test_a_folder_behind_a_url_is_listed_like_a_local_one(photo_folder: Path) -> None:
    for path in photo_folder.rglob("*.png"):
        with fsspec.open(f"memory://bucket/{path.relative_to(photo_folder)}", "wb") as file:
            file.write(path.read_bytes())
    local, remote = scan_folder(photo_folder).records, scan_folder("memory://bucket").records
    assert [record.image_id for record in remote] == [record.image_id for record in local]
    assert [record.scene for record in remote] == [record.scene for record in local]
    assert remote[2].uri == "memory://bucket/below/c.png"
    np.testing.assert_array_equal(read_pixels(remote[2].uri), read_pixels(local[2].uri))
    with pytest.raises(FileNotFoundError, match="memory://nowhere"):
        scan_folder("memory://nowhere")
    with pytest.raises(ValueError, match="cannot be listed"):
        scan_folder("no-such-scheme://bucket")


def test_two_scans_are_equal(photo_folder: Path) -> None:
    assert scan_folder(photo_folder) == scan_folder(photo_folder)
    assert [file.name for file in list_images(str(photo_folder))] == [
        "a.png",
        "b.png",
        "below/c.png",
    ]


def test_bundled_photographs_need_no_network_and_state_their_licence() -> None:
    source = PhotographsSource(type="photographs", split="val")
    result = scan([source], Splits())
    assert result.rejects == []
    assert [record.scene for record in result.records] == source.names
    assert {record.split for record in result.records} == {"val"}
    for record in result.records:
        assert "public domain" in record.license or "CC0" in record.license
        assert read_pixels(record.uri).shape == (record.height, record.width, 3)


def test_the_training_photographs_are_read(data_dir: Path) -> None:
    result = scan_folder(data_dir / "cbsd68")
    assert result.rejects == []
    assert len(result.records) == 68
    assert {(r.height, r.width) for r in result.records} == {(321, 481), (481, 321)}
    grey = scan_folder(data_dir / "set12").records
    assert {record.channels for record in grey} == {1}
