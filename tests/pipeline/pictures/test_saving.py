"""Pictures that are saved read back equal, and none that is there is lost unasked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.images import read_pixels
from pipeline.pictures.saving import PictureFolder, Present, save_picture


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, channels))


@pytest.mark.parametrize(
    ("kind", "channels", "suffix"),
    [("uint8", 3, ".png"), ("uint8", 1, ".png"), ("uint16", 3, ".png"), ("float32", 3, ".tiff")],
)
def test_a_saved_picture_reads_back_equal(
    tmp_path: Path, kind: str, channels: int, suffix: str
) -> None:
    top = {"uint8": 255, "uint16": 65535, "float32": 1}[kind]
    image = (picture(9, 14, channels) * top).astype(kind)
    path = save_picture(tmp_path / "new" / "a.png", image)
    assert path.name == f"a{suffix}"
    np.testing.assert_array_equal(read_pixels(str(path)), image)


@pytest.mark.parametrize("present", ["number", "refuse", "replace"])
def test_pictures_of_one_call_never_replace_one_another(tmp_path: Path, present: Present) -> None:
    folder = PictureFolder(tmp_path, present)
    names = [folder.save("a", np.full((4, 4, 3), i, np.uint8)).name for i in range(3)]
    assert names == ["a.png", "a-2.png", "a-3.png"]


def test_what_was_there_is_kept_refused_or_replaced_as_asked(tmp_path: Path) -> None:
    old, new = (np.full((8, 8, 3), value, np.uint8) for value in (1, 2))
    save_picture(tmp_path / "a.png", old)
    with pytest.raises(FileExistsError, match=r"a\.png is there already.*--overwrite"):
        PictureFolder(tmp_path, "refuse").save("a", new)
    assert PictureFolder(tmp_path, "number").save("a", new).name == "a-2.png"
    assert np.array_equal(read_pixels(str(tmp_path / "a.png")), old)
    assert PictureFolder(tmp_path, "replace").save("a", new).name == "a.png"
    assert np.array_equal(read_pixels(str(tmp_path / "a.png")), new)
    # A TIFF is another file.
    assert PictureFolder(tmp_path, "refuse").save("a", new.astype(np.float32)).name == "a.tiff"
