"""Cut: patches are the photograph's own pixels, and what is wrong becomes a reject."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.building.run import Prepared, prepare, task_for
from pipeline.building.stages.cut import CutStage
from pipeline.building.stages.work import CutShard
from pipeline.images import read_pixels
from pipeline.manifest.models import CorpusManifest
from pipeline.pixels import to_unit

Make = Callable[..., CorpusManifest]
Write = Callable[[Path, np.ndarray], Path]


@pytest.fixture
def one_shard(corpus_manifest: Make) -> Callable[..., Prepared]:
    """A plan of one generator and one shard."""

    def make(**changes: Any) -> Prepared:
        generators = [{"name": "awgn", "params": {"sigma": 5}}]
        output = {"rows_per_shard": 1000}
        return prepare(corpus_manifest(**{"generators": generators, "output": output, **changes}))

    return make


def cut(ready: Prepared, **stage: Any) -> CutShard:
    patches = ready.manifest.patches
    options = {"color": patches.color, "min_texture": patches.min_texture, "references": False}
    (shard,) = ready.plan.shards
    return CutStage(size=patches.size, **{**options, **stage})(task_for(ready, shard))


def test_a_patch_is_the_photographs_own_pixels(one_shard: Callable[..., Prepared]) -> None:
    ready = one_shard(patches={"size": 20, "per_image": 5})
    result = cut(ready)
    (shard,) = ready.plan.shards
    assert result.rows.tolist() == list(range(len(shard)))
    assert result.rejects == []
    for row in range(len(shard)):
        image = read_pixels(ready.plan.records[int(shard.image[row])].uri)
        y, x = int(shard.y[row]), int(shard.x[row])
        np.testing.assert_array_equal(result.clean[row], image[y : y + 20, x : x + 20])


def damage_missing(path: Path) -> None:
    path.unlink()


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_other_size(path: Path) -> None:
    path.write_bytes(cv2.imencode(".png", np.zeros((99, 99, 3), np.uint8))[1].tobytes())


def damage_one_pixel(path: Path) -> None:
    """The same size, the same time of modification, one grey level of one pixel."""
    status = path.stat()
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    pixels[3, 4, 1] ^= 1
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGES = {
    "missing": damage_missing,
    "changed-truncated": damage_truncated,
    "empty": damage_empty,
    "changed-size": damage_other_size,
    "changed-pixel": damage_one_pixel,
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_photograph_that_is_not_what_was_planned_is_a_reject_and_the_rest_goes_on(
    one_shard: Callable[..., Prepared], photo_folder: Path, case: str
) -> None:
    ready = one_shard()
    DAMAGES[case](photo_folder / "b.png")
    result = cut(ready)
    (reject,) = result.rejects
    assert reject.uri.endswith("b.png")
    assert reject.reason == case.partition("-")[0]
    assert reject.stage == "cut"
    assert reject.patches == 12
    assert len(result.rows) == len(result.clean) == 24
    assert set(ready.plan.shards[0].image[result.rows].tolist()) == {0, 2}


def test_a_changed_noisy_partner_is_a_reject_where_it_is_read(
    one_shard: Callable[..., Prepared], pair_folder: Path
) -> None:
    source = {"type": "pairs", "path": str(pair_folder), "clean": "*_mean.png"}
    ready = one_shard(sources=[{**source, "noisy": "*_Real.png"}])
    damage_one_pixel(pair_folder / "wall_Real.png")
    assert cut(ready).rejects == []
    (reject,) = cut(ready, references=True).rejects
    assert reject.uri.endswith("wall_Real.png")
    assert reject.reason == "changed"
    assert reject.patches == 12


def test_all_refused_leaves_an_empty_shard(
    one_shard: Callable[..., Prepared], photo_folder: Path
) -> None:
    ready = one_shard()
    for path in photo_folder.rglob("*.png"):
        path.unlink()
    result = cut(ready, references=True)
    assert len(result.rows) == len(result.clean) == 0
    assert result.reference is None
    assert sum(reject.patches for reject in result.rejects) == 36


def test_flat_patches_are_left_out_by_the_texture_of_each(
    one_shard: Callable[..., Prepared], photo_folder: Path
) -> None:
    picture = cv2.imread(str(photo_folder / "a.png"), cv2.IMREAD_UNCHANGED)
    picture[16:32, :32] = 100
    cv2.imwrite(str(photo_folder / "a.png"), picture)
    result = cut(one_shard(patches={"min_texture": 2.0}))
    places = [reject.uri.rpartition("[")[2] for reject in result.rejects]
    assert places == ["y=16,x=0]", "y=16,x=16]"]
    assert {reject.reason for reject in result.rejects} == {"flat"}
    assert "0.00 grey levels is below patches.min_texture 2" in result.rejects[0].detail
    assert len(result.rows) == 34


def test_texture_means_the_same_in_every_depth(
    one_shard: Callable[..., Prepared], tmp_path: Path, texture: Callable[..., np.ndarray]
) -> None:
    rejected = []
    for depth, factor in (("uint8", 1), ("uint16", 257)):
        folder = tmp_path / depth
        folder.mkdir()
        pixels = texture(48, 64).astype(depth) * np.array(factor, depth)
        cv2.imwrite(str(folder / "a.png"), pixels)
        source = {"type": "images", "path": str(folder)}
        # Near the median texture of these patches, so that both sides are taken.
        result = cut(one_shard(sources=[source], patches={"min_texture": 49.0}))
        rejected.append([reject.uri.rpartition("[")[2] for reject in result.rejects])
    assert 0 < len(rejected[0]) < 12
    assert rejected[0] == rejected[1]


def pairs_with_limits(folder: Path, **limits: float) -> dict[str, Any]:
    return {
        "type": "pairs",
        "path": str(folder),
        "clean": "*_mean.png",
        "noisy": "*_Real.png",
        "audit": limits,
    }


def test_patches_beyond_the_audits_limits_are_rejected_one_by_one(
    one_shard: Callable[..., Prepared], pair_folder: Path
) -> None:
    path = pair_folder / "desk_Real.png"
    noisy = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.int16)
    noisy[:16, :16] += 9
    cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))
    ready = one_shard(sources=[pairs_with_limits(pair_folder, max_offset=5.0)])
    result = cut(ready)
    (reject,) = result.rejects
    assert reject.uri.endswith("desk_mean.png[y=0,x=0]")
    assert (reject.reason, reject.stage, reject.patches) == ("audit", "audit", 1)
    assert len(result.rows) == 23
    assert result.reference is None


def test_a_misaligned_pair_is_rejected_whole(
    one_shard: Callable[..., Prepared], pair_folder: Path
) -> None:
    path = pair_folder / "desk_Real.png"
    noisy = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), np.roll(noisy, 3, axis=1))
    result = cut(one_shard(sources=[pairs_with_limits(pair_folder, max_shift=1.0)]))
    (reject,) = result.rejects
    assert reject.uri.endswith("desk_mean.png")
    assert (reject.reason, reject.patches) == ("audit", 12)
    assert "misaligned" in reject.detail


def test_a_patch_refused_for_two_generators_is_told_once(
    corpus_manifest: Make, photo_folder: Path
) -> None:
    cv2.imwrite(str(photo_folder / "a.png"), np.full((48, 64, 3), 9, np.uint8))
    ready = prepare(corpus_manifest(output={"rows_per_shard": 1000}, patches={"min_texture": 1.0}))
    result = cut(ready)
    assert len(result.rejects) == 12
    assert {reject.patches for reject in result.rejects} == {2}


def test_references_are_the_partners_pixels_at_the_same_place(
    one_shard: Callable[..., Prepared], pair_folder: Path
) -> None:
    source = pairs_with_limits(pair_folder)
    ready = one_shard(sources=[source])
    result = cut(ready, references=True)
    assert result.reference is not None
    (shard,) = ready.plan.shards
    for row in (0, 7, 23):
        uri = ready.plan.records[int(shard.image[row])].noisy_uri
        assert uri is not None
        image = read_pixels(uri)
        y, x = int(shard.y[row]), int(shard.x[row])
        np.testing.assert_array_equal(result.reference[row], image[y : y + 16, x : x + 16])


def stored(path: Path, kind: str, grey: np.ndarray) -> None:
    import tifffile

    if kind == "float32":
        tifffile.imwrite(path.with_suffix(".tiff"), to_unit(grey))
    elif kind == "uint16":
        cv2.imwrite(str(path), grey.astype(np.uint16) * 257)
    else:
        cv2.imwrite(str(path), grey)


@pytest.mark.parametrize(
    "kinds",
    [("uint8", "uint16"), ("uint8", "float32"), ("uint16", "float32")],
    ids=lambda kinds: " and ".join(kinds),
)
def test_mixed_depths_widen_exactly(
    one_shard: Callable[..., Prepared], tmp_path: Path, kinds: tuple[str, str]
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    # All 256 values in a photograph, another order in each.
    pictures = [np.random.default_rng(i).permutation(256).astype(np.uint8) for i in range(2)]
    for number, (kind, values) in enumerate(zip(kinds, pictures, strict=True)):
        stored(folder / f"{number}.png", kind, values.reshape(16, 16))
    ready = one_shard(sources=[{"type": "images", "path": str(folder)}])
    result = cut(ready)
    assert result.clean.dtype == np.dtype(max(kinds, key=["uint8", "uint16", "float32"].index))
    # To the generators a patch is the same whatever shares its shard.
    for number, values in enumerate(pictures):
        expected = to_unit(values.reshape(16, 16))
        for channel in range(3):
            np.testing.assert_array_equal(to_unit(result.clean[number])[..., channel], expected)


@pytest.mark.parametrize(("color", "channels"), [("rgb", 3), ("grey", 1)])
def test_grey_and_colour_photographs_share_a_shard(
    one_shard: Callable[..., Prepared], photo_folder: Path, color: str, channels: int
) -> None:
    cv2.imwrite(str(photo_folder / "b.png"), np.arange(48 * 64).reshape(48, 64).astype(np.uint8))
    result = cut(one_shard(patches={"color": color}))
    assert result.clean.shape == (36, 16, 16, channels)
    assert result.rejects == []
