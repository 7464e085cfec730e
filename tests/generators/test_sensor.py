"""The sensor obeys its own physics: variance, rows, steps, black level, saturation."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from generators.sensor import SENSORS, Sensor, photon_counts

SIDE = 128  # of the packed image: 65,536 values a row
IDEAL = Sensor(
    full_well_e=50_000,
    read_noise_e=0.0,
    row_noise_e=0.0,
    adc_noise_dn=0.0,
    bits=16,
    black_level_dn=1000,
    base_iso=100,
)


def expose(sensor: Sensor, level: float, iso: float, rows: int = 1) -> Tensor:
    mosaic = torch.full((rows, 4, SIDE, SIDE), level)
    return sensor.expose(mosaic, [iso] * rows, range(rows)).double()


@pytest.mark.parametrize("name", SENSORS)
@pytest.mark.parametrize("iso", [100, 800, 3200])
@pytest.mark.parametrize("level", [0.02, 0.1, 0.5])
def test_variance_is_the_sum_of_its_parts(name: str, iso: int, level: float) -> None:
    # Row noise is drawn once a row of the mosaic, so it is measured apart; the black level is
    # raised so that nothing clips.
    black = 2 ** SENSORS[name].bits // 4
    sensor = dataclasses.replace(SENSORS[name], row_noise_e=0.0, black_level_dn=black)
    raw = expose(sensor, level, iso)
    n, expected = raw.numel(), sensor.variance_at(level, iso)
    kurtosis = 3 + 1 / (level * sensor.electrons_at_white(iso))
    tolerance = 5 * math.sqrt((kurtosis - 1) / n) + 0.003  # rounding is not quite uniform
    assert abs(float(raw.var()) / expected - 1) < tolerance
    assert abs(float(raw.mean()) - level) < 5 * math.sqrt(expected / n)


def test_shot_noise_of_an_ideal_sensor_is_the_square_root_of_its_electrons() -> None:
    raw = expose(IDEAL, 0.5, 100)
    electrons = raw * IDEAL.full_well_e
    assert abs(float(electrons.var()) / 25_000 - 1) < 5 * math.sqrt(2 / raw.numel())


def test_twice_the_iso_has_half_the_electrons() -> None:
    for sensor in SENSORS.values():
        assert sensor.electrons_at_white(800) == sensor.electrons_at_white(400) / 2


def test_row_noise_is_shared_by_a_row_of_the_mosaic_and_only_by_it() -> None:
    sensor = dataclasses.replace(IDEAL, row_noise_e=20.0)
    rows = 16
    noise = (expose(sensor, 0.1, 100, rows) - 0.1) * sensor.full_well_e
    red, green_red, green_blue, blue = noise.mean(3).unbind(1)  # one number a row of the mosaic
    n = red.numel()
    averaging = 0.1 * sensor.full_well_e / SIDE  # what is left of the shot noise in a mean
    expected = 20.0**2
    for a, b in ((red, green_red), (green_blue, blue)):
        assert abs(float((a * b).mean()) / expected - 1) < 6 * math.sqrt(2 / n)
        assert abs(float(a.var()) / (expected + averaging) - 1) < 6 * math.sqrt(2 / n)
    bound = 6 * (expected + averaging) / math.sqrt(n)
    assert abs(float((red * blue).mean())) < bound
    assert abs(float((red[:, 1:] * red[:, :-1]).mean())) < bound


@pytest.mark.parametrize("name", SENSORS)
def test_values_are_whole_steps_between_black_and_white(name: str) -> None:
    sensor = SENSORS[name]
    raw = torch.cat([expose(sensor, level, 3200) for level in (0.0, 0.4, 1.0)])
    dn = raw * sensor.steps + sensor.black_level_dn
    assert float((dn - dn.round()).abs().max()) < 0.01
    assert float(dn.min()) > -0.01
    assert float(dn.max()) < 2**sensor.bits - 0.99


def test_darkness_reads_below_black_as_often_as_above() -> None:
    raw = expose(SENSORS["full-frame"], 0.0, 6400)
    assert float(raw.min()) < 0
    sensor = SENSORS["full-frame"]
    assert abs(float(raw.mean())) < 5 * math.sqrt(sensor.variance_at(0, 6400) / SIDE)


def test_white_saturates_and_never_passes_one() -> None:
    raw = expose(SENSORS["phone"], 1.0, 1600)
    assert float(raw.max()) == 1.0
    assert 0.4 < float((raw == 1.0).double().mean()) < 0.6


def test_fewer_bits_make_coarser_steps() -> None:
    values = [
        len(expose(dataclasses.replace(IDEAL, bits=bits, black_level_dn=16), 0.5, 100).unique())
        for bits in (8, 10, 12)
    ]
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("mean", [0.0, 0.1, 4.0, 30.0, 5e4])
def test_photon_counts_are_poisson(mean: float) -> None:
    n = 100_000
    counts = photon_counts(torch.full((1, n), mean, dtype=torch.float64), [3], "shot")
    assert torch.equal(counts, counts.round())
    assert abs(float(counts.mean()) - mean) <= 5 * math.sqrt(mean / n)
    if mean > 0:
        assert abs(float(counts.var()) / mean - 1) < 5 * math.sqrt((2 + 1 / mean) / n)
        dark = float((counts == 0).double().mean())
        assert abs(dark - math.exp(-mean)) < 5 * math.sqrt(math.exp(-mean) / n) + 1e-9


def test_photon_counts_of_a_row_depend_on_its_own_seed_and_stream() -> None:
    mean = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)) * 20
    many = photon_counts(mean, [1, 2, 3], "shot")
    assert torch.equal(many[1], photon_counts(mean[1:2], [2], "shot")[0])
    assert not torch.equal(many, photon_counts(mean, [4, 5, 6], "shot"))
    assert not torch.equal(many, photon_counts(mean, [1, 2, 3], "other"))


def test_an_iso_below_the_base_is_refused() -> None:
    with pytest.raises(ValueError, match="ISO 50 is below the sensor's base ISO 100"):
        SENSORS["compact"].electrons_at_white(50)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("full_well_e", 0),
        ("full_well_e", math.nan),
        ("read_noise_e", -1),
        ("row_noise_e", -1),
        ("adc_noise_dn", "2"),
        ("bits", 7),
        ("bits", 17),
        ("bits", 10.5),
        ("black_level_dn", -1),
        ("black_level_dn", 65535),
        ("base_iso", 0),
    ],
)
def test_impossible_sensors_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(IDEAL, **{field: value})
