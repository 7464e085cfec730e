"""The four formulas: level, dependence on the signal, whiteness, maps, tables and refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.nlf_tables import SIDD
from generators.parametric import AWGN, Heteroscedastic, PoissonGaussian, SpatiallyVariantAWGN

ROWS, SIDE = 4, 128
N = ROWS * 3 * SIDE * SIDE


def flat_request(
    level: float,
    *,
    rows: int = ROWS,
    channels: int = 3,
    side: int = SIDE,
    camera: str | None = None,
    iso: int | None = None,
) -> NoiseRequest:
    clean = torch.full((rows, channels, side, side), level)
    capture = CaptureMetadata.same(rows, camera=camera, iso=iso)
    return NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=range(rows))


def noise_of(generator: Any, request: NoiseRequest) -> Tensor:
    sample = generator.sample(request)
    return (sample.noisy - sample.clean).double()


def assert_moments(noise: Tensor, variance: float, kurtosis: float = 3.0) -> None:
    n = noise.numel()
    assert abs(float(noise.mean())) < 5 * math.sqrt(variance / n)
    spread = math.sqrt((kurtosis - 1) / n)
    assert abs(float(noise.square().mean()) / variance - 1) < 5 * spread


def test_awgn_has_the_level_asked_for_in_grey_levels_of_255() -> None:
    assert_moments(noise_of(AWGN(sigma=25), flat_request(0.5)), (25 / 255) ** 2)


def test_awgn_is_white_in_space_and_over_channels() -> None:
    noise = noise_of(AWGN(sigma=25), flat_request(0.5))
    scale = float(noise.square().mean())
    pairs = [
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[:, 0], noise[:, 1]),
        (noise[:, 0], noise[:, 2]),
        (noise[0], noise[1]),
    ]
    for a, b in pairs:
        assert abs(float((a * b).mean()) / scale) < 5 / math.sqrt(a.numel())


def test_awgn_does_not_clip() -> None:
    for level in (0.0, 1.0):
        assert_moments(noise_of(AWGN(sigma=50), flat_request(level)), (50 / 255) ** 2)


def test_awgn_draws_levels_uniformly_from_its_range_and_records_them() -> None:
    rows = 400
    sample = AWGN(sigma=[10, 40]).sample(flat_request(0.5, rows=rows, side=32))
    levels = torch.tensor([float(params["sigma"]) for params in sample.params])
    assert float(levels.min()) >= 10
    assert float(levels.max()) < 40
    assert abs(float(levels.mean()) - 25) < 5 * 30 / math.sqrt(12 * rows)
    assert abs(float(levels.std()) - 30 / math.sqrt(12)) < 5 * 30 / math.sqrt(60 * rows)
    measured = (sample.noisy - sample.clean).flatten(1).std(1) * 255
    assert float((measured / levels - 1).abs().max()) < 6 / math.sqrt(2 * 3 * 32 * 32)


@pytest.mark.parametrize("kind", ["bumps", "peaks"])
def test_map_touches_both_ends_of_its_range_and_is_smooth(kind: str) -> None:
    levels = SpatiallyVariantAWGN(sigma=[15, 35], map=kind).levels([1, 2, 3], 64, 96)
    assert levels.shape == (3, 1, 64, 96)
    torch.testing.assert_close(levels.amin((1, 2, 3)), torch.full((3,), 15.0))
    torch.testing.assert_close(levels.amax((1, 2, 3)), torch.full((3,), 35.0))
    for axis in (2, 3):
        assert float(levels.diff(dim=axis).abs().max()) < 0.15 * (35 - 15)


def test_bumps_differ_between_seeds_and_peaks_do_not() -> None:
    bumps, peaks = (
        SpatiallyVariantAWGN(sigma=[0, 50], map=kind).levels([1, 2], 32, 32)
        for kind in ("bumps", "peaks")
    )
    assert not torch.allclose(bumps[0], bumps[1], atol=1.0)
    assert torch.equal(peaks[0], peaks[1])


def test_map_does_not_depend_on_where_its_row_is_in_the_batch() -> None:
    generator = SpatiallyVariantAWGN(sigma=[0, 50])
    many = generator.levels(range(9), 13, 7)
    for row in range(9):
        assert torch.equal(many[row], generator.levels([row], 13, 7)[0])


def test_peaks_have_the_published_heights() -> None:
    """MATLAB gives about 8.1 at the summit and -6.55 in the valley; their ratio fixes the rest."""
    levels = SpatiallyVariantAWGN(sigma=[0, 1], map="peaks").levels([0], 512, 512)
    at_the_rim = float(levels[0, 0, 0, 0])
    assert abs(at_the_rim - 6.5511 / (8.1062 + 6.5511)) < 1e-3


def test_noise_follows_the_map() -> None:
    generator = SpatiallyVariantAWGN(sigma=[5, 50])
    request = flat_request(0.5)
    ratio = noise_of(generator, request) * 255 / generator.levels(request.seeds, SIDE, SIDE)
    assert_moments(ratio, 1.0)
    # The same in the quarter of least noise, where a constant level would stand out.
    quiet = generator.levels(request.seeds, SIDE, SIDE).expand_as(ratio) < 20
    assert_moments(ratio[quiet], 1.0)


@pytest.mark.parametrize("level", [0.0, 0.01, 0.25, 1.0])
def test_heteroscedastic_variance_is_linear_in_the_signal(level: float) -> None:
    noise = noise_of(Heteroscedastic(beta1=1e-3, beta2=1e-5), flat_request(level))
    assert_moments(noise, 1e-3 * level + 1e-5)


def test_heteroscedastic_looks_up_each_rows_camera_and_iso() -> None:
    cells = [("S6", 100), ("S6", 3200), ("GP", 1600), ("N6", 400)]
    clean = torch.full((4, 4, SIDE, SIDE), 0.5)
    capture = CaptureMetadata(camera=tuple(c for c, _ in cells), iso=tuple(i for _, i in cells))
    request = NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=range(4))
    sample = Heteroscedastic(table="sidd", domain="raw").sample(request)
    for row, (camera, iso) in enumerate(cells):
        beta1, beta2 = SIDD[camera][iso]
        assert_moments((sample.noisy - sample.clean)[row].double(), beta1 * 0.5 + beta2)
        assert sample.params[row] == {"beta1": beta1, "beta2": beta2}


def test_heteroscedastic_takes_a_table_of_its_own_with_text_for_iso() -> None:
    generator = Heteroscedastic(table={"mine": {"200": [0.0, 1e-4]}})
    noise = noise_of(generator, flat_request(0.5, camera="mine", iso=200))
    assert_moments(noise, 1e-4)


def test_heteroscedastic_refuses_an_unknown_camera_or_iso_and_names_the_known() -> None:
    generator = Heteroscedastic(table="sidd")
    with pytest.raises(ValueError, match=r"'D800'.*G4, GP, IP, N6, S6"):
        generator.sample(flat_request(0.5, camera="D800", iso=100))
    with pytest.raises(ValueError, match=r"ISO 200.*'S6'.*100, 400, 800, 1600, 3200"):
        generator.sample(flat_request(0.5, camera="S6", iso=200))


def test_heteroscedastic_needs_a_shot_only_with_a_table() -> None:
    assert Heteroscedastic(beta1=1e-3, beta2=0).needs == frozenset()
    assert Heteroscedastic(table="sidd").needs == {"camera", "iso"}
    assert Heteroscedastic.needs == frozenset()


def test_heteroscedastic_takes_slightly_negative_raw_as_black() -> None:
    noise = noise_of(Heteroscedastic(beta1=1.0, beta2=1e-6), flat_request(-0.001))
    assert_moments(noise, 1e-6)


@pytest.mark.parametrize("level", [0.0, 0.01, 0.25, 1.0])
def test_poisson_gaussian_variance_follows_the_gain(level: float) -> None:
    generator = PoissonGaussian(gain=1e-2, read_noise=2e-3)
    variance = 1e-2 * level + 4e-6
    # Excess kurtosis of the counts, diluted by the read noise: gain^3 x / variance^2.
    kurtosis = 3 + 1e-6 * level / variance**2
    assert_moments(noise_of(generator, flat_request(level)), variance, kurtosis)


def test_poisson_gaussian_is_skewed_in_the_dark_as_photons_are() -> None:
    noise = noise_of(PoissonGaussian(gain=1e-2, read_noise=0.0), flat_request(0.02))
    skewness = float(noise.pow(3).mean() / noise.square().mean() ** 1.5)
    assert abs(skewness - 1 / math.sqrt(2)) < 0.05


def test_poisson_gaussian_without_read_noise_counts_whole_electrons() -> None:
    sample = PoissonGaussian(gain=1e-2, read_noise=0.0).sample(flat_request(0.05))
    electrons = sample.noisy.double() / 1e-2
    torch.testing.assert_close(electrons, electrons.round(), rtol=1e-6, atol=1e-6)


def test_poisson_gaussian_refuses_negative_light() -> None:
    with pytest.raises(ValueError, match=r"clean >= 0.*-100.*black level"):
        PoissonGaussian(gain=1e-3, read_noise=0.0).sample(flat_request(-0.1))
    with pytest.raises(ValueError, match="clean >= 0"):
        PoissonGaussian(gain=1e-3, read_noise=0.0).sample(flat_request(math.nan))


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "awgn zero": (AWGN, {"sigma": 0}, "sigma"),
    "awgn negative": (AWGN, {"sigma": -1}, "sigma"),
    "awgn nan": (AWGN, {"sigma": math.nan}, "sigma"),
    "awgn infinite": (AWGN, {"sigma": math.inf}, "sigma"),
    "awgn text": (AWGN, {"sigma": "25"}, "sigma"),
    "awgn yes": (AWGN, {"sigma": True}, "sigma"),
    "awgn nothing": (AWGN, {"sigma": None}, "sigma"),
    "awgn falling range": (AWGN, {"sigma": [50, 5]}, "low < high"),
    "awgn empty range": (AWGN, {"sigma": [25, 25]}, "low < high"),
    "awgn three": (AWGN, {"sigma": [1, 2, 3]}, "two numbers"),
    "awgn range of text": (AWGN, {"sigma": ["a", 3]}, r"sigma\[0\]"),
    "awgn negative range": (AWGN, {"sigma": [-1, 3]}, r"sigma\[0\]"),
    "awgn domain": (AWGN, {"sigma": 5, "domain": "xyz"}, "domain must be one of srgb, raw"),
    "map kind": (SpatiallyVariantAWGN, {"sigma": [0, 5], "map": "waves"}, "bumps, peaks"),
    "map level": (SpatiallyVariantAWGN, {"sigma": 5}, "range of two numbers"),
    "nlf nothing": (Heteroscedastic, {}, "either"),
    "nlf both": (Heteroscedastic, {"beta1": 1, "beta2": 1, "table": "sidd"}, "either"),
    "nlf half": (Heteroscedastic, {"beta1": 1e-3}, "beta2"),
    "nlf zero": (Heteroscedastic, {"beta1": 0, "beta2": 0}, "both 0"),
    "nlf negative": (Heteroscedastic, {"beta1": -1, "beta2": 1}, "beta1"),
    "nlf table name": (Heteroscedastic, {"table": "sid"}, "sidd"),
    "nlf table empty": (Heteroscedastic, {"table": {}}, "camera -> ISO"),
    "nlf table flat": (Heteroscedastic, {"table": {"S6": [1, 2]}}, "table\\['S6'\\]"),
    "nlf table iso": (Heteroscedastic, {"table": {"S6": {"fast": [1, 2]}}}, "'fast'"),
    "nlf table pair": (Heteroscedastic, {"table": {"S6": {100: [1]}}}, "beta1, beta2"),
    "nlf table sign": (Heteroscedastic, {"table": {"S6": {100: [1, -1]}}}, ">= 0"),
    "nlf table nan": (Heteroscedastic, {"table": {"S6": {100: [math.nan, 1]}}}, ">= 0"),
    "pg gain": (PoissonGaussian, {"gain": 0, "read_noise": 0}, "gain"),
    "pg read": (PoissonGaussian, {"gain": 1e-3, "read_noise": -1}, "read_noise"),
}


@pytest.mark.parametrize(("cls", "params", "message"), REFUSED.values(), ids=REFUSED)
def test_parameters_out_of_range_are_refused_by_name(
    cls: Any, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**params)


def test_sidd_table_is_the_published_one_where_its_noise_grows_with_iso() -> None:
    assert sum(len(levels) for levels in SIDD.values()) == 22
    for camera in ("GP", "N6", "S6", "G4"):
        slopes = [SIDD[camera][iso][0] for iso in sorted(SIDD[camera])]
        assert slopes == sorted(slopes)
