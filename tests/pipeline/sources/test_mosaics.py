"""Raw files: DNG, mosaics with sidecars, levels, colours, partners, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from pipeline.images import read_pixels
from pipeline.images.dng import RAWPY_MISSING, has_rawpy
from pipeline.images.mosaic import CFA, Part, pack, parse_part
from pipeline.manifest.models import MosaicsSource, Splits
from pipeline.sources import Scan, scan
from tests.contracts.raw_files import mosaic_of, write_dng, write_png

SIDECAR = {"cfa": "GRBG", "black_level": 64, "white_level": 1023}


def mosaics(path: Path, **options: object) -> Scan:
    return scan([MosaicsSource(type="mosaics", path=str(path), **options)], Splits())


@pytest.fixture
def packed() -> np.ndarray:
    """R, G, G, B (12, 16, 4), stored numbers with black at 64 and white at 1023."""
    return np.random.default_rng(3).integers(70, 1000, (12, 16, 4)).astype(np.uint16)


def unit(packed: np.ndarray, black: float = 64, white: float = 1023) -> np.ndarray:
    return (packed.astype(np.float64) - black) / (white - black)


@pytest.mark.parametrize("cfa", CFA)
def test_reordering_finds_the_colours_of_every_array(packed: np.ndarray, cfa: str) -> None:
    np.testing.assert_array_equal(pack(mosaic_of(packed, cfa), cfa, "reorder"), packed)


@pytest.mark.parametrize("cfa", CFA)
def test_cropping_keeps_neighbours_neighbours(cfa: str) -> None:
    # A cropped image is the packed RGGB image that begins at the first red pixel.
    mosaic = np.arange(14 * 18, dtype=np.float32).reshape(14, 18)
    y, x = divmod(cfa.index("R"), 2)
    cropped = pack(mosaic, cfa, "crop")
    np.testing.assert_array_equal(cropped, pack(mosaic[y:, x:], "RGGB", "crop"))
    assert np.ptp(cropped[0, 0]) == 19  # one to the right and one down


def test_a_uri_keeps_everything_that_is_needed() -> None:
    part = Part(
        path="a b/x.png", cfa="GBRG", black=(64, 64, 65.5, 66), white=4095, align="reorder",
        clip=True,
    )  # fmt: skip
    assert parse_part(part.uri) == part
    assert parse_part("photo#1.png") is None
    assert parse_part("photo.png#1") is None
    assert parse_part("corpus/train.h5#17/noisy") is None


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("sidecar", ["shot.yaml", "shot.json", "mosaics.yaml"])
def test_a_mosaic_is_read_as_its_sidecar_says(
    tmp_path: Path, packed: np.ndarray, suffix: str, sidecar: str
) -> None:
    mosaic = mosaic_of(packed, "GRBG")
    path = tmp_path / f"shot{suffix}"
    write_png(path, mosaic) if suffix == ".png" else tifffile.imwrite(path, mosaic)
    said = {**SIDECAR, "camera": "Test camera", "iso": 800}
    dump = json.dumps if sidecar.endswith("json") else yaml.safe_dump
    (tmp_path / sidecar).write_text(dump(said))
    (record,) = mosaics(tmp_path, align="reorder").records
    assert (record.camera, record.iso, record.domain) == ("Test camera", 800, "raw")
    assert (record.height, record.width, record.channels, record.depth) == (12, 16, 4, "float32")
    np.testing.assert_allclose(read_pixels(record.uri), unit(packed), rtol=1e-5, atol=1e-6)


def test_the_nearest_sidecar_decides(tmp_path: Path, packed: np.ndarray) -> None:
    for number, name in enumerate(("a/one.png", "a/two.png", "b/three.png")):
        write_png(tmp_path / name, np.roll(mosaic_of(packed, "GRBG"), number, 0))
    (tmp_path / "mosaics.yaml").write_text(yaml.safe_dump({**SIDECAR, "iso": 100}))
    (tmp_path / "a/mosaics.yaml").write_text("iso: 200")
    (tmp_path / "a/two.yaml").write_text("iso: 400\nscene: desk")
    records = mosaics(tmp_path, camera="C").records
    assert [record.iso for record in records] == [200, 400, 100]
    assert [record.scene for record in records] == ["a/one.png", "desk", "b/three.png"]
    assert {record.camera for record in records} == {"C"}


def test_clean_mosaics_are_clipped_and_noisy_partners_are_not(tmp_path: Path) -> None:
    mosaic = np.full((32, 32), 60, np.uint16)
    mosaic[::2] = 200
    write_png(tmp_path / "a_clean.png", mosaic)
    write_png(tmp_path / "a_noisy.png", mosaic + 1)
    (tmp_path / "mosaics.yaml").write_text(yaml.safe_dump(SIDECAR))
    (record,) = mosaics(tmp_path, clean="*_clean.png", noisy="*_noisy.png").records
    assert read_pixels(record.uri).min() == 0.0
    assert read_pixels(record.noisy_uri or "").min() == pytest.approx(-3 / (1023 - 64))


def test_black_may_differ_within_the_cell(tmp_path: Path) -> None:
    levels = [60.0, 62.0, 64.0, 66.0]
    mosaic = np.tile(np.array([[60, 62], [64, 66]], np.uint16), (16, 16))
    mosaic[:2, :2] += 100
    write_png(tmp_path / "a.png", mosaic)
    (tmp_path / "a.yaml").write_text(
        yaml.safe_dump({"cfa": "RGGB", "black_level": levels, "white_level": 1060})
    )
    pixels = read_pixels(mosaics(tmp_path).records[0].uri)
    assert pixels[1:].max() == 0.0
    np.testing.assert_allclose(pixels[0, 0], [100 / (1060 - level) for level in levels], rtol=1e-6)


def test_another_level_is_another_picture(tmp_path: Path, packed: np.ndarray) -> None:
    write_png(tmp_path / "a.png", mosaic_of(packed, "GRBG"))
    ids = set()
    for white in (1023, 1000):
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({**SIDECAR, "white_level": white}))
        ids.add(mosaics(tmp_path).records[0].image_id)
    assert len(ids) == 2


def test_a_mosaic_without_sidecar_is_refused_and_the_rest_is_taken(
    tmp_path: Path, packed: np.ndarray
) -> None:
    write_png(tmp_path / "a.png", mosaic_of(packed, "GRBG"))
    write_png(tmp_path / "b.png", mosaic_of(packed, "GRBG")[::-1])
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(SIDECAR))
    found = mosaics(tmp_path)
    assert len(found.records) == 1
    (reject,) = found.rejects
    assert reject.reason == "no-sidecar"
    assert "needs cfa and white_level; write them into a.yaml" in reject.detail


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cfa: RGBG\nwhite_level: 1023", "cfa: Input should be 'RGGB', 'GRBG', 'GBRG' or 'BGGR'"),
        ("cfa: RGGB\nwhite: 1023", "white: Extra inputs are not permitted.*white_level"),
        ("cfa: RGGB\nwhite_level: 1023\nblack_level: [1, 2]", "black_level"),
        ("just text", "no YAML or JSON mapping"),
        ("a: [", "no YAML or JSON mapping"),
    ],
)
def test_a_wrong_sidecar_is_an_error_with_its_name(
    tmp_path: Path, packed: np.ndarray, text: str, told: str
) -> None:
    write_png(tmp_path / "a.png", mosaic_of(packed, "GRBG"))
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.yaml.*{told}"):
        mosaics(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"black_level": 1100}, "all below white"), ({"white_level": 100}, "Correct the levels")],
)
def test_levels_that_do_not_fit_the_numbers_are_refused(
    tmp_path: Path, packed: np.ndarray, change: dict[str, float], told: str
) -> None:
    write_png(tmp_path / "a.png", mosaic_of(packed, "GRBG"))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**SIDECAR, **change}))
    with pytest.raises(ValueError, match=told):
        read_pixels(mosaics(tmp_path).records[0].uri)


def test_a_colour_picture_is_no_mosaic(tmp_path: Path, packed: np.ndarray) -> None:
    write_png(tmp_path / "a.png", packed[..., :3])
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(SIDECAR))
    (reject,) = mosaics(tmp_path).rejects
    assert "a mosaic has one channel" in reject.detail


@pytest.mark.skipif(not has_rawpy(), reason=RAWPY_MISSING)
class TestDng:
    """Files that say everything themselves."""

    @pytest.mark.parametrize("cfa", CFA)
    def test_it_is_read_with_its_own_levels_and_colours(
        self, tmp_path: Path, packed: np.ndarray, cfa: str
    ) -> None:
        large = np.tile(packed, (3, 3, 1))  # LibRaw refuses tiny pictures
        write_dng(tmp_path / "a.dng", mosaic_of(large, cfa), cfa=cfa)
        (record,) = mosaics(tmp_path, align="reorder").records
        assert (record.camera, record.iso) == ("Test camera", 800)
        assert (record.height, record.width) == (36, 48)
        np.testing.assert_allclose(read_pixels(record.uri), unit(large), rtol=1e-5, atol=1e-6)

    def test_unknown_iso_comes_from_the_manifest(self, tmp_path: Path, packed: np.ndarray) -> None:
        large = mosaic_of(np.tile(packed, (3, 3, 1)), "BGGR")
        write_dng(tmp_path / "a.dng", large, cfa="BGGR", iso=None)
        (record,) = mosaics(tmp_path, iso=250, camera="C").records
        assert (record.camera, record.iso) == ("Test camera", 250)
        assert (record.height, record.width) == (35, 47)

    def test_a_pair_has_the_speed_of_its_noisy_shot(
        self, tmp_path: Path, packed: np.ndarray
    ) -> None:
        large = mosaic_of(np.tile(packed, (3, 3, 1)), "RGGB")
        write_dng(tmp_path / "a_clean.dng", large, cfa="RGGB", iso=100)
        write_dng(tmp_path / "a_noisy.dng", large + 1, cfa="RGGB", iso=3200)
        (record,) = mosaics(tmp_path, clean="*_clean.dng", noisy="*_noisy.dng").records
        assert record.iso == 3200

    @pytest.mark.parametrize("kept", [100, 2000])
    def test_a_damaged_file_is_refused(self, tmp_path: Path, packed: np.ndarray, kept: int) -> None:
        path = write_dng(tmp_path / "a.dng", np.tile(packed[..., 0], (6, 6)), cfa="RGGB")
        path.write_bytes(path.read_bytes()[:kept])
        found = mosaics(tmp_path)
        if found.records:  # known by its pixels only
            with pytest.raises(ValueError, match=r"damaged|LibRaw"):
                read_pixels(found.records[0].uri)
        else:
            assert found.rejects[0].reason == "unreadable"


def test_without_rawpy_a_dng_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dng(tmp_path / "a.dng", np.full((64, 64), 300, np.uint16), cfa="RGGB")
    monkeypatch.setattr("pipeline.sources.mosaics.has_rawpy", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'noisemill\[raw\]'"):
        mosaics(tmp_path)
