"""Pictures show what they say, diagrams are plain SVG elements, both the same every time."""

import base64
import io
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipeline.measure.pair import ImagePair
from pipeline.report import figures
from pipeline.report.collect import ReportSamples, collect_samples
from pipeline.report.measure import REAL, NoiseProfile, profiles


def test_noise_is_amplified_around_mid_grey_and_clipped() -> None:
    clean = np.full((2, 2, 3), 100, np.uint8)
    noisy = clean.copy()
    noisy[0, 0] = (110, 90, 255)
    shown = figures.noise_picture(ImagePair(clean=clean, noisy=noisy))
    assert shown[1, 1].tolist() == [128, 128, 128]
    assert shown[0, 0].tolist() == [round(127.5 + 50), round(127.5 - 50), 255]


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_every_encoding_becomes_the_same_picture(dtype: str, white: float) -> None:
    values = np.linspace(0, 1, 12).reshape(2, 2, 3)
    stored = (values * white) if dtype == "float32" else np.rint(values * white)
    shown = figures.picture(stored.astype(dtype))
    assert shown.dtype == np.uint8
    np.testing.assert_allclose(shown, values * 255, atol=0.51)


def test_grey_and_raw_become_colour() -> None:
    assert figures.picture(np.full((4, 4, 1), 77, np.uint8))[0, 0].tolist() == [77, 77, 77]
    raw = np.zeros((4, 4, 4), np.float32)
    raw[..., 1], raw[..., 2], raw[..., 3] = 0.2, 0.4, 2.0
    expected = [0, round(255 * 0.3 ** (1 / 2.2)), 255]
    assert figures.picture(raw, "raw")[0, 0].tolist() == expected


def test_crop_takes_the_middle() -> None:
    image = np.arange(200 * 100).reshape(200, 100, 1)
    found = figures.crop(image, 50)
    assert found.shape == (50, 50, 1)
    assert found[0, 0, 0] == 75 * 100 + 25
    assert figures.crop(image, 300).shape == image.shape


def test_image_uri_is_a_lossless_png() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    kind, data = figures.image_uri(pixels).split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.fixture
def samples(make_corpus: Callable[..., Any], pairs: Callable[..., Any]) -> ReportSamples:
    return collect_samples(*make_corpus(), real_pairs=pairs)


def draw_all(noise: NoiseProfile, real: NoiseProfile | None) -> list[str]:
    return [
        figures.histogram_svg(noise, real, "#3b82c4"),
        figures.variance_svg(noise, real, "#3b82c4"),
        figures.correlation_svg(noise, real),
        figures.covariance_svg(noise, real),
    ]


def test_diagrams_are_svg_in_the_colour_of_the_page(samples: ReportSamples) -> None:
    found = profiles(samples)
    for text in [*draw_all(found["weak"], found[REAL]), *draw_all(found["weak"], None)]:
        element = ElementTree.fromstring(text)
        assert element.tag.endswith("svg")
        assert "viewBox" in element.attrib
        assert not {"width", "height"} & element.attrib.keys()
        assert "currentColor" in text
        assert figures.INK not in text


def test_diagrams_and_gallery_are_the_same_every_time(samples: ReportSamples) -> None:
    found = profiles(samples)
    assert draw_all(found["weak"], found[REAL]) == draw_all(found["weak"], found[REAL])
    pictures = [figures.gallery_png(samples.patches[:2], samples.generators) for _ in range(2)]
    assert pictures[0] == pictures[1]


def test_correlation_diagram_states_its_numbers(samples: ReportSamples) -> None:
    found = profiles(samples)
    text = figures.correlation_svg(found["weak"], found[REAL])
    right = found[REAL].correlation.result()[5, 6]
    assert f"right {right:.2f}" in text
    assert "-0.00" not in text


def test_long_names_over_the_gallery_are_folded_and_push_the_pictures_down(
    samples: ReportSamples,
) -> None:
    def height(names: tuple[str, ...]) -> int:
        with Image.open(io.BytesIO(figures.gallery_png(samples.patches[:1], names))) as image:
            return image.size[1]

    assert height(("a-name-of-no-end-that-would-run-into-its-neighbour",)) > height(("short",))


def test_gallery_has_a_column_for_each_image(samples: ReportSamples) -> None:
    def size(data: bytes) -> tuple[int, int]:
        with Image.open(io.BytesIO(data)) as image:
            return image.size

    with_real = [p for p in samples.patches if p.real is not None]
    without = [p for p in samples.patches if p.real is None]
    four, three = (
        size(figures.gallery_png(group[:1], samples.generators)) for group in (with_real, without)
    )
    assert four[0] - three[0] == pytest.approx(2 * 32 + 6, abs=1)
    two_rows = size(figures.gallery_png(with_real[:2], samples.generators))
    assert two_rows[1] - four[1] > 2 * 64
    with pytest.raises(ValueError, match="at least one"):
        figures.gallery_png([], samples.generators)
