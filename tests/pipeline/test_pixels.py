"""Between stored samples and floats: exact both ways, clipped, ties to even, grey by luma."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.pixels import (
    SAMPLE_TYPES,
    SampleType,
    quantise,
    stack_widest,
    to_color,
    to_grey_levels,
    to_nchw,
    to_nhwc,
    to_unit,
    to_unit64,
    to_unit_nchw,
    white_level,
)


@pytest.mark.parametrize(("encoding", "top"), [("uint8", 255), ("uint16", 65535)])
def test_every_stored_value_survives_the_way_to_float_and_back(
    encoding: SampleType, top: int
) -> None:
    values = np.arange(top + 1).astype(encoding)
    unit = to_unit(values)
    assert unit.dtype == np.float32
    assert unit[0] == 0
    assert unit[-1] == 1
    np.testing.assert_array_equal(quantise(unit, encoding), values)


def test_floats_pass_untouched_in_both_directions() -> None:
    image = np.array([-0.5, 0.3, 1.7], np.float32)
    assert to_unit(image) is image
    assert quantise(image, "float32") is image


@pytest.mark.parametrize(("encoding", "top"), [("uint8", 255), ("uint16", 65535)])
def test_integers_are_clipped_and_never_wrap(encoding: SampleType, top: int) -> None:
    image = np.array([-3.0, -1e-7, 1 + 1e-7, 300.0], np.float32)
    stored = quantise(image, encoding)
    assert stored.dtype == np.dtype(encoding)
    assert stored.tolist() == [0, 0, top, top]


def test_ties_round_to_even_so_that_rounding_adds_no_light() -> None:
    halves = (np.arange(0, 200, dtype=np.float64) + 0.5) / 255
    # Float32 has no exact n + 0.5 after the division; take those that come back as exact ties.
    unit = halves.astype(np.float32)
    ties = (unit * np.float32(255)) % 1 == 0.5
    assert ties.sum() > 50
    stored = quantise(unit, "uint8")[ties]
    assert (stored % 2 == 0).all()


@pytest.mark.parametrize("encoding", ["uint8", "uint16"])
def test_the_rounding_error_is_at_most_half_a_step(encoding: SampleType) -> None:
    image = np.random.default_rng(0).random(10_000, dtype=np.float32)
    step = 1 / np.iinfo(encoding).max
    error = to_unit(quantise(image, encoding)).astype(np.float64) - image
    # Float32 itself is off by up to 2**-24.
    assert np.abs(error).max() <= step / 2 + 2**-23
    # Uniform in +- half a step: its deviation is step / sqrt(12), within 5 standard errors.
    expected = step / np.sqrt(12)
    assert abs(error.std() / expected - 1) < 5 / np.sqrt(10_000)


def test_colours_stay_as_they_are_where_nothing_is_to_be_done() -> None:
    for channels, color in ((3, "rgb"), (1, "grey"), (4, "rgb"), (4, "grey")):
        pixels = np.zeros((2, 3, channels), np.uint8)
        assert to_color(pixels, color) is pixels  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_grey_becomes_three_equal_channels_and_comes_back_as_it_was(kind: str) -> None:
    values = np.arange(256).reshape(16, 16, 1)
    grey = (values / 255).astype(kind) if kind == "float32" else values.astype(kind)
    color = to_color(grey, "rgb")
    assert color.shape == (16, 16, 3)
    assert color.dtype == grey.dtype
    back = to_color(color, "grey")
    assert back.dtype == grey.dtype
    if kind == "float32":
        np.testing.assert_allclose(back, grey, rtol=0, atol=2**-23)
    else:
        np.testing.assert_array_equal(back, grey)


def test_grey_is_the_luma_of_bt601() -> None:
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert to_color(primaries, "grey")[0, :, 0].tolist() == [76, 150, 29]


def test_the_luma_of_a_pixel_does_not_depend_on_what_is_converted_with_it() -> None:
    image = np.random.default_rng(1).random((64, 67, 3), dtype=np.float32)
    whole = to_color(image, "grey")
    for y, x, size in ((0, 0, 1), (5, 7, 13), (31, 3, 33)):
        part = to_color(image[y : y + size, x : x + size], "grey")
        np.testing.assert_array_equal(part, whole[y : y + size, x : x + size])


@pytest.mark.parametrize("kind", SAMPLE_TYPES)
@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 4)])
def test_channels_come_first_for_networks_and_back_last(
    kind: SampleType, shape: tuple[int, ...]
) -> None:
    pixels = quantise(np.random.default_rng(3).random(shape, np.float32), kind)
    moved = to_nchw(pixels)
    assert moved.shape == (*shape[:-3], shape[-1], *shape[-3:-1])
    assert moved.is_contiguous()
    np.testing.assert_array_equal(to_nhwc(moved), pixels)


@pytest.mark.parametrize("kind", SAMPLE_TYPES)
def test_one_pass_to_a_unit_tensor_gives_the_bits_of_scaling_first(kind: SampleType) -> None:
    top = 65535 if kind == "uint16" else 255
    values = np.arange(top + 1).reshape(-1, 1, 1) / (top if kind == "float32" else 1)
    pixels = values.astype(kind)
    np.testing.assert_array_equal(to_unit_nchw(pixels).numpy(), to_unit(pixels).transpose(2, 0, 1))
    swapped = pixels.astype(pixels.dtype.newbyteorder(">"))
    np.testing.assert_array_equal(to_unit_nchw(swapped), to_unit_nchw(pixels))


def test_a_stack_takes_the_widest_type_and_keeps_every_value() -> None:
    narrow, wide = np.full((2, 2, 1), 200, np.uint8), np.full((2, 2, 1), 7, np.uint16)
    stack = stack_widest([narrow, wide])
    assert stack.dtype == np.uint16
    np.testing.assert_array_equal(to_unit(stack[0]), to_unit(narrow))
    np.testing.assert_array_equal(stack[1], wide)
    assert stack_widest([narrow]).dtype == np.uint8


def test_grey_levels_are_the_whole_numbers_that_are_stored() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    images = to_unit_nchw(values)
    np.testing.assert_array_equal(to_grey_levels(images), values)
    assert to_grey_levels(images * 4 - 1).max() == 255
    np.testing.assert_array_equal(to_unit64(values) * 255, values)


def test_a_type_that_pixels_never_have_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="uint8, uint16 or float32; got float64"):
        white_level(np.dtype(np.float64))
