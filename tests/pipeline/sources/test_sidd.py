"""SIDD: every layout, both colours, both MATLAB versions; names, splits, bursts, bad copies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.images import read_pixels
from pipeline.manifest.models import SiddSource, Splits
from pipeline.sources import Scan, load_training_views, scan, scan_for_training
from pipeline.sources.sidd_names import (
    HELD_OUT,
    PHONES,
    noise_flow_split,
    parse_instance,
)
from tests.contracts.raw_files import INSTANCES, write_mat5, write_mat73, write_png, write_sidd


def sidd(path: Path, layout: str, **options: object) -> Scan:
    source = SiddSource(type="sidd", path=str(path), layout=layout, **options)
    return scan_for_training([source], Splits())


def test_a_name_says_phone_speed_light_and_scene() -> None:
    found = parse_instance("0001_001_S6_00100_00060_3200_L")
    assert (found.phone, found.iso, found.scene) == ("S6", 100, "001")
    assert dict(found.details) == {
        "instance": "0001_001_S6_00100_00060_3200_L",
        "shutter": 60,
        "illuminant_k": 3200,
        "brightness": "low",
    }


@pytest.mark.parametrize("name", ["0001_001_XX_00100_00060_3200_L", "photos", "1_1_S6_100"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        parse_instance(name)


def test_the_published_lists_have_their_published_sizes() -> None:
    instances = [parse_instance(name) for name in HELD_OUT]
    assert len({one.number for one in instances}) == 40
    assert Counter(one.scene for one in instances)["001"] == 5
    assert all(noise_flow_split(one) is None for one in instances)
    numbers = [f"{n:04d}_001_S6_00100" for n in range(1, 201)]
    splits = Counter(noise_flow_split(parse_instance(name)) for name in numbers)
    assert splits == {"train": 56, "test": 22, None: 122}


@pytest.mark.parametrize("layout", ["small", "medium", "full"])
@pytest.mark.parametrize("color", ["srgb", "raw"])
def test_pairs_of_every_layout(tmp_path: Path, layout: str, color: str) -> None:
    written = write_sidd(tmp_path, layout, color)
    found = sidd(tmp_path, layout, color=color)
    assert found.rejects == []
    assert len(found.records) == len(written) / 2
    first = found.records[0]
    assert (first.camera, first.iso, first.scene, first.domain) == ("S6", 100, "sidd-001", color)
    assert dict(first.details)["illuminant_k"] == 4400
    assert first.noisy_uri is not None
    if color == "srgb":
        assert first.noisy_uri.endswith(".PNG")
        frame = Path(first.uri).stem
        np.testing.assert_array_equal(read_pixels(first.uri), written[frame])


def test_the_small_set_may_lack_the_number(tmp_path: Path) -> None:
    picture = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    for kind in ("NOISY", "GT"):
        write_png(tmp_path / "Data" / INSTANCES[0] / f"{kind}_SRGB_010.PNG", picture)
        picture = picture[::-1]
    assert len(sidd(tmp_path, "small").records) == 1


@pytest.mark.parametrize("place", range(3), ids=["S6-GRBG", "N6-BGGR", "GP-BGGR"])
def test_raw_is_upright_and_red_first(tmp_path: Path, place: int) -> None:
    written = write_sidd(tmp_path, "small", "raw")
    record = sidd(tmp_path, "small", color="raw").records[place]
    number = INSTANCES[place][:4]
    mosaic = written[f"{number}_GT_RAW_010"]
    cfa = PHONES[INSTANCES[place][9:11]]
    down, right = divmod(cfa.index("R"), 2)
    packed = read_pixels(record.uri)
    assert packed.shape == (record.height, record.width, 4)
    # h5py shows MATLAB's array transposed; read as it lies, this would be the mirror image.
    reds = mosaic[down::2, right::2][: record.height, : record.width]
    np.testing.assert_array_equal(packed[..., 0], reds)
    assert packed[0, 0, 3] == mosaic[down + 1, right + 1]


def test_reordered_raw_keeps_every_pixel(tmp_path: Path) -> None:
    write_sidd(tmp_path, "small", "raw", size=48)
    record = sidd(tmp_path, "small", color="raw", align="reorder").records[1]
    assert (record.height, record.width) == (24, 28)
    cropped = sidd(tmp_path, "small", color="raw").records[1]
    assert (cropped.height, cropped.width) == (23, 27)
    assert cropped.image_id != record.image_id


def test_frames_of_a_burst_are_noisy_pairs_without_a_clean_image(tmp_path: Path) -> None:
    written = write_sidd(tmp_path, "full", "raw")
    found = sidd(tmp_path, "full", color="raw", offer="noisy-pairs")
    assert len(found.records) == 6  # frames 1-2 and 2-3 of each
    record = found.records[0]
    assert record.role == "noisy"
    assert record.noisy_uri is None
    views = load_training_views(record)
    assert sorted(views) == ["noisy", "second"]
    names = {view: uri for view, (uri, _) in record.views().items()}
    assert "NOISY_RAW_001" in names["noisy"]
    assert "NOISY_RAW_002" in names["second"]
    noise = (views["noisy"] - views["second"]).std()
    assert noise == pytest.approx(0.05 * 2**0.5, rel=0.1)
    assert len(sidd(tmp_path, "full", color="raw", offer="noisy-pairs", frames=[2, 3]).records) == 3
    assert len(written) == 18


def test_the_medium_set_has_noisy_pairs_too(tmp_path: Path) -> None:
    write_sidd(tmp_path, "medium", "srgb")
    assert len(sidd(tmp_path, "medium", offer="noisy-pairs").records) == 3
    assert len(sidd(tmp_path, "medium", offer="single-noisy").records) == 6


def test_the_split_of_noise_flow_leaves_other_instances_out(tmp_path: Path) -> None:
    write_sidd(tmp_path, "small", "srgb")
    found = sidd(tmp_path, "small", split="noise-flow")
    assert {(r.scene, r.split) for r in found.records} == {
        ("sidd-001", "train"),
        ("sidd-003", "test"),
    }
    assert len(sidd(tmp_path, "small", split="noise-flow", only=["test"]).records) == 1
    assert len(sidd(tmp_path, "small", split="train").records) == 3


def test_cameras_and_speeds_can_be_chosen(tmp_path: Path) -> None:
    write_sidd(tmp_path, "small", "srgb")
    assert {r.camera for r in sidd(tmp_path, "small", cameras=["N6", "GP"]).records} == {"N6", "GP"}
    assert {r.iso for r in sidd(tmp_path, "small", isos=[100]).records} == {100}
    with pytest.raises(ValueError, match="no instance fits `cameras`"):
        sidd(tmp_path, "small", cameras=["G4"])


WRITERS = {"v5": write_mat5, "v7.3": write_mat73}


@pytest.mark.parametrize("version", WRITERS)
def test_validation_blocks_are_pairs_by_number(tmp_path: Path, version: str) -> None:
    rng = np.random.default_rng(0)
    shape = (3, 2, 16, 24, 3)
    blocks = {kind: rng.integers(0, 255, shape, dtype=np.uint8) for kind in ("Noisy", "Gt")}
    for kind, array in blocks.items():
        name = f"Validation{kind}BlocksSrgb"
        WRITERS[version](tmp_path / f"{name}.mat", name, array)
    found = sidd(tmp_path, "validation", split="val")
    assert len(found.records) == 6
    record = found.records[3]
    assert record.uri.endswith("ValidationGtBlocksSrgb.mat#3")
    assert (record.camera, record.iso, record.split) == ("GP", 10000, "val")
    np.testing.assert_array_equal(read_pixels(record.uri), blocks["Gt"][1, 1])
    np.testing.assert_array_equal(read_pixels(record.noisy_uri or ""), blocks["Noisy"][1, 1])


@pytest.mark.parametrize("version", WRITERS)
def test_the_benchmark_is_noisy_only(tmp_path: Path, version: str) -> None:
    rng = np.random.default_rng(0)
    name = "BenchmarkNoisyBlocksRaw"
    array = rng.random((2, 3, 32, 40), dtype=np.float32)
    WRITERS[version](tmp_path / f"{name}.mat", name, array)
    source = SiddSource(type="sidd", path=str(tmp_path), layout="benchmark", color="raw")
    found = scan_for_training([source], Splits())
    assert {record.role for record in found.records} == {"noisy"}
    record = found.records[4]
    assert record.uri.endswith(".mat#4,cfa=BGGR")
    np.testing.assert_array_equal(
        read_pixels(record.uri)[..., 0], array[1, 1, 1::2, 1::2][:15, :19]
    )
    with pytest.raises(ValueError, match=r"without a clean one.*BenchmarkNoisyBlocksRaw"):
        scan([source], Splits())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"layout": "benchmark", "offer": "pairs"}, "no clean ones"),
        ({"layout": "small", "offer": "noisy-pairs"}, "one shot of a scene"),
        ({"layout": "validation", "split": "noise-flow"}, "held-out"),
    ],
)
def test_layouts_are_not_asked_for_what_they_lack(options: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SiddSource(type="sidd", path="x", **options)


def test_another_layout_or_color_is_told(tmp_path: Path) -> None:
    write_sidd(tmp_path, "full", "srgb")
    with pytest.raises(ValueError, match=r"18 files lie as in layout full"):
        sidd(tmp_path, "medium")
    with pytest.raises(ValueError, match=r"no SIDD full in raw: of 0 \.mat files"):
        sidd(tmp_path, "full", color="raw")
    with pytest.raises(ValueError, match=r"no ValidationNoisyBlocksSrgb\.mat"):
        sidd(tmp_path, "validation")


def test_medium_taken_for_small_is_told(tmp_path: Path) -> None:
    write_sidd(tmp_path, "medium", "srgb")
    with pytest.raises(ValueError, match="has 2 frames; layout small has 1"):
        sidd(tmp_path, "small")


def test_a_lost_partner_a_strange_folder_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    write_sidd(tmp_path, "medium", "raw")
    folders = [tmp_path / "Data" / name for name in INSTANCES]
    (folders[0] / "0004_GT_RAW_011.MAT").unlink()
    folders[1].rename(tmp_path / "Data" / "0055_003_QQ_00800_00350_3200_L")
    broken = folders[2] / "0200_GT_RAW_010.MAT"
    broken.write_bytes(broken.read_bytes()[:700])
    found = sidd(tmp_path, "medium", color="raw")
    assert len(found.records) == 2
    reasons = Counter(reject.reason for reject in found.rejects)
    assert reasons == {"missing-partner": 1, "not-sidd": 4, "unreadable": 1}
    assert any("phone 'QQ' is none of G4, GP" in reject.detail for reject in found.rejects)


def test_dead_samples_become_black_and_many_of_them_are_damage(tmp_path: Path) -> None:
    written = write_sidd(tmp_path, "small", "raw")
    path = tmp_path / "Data" / INSTANCES[0] / "0004_NOISY_RAW_010.MAT"
    mosaic = written["0004_NOISY_RAW_010"].copy()
    mosaic[10, 11] = np.nan
    write_mat73(path, "x", mosaic)
    noisy = sidd(tmp_path, "small", color="raw").records[0].noisy_uri
    assert read_pixels(noisy or "").min() == 0.0
    mosaic[:10] = np.inf
    write_mat73(path, "x", mosaic)
    with pytest.raises(ValueError, match="NaN or infinite"):
        read_pixels(noisy or "")
