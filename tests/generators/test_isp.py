"""Developing and unprocessing undo each other; demosaicing is exact where it can be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from generators.isp import (
    MATRICES,
    Rendering,
    demosaic,
    develop,
    linear_to_srgb,
    mosaic,
    srgb_to_linear,
    tone_curve,
    tone_curve_inverse,
    unprocess,
)


def rendering(*, matrix: str | None = None, brightness: float = 1.25, rows: int = 1) -> Rendering:
    weights = [0.25] * 4 if matrix is None else [float(name == matrix) for name in MATRICES]
    return Rendering.from_weights(
        [weights] * rows, red=[2.2] * rows, blue=[1.7] * rows, brightness=[brightness] * rows
    )


def smooth_image(side: int = 64) -> Tensor:
    """Moderate colours that change by at most 3 grey levels a pixel."""
    t = torch.linspace(0, 1, side)
    down, right = t[:, None].expand(side, side), t[None, :].expand(side, side)
    red = 0.15 + 0.7 * down
    green = 0.5 + 0.3 * torch.sin(3 * right)
    blue = 0.3 + 0.4 * down * right
    return torch.stack([red, green, blue])[None]


def test_tone_curve_and_its_inverse_undo_each_other() -> None:
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(tone_curve(tone_curve_inverse(x)), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(tone_curve(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([0, 0.5, 1]))


def test_gamma_and_its_inverse_undo_each_other() -> None:
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(x)), x, rtol=0, atol=1e-7)


def test_gamma_is_that_of_the_standard() -> None:
    """Middle grey: 18 % reflectance is 117.6 of 255 in sRGB."""
    grey = float(linear_to_srgb(torch.tensor(0.18)))
    assert abs(grey * 255 - 117.6) < 0.1


@pytest.mark.parametrize("matrix", MATRICES)
def test_matrices_keep_white_and_have_an_inverse(matrix: str) -> None:
    made = rendering(matrix=matrix)
    torch.testing.assert_close(made.to_camera.sum(2), torch.ones(1, 3))
    torch.testing.assert_close(made.to_srgb.sum(2), torch.ones(1, 3))
    product = made.to_camera[0] @ made.to_srgb[0]
    torch.testing.assert_close(product, torch.eye(3), rtol=0, atol=1e-5)
    # Each channel of a camera sees most of its own colour.
    assert torch.equal(made.to_camera[0].argmax(1), torch.arange(3))


@pytest.mark.parametrize("brightness", [1.0, 1.25, 2.0])
@pytest.mark.parametrize("matrix", [None, *MATRICES])
def test_a_smooth_photograph_survives_the_round_trip(matrix: str | None, brightness: float) -> None:
    image, made = smooth_image(), rendering(matrix=matrix, brightness=brightness)
    again = develop(mosaic(unprocess(image, made)), made)
    error = (again - image).abs()[..., 4:-4, 4:-4] * 255
    # Interpolating a curve costs up to 0.42 grey levels here; the mirrored border more.
    assert float(error.max()) < 0.6
    assert float(error.mean()) < 0.06


@pytest.mark.parametrize("grey", [0.0, 0.02, 0.3, 0.7, 0.85, 1.0])
def test_flat_grey_survives_the_round_trip_even_in_blown_highlights(grey: float) -> None:
    made = rendering()
    image = torch.full((1, 3, 8, 8), grey)
    again = develop(mosaic(unprocess(image, made)), made)
    assert float((again - image).abs().max()) * 255 < 0.05


def test_raw_of_a_photograph_is_darker_in_red_and_blue_than_in_green() -> None:
    made = rendering()
    raw = unprocess(torch.full((1, 3, 4, 4), 0.5), made)[0, :, 0, 0]
    assert float(raw[1] / raw[0]) == pytest.approx(2.2, rel=1e-4)
    assert float(raw[1] / raw[2]) == pytest.approx(1.7, rel=1e-4)


def test_white_reaches_the_sensors_white() -> None:
    raw = unprocess(torch.ones(1, 3, 4, 4), rendering())
    torch.testing.assert_close(raw, torch.ones_like(raw))


def test_unprocessed_values_stay_on_the_sensors_scale() -> None:
    """Colours of the cube's corners lie outside a camera's range and are clipped."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).T.reshape(1, 3, 2, 4)
    for matrix in MATRICES:
        raw = unprocess(corners, rendering(matrix=matrix))
        assert float(raw.min()) >= 0
        assert float(raw.max()) <= 1
        assert bool(torch.isfinite(raw).all())


