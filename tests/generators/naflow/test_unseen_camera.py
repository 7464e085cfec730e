"""The experiment on cameras never trained on: what is held out, and what the nearest class is."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

unseen = pytest.importorskip("tools.unseen_camera", reason="tools stay in the checkout")

KNOWN = [("Canon A", 800), ("Canon A", 3200), ("Nikon B", 3200), ("Nikon B", 6400)]


@pytest.mark.parametrize(
    ("camera", "iso", "expected"),
    [
        ("Nikon B", 800, ("Nikon B", 3200)),  # its own camera, however far
        ("Canon A", 1600, ("Canon A", 3200)),  # a tie of stops goes to the higher ISO
        ("Sony C", 1000, ("Canon A", 800)),  # another camera: nearest in stops
        ("Nikon C", 3200, ("Nikon B", 3200)),  # a tie between cameras: the same maker
        ("Sony C", 3200, ("Canon A", 3200)),  # else the alphabet
    ],
)
def test_the_nearest_class_is_what_metadata_suggests(
    camera: str, iso: int, expected: tuple[str, int]
) -> None:
    assert unseen.nearest(camera, iso, KNOWN) == expected


def test_held_out_scenes_are_in_neither_training_nor_validation(tmp_path: Path) -> None:
    rows = ["scene,clean,noisy,camera,iso,split"]
    capture = [("a", "Canon A", 800, "train"), ("b", "Nikon B", 800, "train")]
    capture += [("c", "Nikon B", 3200, "train"), ("d", "Nikon B", 3200, "val")]
    rows += [f"{name},{name}1,{name}2,{camera},{iso},{s}" for name, camera, iso, s in capture]
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    held = [unseen.HeldOut.read("Nikon B:3200")]
    settings = {"steps": 1, "bf16": "false", "threads": 1}
    unseen.prepare(tmp_path / "out", tmp_path, held, settings)
    found = {
        name: [
            r["scene"] for r in csv.DictReader((tmp_path / "out" / name).read_text().split("\n"))
        ]
        for name in ("known.csv", "unseen.csv")
    }
    assert found == {"known.csv": ["a", "b"], "unseen.csv": ["c"]}
    with pytest.raises(ValueError, match=r"no training scene of .* is of Sony C"):
        unseen.prepare(tmp_path / "out", tmp_path, [unseen.HeldOut.read("Sony C")], settings)
    every = [unseen.HeldOut.read("Nikon B"), unseen.HeldOut.read("Canon A")]
    with pytest.raises(ValueError, match="every training scene is held out"):
        unseen.prepare(tmp_path / "out", tmp_path, every, settings)
    with pytest.raises(ValueError, match="expected CAMERA or CAMERA:ISO"):
        unseen.HeldOut.read("Nikon B:high")
