"""Raw noise on photographs: the noise is the inner generator's, on the sensor, and developed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import generators
from generators.base import NoiseContext, NoiseRequest
from generators.camera import SimulatedCamera
from generators.capture import CaptureMetadata
from generators.isp import develop, mosaic, unprocess
from generators.on_raw import OnRaw
from generators.rendering import rendering_of

BETA1, BETA2 = 4e-3, 1e-4
FIXED: dict[str, Any] = {"matrix": "sony-a7r", "white_balance": [2.0, 1.6], "brightness": 1.25}


def raw_noise(**params: Any) -> Any:
    chosen = params or {"beta1": BETA1, "beta2": BETA2}
    return generators.create("heteroscedastic", params={**chosen, "domain": "raw"})


def request(level: float = 0.5, rows: int = 4, side: int = 64, channels: int = 3) -> NoiseRequest:
    clean = torch.full((rows, channels, side, side), level)
    return NoiseRequest(
        context=NoiseContext(clean=clean, capture=CaptureMetadata.same(rows, camera="S6", iso=800)),
        seeds=list(range(rows)),
    )


def correlation(noise: Tensor) -> float:
    """Return the correlation of horizontal neighbours."""
    centred = noise - noise.mean((2, 3), keepdim=True)
    return float((centred[..., 1:] * centred[..., :-1]).mean() / centred.square().mean())


@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_kept_raw_has_the_variance_of_the_inner_generator(level: float) -> None:
    made = OnRaw(raw_noise(), output="raw", **FIXED).sample(request(level))
    assert made.noisy.shape == (4, 4, 32, 32)
    for channel in range(4):
        clean = made.clean[:, channel]
        expected = BETA1 * float(clean.mean()) + BETA2
        noise = (made.noisy[:, channel] - clean).double()
        n = noise.numel()
        # The variance of a variance of normals: 2 / n, relative; five standard errors.
        assert float(noise.var()) == pytest.approx(expected, rel=5 * (2 / n) ** 0.5)
        assert abs(float(noise.mean())) < 5 * (expected / n) ** 0.5


def test_the_clean_pair_is_the_photograph_seen_by_the_sensor_and_developed() -> None:
    asked = request(0.4)
    made = OnRaw(raw_noise(), **FIXED).sample(asked)
    rendering = rendering_of(made.params[:1])
    seen = mosaic(unprocess(asked.context.clean[:1], rendering))
    torch.testing.assert_close(made.clean[:1], develop(seen, rendering), rtol=0, atol=0)
    torch.testing.assert_close(made.clean, asked.context.clean, rtol=0, atol=2e-3)


def test_developed_noise_hangs_together_and_kept_raw_does_not() -> None:
    developed = OnRaw(raw_noise(), **FIXED).sample(request())
    kept = OnRaw(raw_noise(), output="raw", **FIXED).sample(request())
    assert correlation(developed.noisy - developed.clean) > 0.2
    assert abs(correlation(kept.noisy - kept.clean)) < 0.03


def test_the_rendering_is_drawn_as_the_simulated_camera_draws_it() -> None:
    ours = OnRaw(raw_noise(), output="raw").sample(request(rows=2, side=8))
    camera = SimulatedCamera(output="raw").sample(request(rows=2, side=8))
    torch.testing.assert_close(ours.clean, camera.clean, rtol=0, atol=0)
    for mine, theirs in zip(ours.params, camera.params, strict=True):
        assert {k: v for k, v in mine.items() if k in theirs} == {
            k: v for k, v in theirs.items() if k in mine
        }
        assert {"red_gain", "brightness_gain", "beta1"} <= set(mine)


def test_camera_and_iso_reach_the_inner_generator() -> None:
    made = OnRaw(raw_noise(table="sidd"))
    assert made.needs == {"camera", "iso"}
    assert made.sample(request(rows=1, side=8)).params[0]["beta1"] == 0.003696  # S6 at ISO 800


def test_two_shots_share_the_scene_and_not_the_noise() -> None:
    generator = OnRaw(raw_noise(), output="raw")
    first, second = generator.sample_twice(request())
    torch.testing.assert_close(first.noisy, generator.sample(request()).noisy, rtol=0, atol=0)
    a, b = (noisy - first.clean for noisy in (first.noisy, second))
    n = a.numel()
    assert abs(float((a * b).mean() / (a.std() * b.std()))) < 5 / n**0.5
    assert float(b.std() / a.std()) == pytest.approx(1, abs=5 / n**0.5)


def test_a_grey_photograph_stays_grey() -> None:
    made = OnRaw(raw_noise()).sample(request(channels=1))
    assert made.noisy.shape == made.clean.shape == (4, 1, 64, 64)


def test_what_is_no_raw_generator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'awgn' reads srgb.*params: \{domain: raw\}"):
        OnRaw(generators.create("awgn", params={"sigma": 5}))


def test_a_generator_that_follows_a_reference_is_refused() -> None:
    inner = raw_noise()
    inner.needs = frozenset({"reference"})
    with pytest.raises(ValueError, match="noisy partner of a photograph is none"):
        OnRaw(inner)


def test_odd_sizes_are_refused_and_the_multiple_says_so() -> None:
    generator = OnRaw(raw_noise())
    assert generator.multiple == 2
    with pytest.raises(ValueError, match="even height and width"):
        generator.sample(request(side=7))


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"output": "jpeg"}, "output must be one of srgb, raw"),
        ({"matrix": "kodak"}, "matrix must be one of random"),
        ({"brightness": 0.5}, "brightness"),
    ],
)
def test_wrong_parameters_are_told(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        OnRaw(raw_noise(), **params)