def test_mosaic_takes_red_green_green_blue_from_each_two_by_two() -> None:
    image = torch.arange(3 * 4 * 6, dtype=torch.float32).reshape(1, 3, 4, 6)
    packed = mosaic(image)
    assert packed.shape == (1, 4, 2, 3)
    cell = [image[0, 0, 2, 4], image[0, 1, 2, 5], image[0, 1, 3, 4], image[0, 2, 3, 5]]
    assert packed[0, :, 1, 2].tolist() == [float(value) for value in cell]


def test_demosaicing_keeps_what_was_measured() -> None:
    packed = torch.rand(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mosaic(demosaic(packed)), packed)


def test_demosaicing_a_flat_colour_is_exact_up_to_the_border() -> None:
    image = torch.tensor([0.2, 0.5, 0.8])[None, :, None, None].expand(1, 3, 8, 10)
    torch.testing.assert_close(demosaic(mosaic(image)), image.contiguous())


@pytest.mark.parametrize("axis", [2, 3])
def test_demosaicing_a_grey_ramp_is_exact_inside(axis: int) -> None:
    """All of Malvar's filters reproduce straight lines."""
    shape = [1, 1, 1, 1]
    shape[axis] = 16
    image = torch.linspace(0, 1, 16).reshape(shape).expand(1, 3, 16, 16)
    torch.testing.assert_close(
        demosaic(mosaic(image))[..., 2:-2, 2:-2], image[..., 2:-2, 2:-2], rtol=0, atol=1e-6
    )


def test_demosaicing_a_bright_dot_gives_the_published_weights() -> None:
    """One red pixel among black: the centre filters of the paper's figure, in eighths."""
    packed = torch.zeros(1, 4, 5, 5)
    packed[0, 0, 2, 2] = 8.0  # the pixel (4, 4)
    red, green, blue = demosaic(packed)[0].round().int()[:, 2:7, 2:7]
    assert green.tolist()[2] == [-1, 0, 4, 0, -1]
    assert green.tolist()[0] == [0, 0, -1, 0, 0]
    assert red.tolist()[2] == [0, 4, 8, 4, 0]
    assert red.tolist()[1] == [0, 2, 4, 2, 0]
    assert blue.tolist()[2][2] == 6
    halves = demosaic(packed)[0, 2, 2:7, 2:7]
    assert halves[0, 2] == halves[2, 0] == halves[2, 4] == halves[4, 2] == -1.5


def test_development_clips_to_what_a_file_can_hold() -> None:
    raw = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 2
    made = develop(raw, rendering(rows=2))
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1


def test_a_saturated_sensor_develops_white_not_pink() -> None:
    made = develop(torch.ones(1, 4, 4, 4), rendering())
    torch.testing.assert_close(made, torch.ones_like(made))


def test_each_row_is_developed_with_its_own_gains() -> None:
    weights = [[1.0, 0, 0, 0], [0, 0, 0, 1.0]]
    both = Rendering.from_weights(weights, red=[2.0, 2.4], blue=[1.5, 1.9], brightness=[1.0, 2.0])
    second = Rendering.from_weights(weights[1:], red=[2.4], blue=[1.9], brightness=[2.0])
    raw = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.3
    torch.testing.assert_close(develop(raw.repeat(2, 1, 1, 1), both)[1:], develop(raw, second))
