"""Noisy/noisy pairs: found by name, and refused where they show two scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.audit import check_same_scene, scene_correlation
from pipeline.manifest.models import NoisyPairsSource, Splits
from pipeline.sources import load_training_views, scan, scan_for_training

Texture = Callable[..., np.ndarray]
Write = Callable[[Path, np.ndarray], Path]


def shots(scene: np.ndarray, sigma: float, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = (
        np.clip(np.rint(scene + rng.normal(0, sigma, scene.shape)), 0, 255).astype(np.uint8)
        for _ in range(2)
    )
    return first, second


def source(folder: Path, **options: object) -> NoisyPairsSource:
    return NoisyPairsSource(
        type="noisy-pairs", path=str(folder), first="*_1.png", second="*_2.png", **options
    )


@pytest.fixture
def folder(tmp_path: Path, texture: Texture, write_image: Write) -> Path:
    """Two scenes shot twice."""
    for seed, name in enumerate(("desk", "wall")):
        for number, image in enumerate(shots(texture(64, 96, seed=seed), 12, seed=seed), 1):
            write_image(tmp_path / f"{name}_{number}.png", image)
    return tmp_path


def test_two_shots_make_a_record_without_a_clean_image(folder: Path) -> None:
    found = scan_for_training([source(folder, camera="C", iso=800)], Splits())
    assert [(r.scene, r.role, r.camera, r.iso) for r in found.records] == [
        ("desk", "noisy", "C", 800),
        ("wall", "noisy", "C", 800),
    ]
    views = load_training_views(found.records[0])
    assert list(views) == ["noisy", "second"]
    assert list(load_training_views(found.records[0], ["noisy"])) == ["noisy"]
    assert found.records[0].to_dict()["second_sha256"] == found.records[0].second_sha256


def test_nothing_is_cut_from_them(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"'noisy-pairs' gives noisy images without a clean one"):
        scan([source(folder)], Splits())


def test_pairs_of_two_scenes_are_refused_by_name(folder: Path) -> None:
    desk, wall = folder / "desk_2.png", folder / "wall_2.png"
    images = desk.read_bytes(), wall.read_bytes()
    desk.write_bytes(images[1])
    wall.write_bytes(images[0])
    record = scan_for_training([source(folder)], Splits()).records[0]
    with pytest.raises(ValueError, match=r"different scenes: .*desk_1\.png and .*desk_2\.png"):
        load_training_views(record)


def test_pairs_of_two_sizes_are_refused(folder: Path, write_image: Write) -> None:
    write_image(folder / "desk_2.png", np.zeros((32, 32, 3), np.uint8))
    found = scan_for_training([source(folder)], Splits())
    assert [reject.reason for reject in found.rejects] == ["size-mismatch"]
    with pytest.raises(ValueError, match="must show the same pixels"):
        check_same_scene(np.zeros((8, 8, 3)), np.zeros((8, 9, 3)), names=("a", "b"))


def test_strong_noise_and_other_brightness_do_not_hide_a_scene(texture: Texture) -> None:
    first, second = shots(texture(96, 96), 60)
    assert (scene_correlation(first, second) or 0) > 0.8
    assert (scene_correlation(first, 0.5 * second) or 0) > 0.8


@pytest.mark.parametrize("seed", range(20))
def test_two_scenes_do_not_correlate(texture: Texture, seed: int) -> None:
    # Block means of pictures this small are few and smooth, so the correlation strays from 0.
    first, _ = shots(texture(96, 96, seed=2 * seed), 12, seed=seed)
    second, _ = shots(texture(96, 96, seed=2 * seed + 1), 12, seed=seed)
    assert abs(scene_correlation(first, second) or 0) < 0.5


def test_flat_pictures_pass_because_nothing_can_be_told() -> None:
    first, second = shots(np.full((64, 64, 3), 20.0), 12)
    assert scene_correlation(first, second) is None
    check_same_scene(first, second, names=("a", "b"))
