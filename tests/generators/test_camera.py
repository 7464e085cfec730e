"""The simulated camera: noise that grows with ISO, hangs together in space, and is recorded."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from generators.base import NoiseContext, NoiseRequest
from generators.camera import SimulatedCamera
from generators.capture import CaptureMetadata
from generators.isp import MATRICES, Rendering, develop
from generators.sensor import SENSORS

ISOS = (100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600)
ROWS, SIDE = 6, 64
QUIET = {
    "full_well_e": 1e9,
    "read_noise_e": 0.0,
    "row_noise_e": 0.0,
    "adc_noise_dn": 0.0,
    "bits": 16,
    "black_level_dn": 0,
    "base_iso": 100,
}


def scene(rows: int = ROWS, side: int = SIDE) -> Tensor:
    """Smooth scenes of moderate brightness, each row another."""
    t = torch.linspace(0, 1, side)
    ramp = 0.25 + 0.4 * (t[:, None] + t[None, :]) / 2
    tint = torch.tensor([[1.0, 0.95, 0.85], [0.9, 1.0, 1.05], [1.05, 0.95, 1.0]])
    return torch.stack([ramp[None] * tint[i % 3][:, None, None] for i in range(rows)])


def ask(image: Tensor, *, iso: int | None = None, first_seed: int = 0) -> NoiseRequest:
    rows = len(image)
    return NoiseRequest(
        context=NoiseContext(clean=image, capture=CaptureMetadata.same(rows, camera=None, iso=iso)),
        seeds=range(first_seed, first_seed + rows),
    )


def correlation(noise: Tensor, *, down: int = 0, right: int = 0) -> float:
    height, width = noise.shape[2:]
    a, b = noise[..., down:, right:], noise[..., : height - down, : width - right]
    return float((a * b).mean() / noise.square().mean())


@pytest.mark.parametrize("output", ["srgb", "raw"])
@pytest.mark.parametrize("camera", SENSORS)
def test_noise_grows_with_iso(camera: str, output: str) -> None:
    levels = []
    for iso in ISOS:
        sample = SimulatedCamera(camera=camera, iso=iso, output=output).sample(ask(scene()))
        levels.append(float((sample.noisy - sample.clean).std()))
    assert all(a < b for a, b in itertools.pairwise(levels)), levels


def test_larger_sensors_are_quieter() -> None:
    levels = []
    for camera in ("phone", "compact", "full-frame"):
        sample = SimulatedCamera(camera=camera, iso=1600).sample(ask(scene()))
        levels.append(float((sample.noisy - sample.clean).std()))
    assert levels[0] > levels[1] > levels[2]


@pytest.mark.parametrize("camera", SENSORS)
@pytest.mark.parametrize("iso", [100, 1600, 6400])
def test_developed_noise_is_correlated_between_neighbours_and_raw_noise_is_not(
    camera: str, iso: int
) -> None:
    developed = SimulatedCamera(camera=camera, iso=iso).sample(ask(scene()))
    noise = (developed.noisy - developed.clean).double()
    for shift in ({"right": 1}, {"down": 1}):
        assert correlation(noise, **shift) > 0.2
    assert abs(correlation(noise, down=9, right=9)) < 0.1

    raw = SimulatedCamera(camera=camera, iso=iso, output="raw").sample(ask(scene()))
    noise = (raw.noisy - raw.clean).double()
    # Six standard errors, and the share of the row noise along a row.
    bound = 6 / math.sqrt(noise.numel())
    assert abs(correlation(noise, down=1)) < bound
    assert abs(correlation(noise, right=1)) < bound + 0.1


def test_developed_noise_is_correlated_between_channels() -> None:
    sample = SimulatedCamera().sample(ask(scene()))
    red, green, blue = (sample.noisy - sample.clean).double().unbind(1)
    for a, b in ((red, green), (green, blue)):
        assert abs(float((a * b).mean() / (a.std() * b.std()))) > 0.05


def test_noise_has_no_bias_where_nothing_clips() -> None:
    sample = SimulatedCamera(camera="full-frame", iso=400, output="raw").sample(ask(scene()))
    noise = (sample.noisy - sample.clean).double()
    # Rows share an offset, so the mean of a row counts as one draw: a loose bound of ten errors.
    assert abs(float(noise.mean())) < 10 * float(noise.std()) / math.sqrt(noise.numel())


def test_the_clean_image_is_what_a_camera_without_noise_would_give() -> None:
    quiet = SimulatedCamera(camera=QUIET, iso=100).sample(ask(scene()))
    # What is left is the rounding to 65,536 steps.
    assert float((quiet.noisy - quiet.clean).abs().max()) < 1 / 255
    loud = SimulatedCamera(camera="phone", iso=3200).sample(ask(scene()))
    assert torch.equal(quiet.clean, loud.clean)


def test_the_clean_image_stays_close_to_the_photograph() -> None:
    image = scene()
    sample = SimulatedCamera().sample(ask(image))
    error = (sample.clean - image).abs()[..., 4:-4, 4:-4] * 255
    assert float(error.max()) < 1.0
    assert float(error.mean()) < 0.1


def test_blown_highlights_carry_less_noise_than_grey() -> None:
    image = torch.cat([torch.full((1, 3, 32, 32), 0.5), torch.ones(1, 3, 32, 32)])
    sample = SimulatedCamera(iso=400).sample(ask(image))
    grey, white = (sample.noisy - sample.clean).flatten(1).std(1)
    assert float(white) < 0.1 * float(grey)


def test_raw_is_packed_at_half_size_and_may_be_negative() -> None:
    image = torch.zeros(2, 3, 16, 24)
    sample = SimulatedCamera(output="raw").sample(ask(image))
    assert sample.clean.shape == sample.noisy.shape == (2, 4, 8, 12)
    assert float(sample.noisy.min()) < 0


def test_raw_and_srgb_are_of_the_same_exposure() -> None:
    """Noise on the sensor does not depend on what is done with it afterwards."""
    raw, developed = (
        SimulatedCamera(output=output, matrix="sony-a7r").sample(ask(scene()))
        for output in ("raw", "srgb")
    )
    assert raw.params == developed.params
    rendering = Rendering.from_weights(
        [[float(params[f"matrix_{name}"]) for name in MATRICES] for params in raw.params],
        red=[float(params["red_gain"]) for params in raw.params],
        blue=[float(params["blue_gain"]) for params in raw.params],
        brightness=[float(params["brightness_gain"]) for params in raw.params],
    )
    torch.testing.assert_close(develop(raw.noisy, rendering), developed.noisy)
    torch.testing.assert_close(develop(raw.clean, rendering), developed.clean)


def test_a_grey_photograph_comes_back_grey_with_correlated_noise() -> None:
    image = scene()[:, :1]
    sample = SimulatedCamera().sample(ask(image))
    assert sample.noisy.shape == image.shape
    assert correlation((sample.noisy - sample.clean).double(), right=1) > 0.2
    assert float((sample.clean - image).abs()[..., 4:-4, 4:-4].max()) * 255 < 1.0


@pytest.mark.parametrize("size", [(5, 8), (8, 5), (2, 8), (8, 2), (1, 1)])
def test_a_size_that_is_no_mosaic_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"even height and width.*{size[0]} by {size[1]}"):
        SimulatedCamera().sample(ask(torch.zeros(1, 3, *size)))


def test_isos_are_drawn_log_uniformly_from_a_range() -> None:
    rows = 500
    sample = SimulatedCamera(iso=[100, 6400]).sample(ask(torch.zeros(rows, 3, 4, 4)))
    logs = torch.tensor([math.log2(float(params["iso"]) / 100) for params in sample.params])
    assert float(logs.min()) >= 0
    assert float(logs.max()) <= 6
    assert abs(float(logs.mean()) - 3) < 5 * 6 / math.sqrt(12 * rows)
    assert all(type(params["iso"]) is int for params in sample.params)


def test_isos_are_chosen_evenly_from_a_list() -> None:
    rows = 300
    generator = SimulatedCamera(iso={"one_of": [100, 400, 1600]})
    sample = generator.sample(ask(torch.zeros(rows, 3, 4, 4)))
    drawn = [params["iso"] for params in sample.params]
    assert set(drawn) == {100, 400, 1600}
    for iso in set(drawn):
        assert abs(drawn.count(iso) - rows / 3) < 5 * math.sqrt(rows * 2 / 9)


def test_iso_of_the_shot_is_used_where_asked_for() -> None:
    generator = SimulatedCamera(iso="shot")
    assert generator.needs == {"iso"}
    assert SimulatedCamera.needs == frozenset()
    shot = generator.sample(ask(scene(), iso=3200))
    fixed = SimulatedCamera(iso=3200).sample(ask(scene()))
    assert torch.equal(shot.noisy, fixed.noisy)
    with pytest.raises(ValueError, match="ISO 25 is below"):
        generator.sample(ask(scene(), iso=25))


def test_development_is_drawn_within_the_published_ranges_and_recorded() -> None:
    sample = SimulatedCamera().sample(ask(torch.zeros(300, 3, 4, 4)))
    for params in sample.params:
        json.dumps(dict(params))
        assert 1.9 <= float(params["red_gain"]) <= 2.4
        assert 1.5 <= float(params["blue_gain"]) <= 1.9
        assert 1.0 <= float(params["brightness_gain"]) <= 2.0
        shares = [float(params[f"matrix_{name}"]) for name in MATRICES]
        assert min(shares) >= 0
        assert sum(shares) == pytest.approx(1)
    assert len({params["red_gain"] for params in sample.params}) == 300


def test_what_is_fixed_is_fixed_and_leaves_the_other_draws_alone() -> None:
    image = scene()
    free = SimulatedCamera().sample(ask(image)).params
    fixed = SimulatedCamera(white_balance=[2.0, 1.6], matrix="sony-a7r").sample(ask(image)).params
    for a, b in zip(free, fixed, strict=True):
        assert (b["red_gain"], b["blue_gain"], b["matrix"]) == (2.0, 1.6, "sony-a7r")
        assert (b["matrix_sony-a7r"], b["matrix_nexus-6p"]) == (1.0, 0.0)
        assert a["brightness_gain"] == b["brightness_gain"]
    dull = SimulatedCamera(brightness=1).sample(ask(image)).params
    assert {params["brightness_gain"] for params in dull} == {1.0}
    assert [p["red_gain"] for p in dull] == [p["red_gain"] for p in free]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"camera": "telephone"}, "phone, compact, full-frame"),
        ({"camera": 3}, "camera must be one of"),
        ({"camera": {"bits": 12}}, "needs exactly adc_noise_dn, base_iso, bits"),
        ({"camera": QUIET | {"bits": 99}}, "bits"),
        ({"iso": 25}, "below the sensor's base ISO 50"),
        ({"iso": [10, 100]}, r"iso\[0\]"),
        ({"iso": [400, 100]}, "low < high"),
        ({"iso": "auto"}, "'shot'.*'auto'"),
        ({"iso": None}, "iso must be a number"),
        ({"iso": {"one_of": []}}, "one_of"),
        ({"iso": {"any": [100]}}, "one_of"),
        ({"iso": {"one_of": [100, 25]}}, "below"),
        ({"iso": {"one_of": ["x"]}}, r"iso.one_of\[0\]"),
        ({"output": "jpeg"}, "srgb, raw"),
        ({"matrix": "leica"}, "nexus-6p"),
        ({"white_balance": 2}, "white_balance"),
        ({"white_balance": [0.5, 2]}, r"white_balance\[0\]"),
        ({"brightness": 0.5}, "brightness"),
        ({"brightness": "bright"}, "brightness"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulatedCamera(**params)
