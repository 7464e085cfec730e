"""Noise level functions are measured right, without a clean image too."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from generators.nlf.calibration import (
    NoiseLevel,
    NoisyPairStatistics,
    PairStatistics,
    calibrate_noisy_pairs,
    calibrate_pairs,
    sensor_noise_level,
)
from generators.seeds import standard_normal, uniform
from generators.sensor import SENSORS

TRUE = NoiseLevel(2e-3, 5e-5)
WIDE = (-math.inf, math.inf)


def scene(seed: int, *, rows: int = 4, side: int = 128) -> Tensor:
    """Return packed raw with soft shades, hard edges, dark ground and highlights."""
    coarse = uniform([seed + i for i in range(rows)], (4, side // 8, side // 8), "coarse")
    fine = uniform([seed + i for i in range(rows)], (4, side, side), "fine")
    soft = interpolate(coarse.pow(3), size=(side, side), mode="bilinear", align_corners=False)
    return (soft + 0.2 * (fine > 0.97) + 0.01 * fine).clamp(0.0, 1.0)


def capture(clean: Tensor, level: NoiseLevel, seed: int) -> Tensor:
    spread = (level.beta1 * clean + level.beta2).sqrt()
    rows = range(100 * seed, 100 * seed + len(clean))
    return clean + spread * standard_normal(list(rows), clean.shape[1:], "noise")


def close(found: tuple[float, float], errors: tuple[float, float], true: NoiseLevel) -> None:
    for value, error, expected in zip(found, errors, true, strict=True):
        assert error < 0.08 * expected
        assert abs(value - expected) < 5 * error


@pytest.mark.parametrize("level", [TRUE, NoiseLevel(2e-2, 1e-3), NoiseLevel(1e-4, 1e-6)])
def test_known_signal_recovers_the_level(level: NoiseLevel) -> None:
    clean = scene(1)
    statistics = PairStatistics(WIDE)
    for row in range(len(clean)):  # images one after another are as good as all at once
        part = clean[row : row + 1]
        statistics.add(part, capture(part, level, 2 + row))
    found = statistics.fit()
    assert found.pixels == clean.numel()
    close(found.level, (found.error1, found.error2), level)


@pytest.mark.parametrize("level", [TRUE, NoiseLevel(2e-2, 1e-3), NoiseLevel(1e-4, 1e-6)])
def test_two_noisy_shots_recover_the_level(level: NoiseLevel) -> None:
    clean = scene(3)
    statistics = NoisyPairStatistics(WIDE)
    statistics.add(capture(clean, level, 4), capture(clean, level, 5))
    found = statistics.fit()
    close(found.level, (found.error1, found.error2), level)


def test_the_mean_of_two_shots_is_no_substitute_for_the_signal() -> None:
    """The mistake that the ring avoids: it is far outside the error."""
    clean, level = scene(3), NoiseLevel(2e-2, 1e-3)
    first, second = capture(clean, level, 4), capture(clean, level, 5)
    naive = PairStatistics(WIDE)
    mean, half = 0.5 * (first + second), (first - second) / math.sqrt(2.0)
    naive.add(mean, mean + half)
    found = naive.fit()
    assert abs(found.beta1 - level.beta1) > 10 * found.error1


def test_standard_errors_are_those_of_repeated_measurements() -> None:
    clean = scene(6, rows=2, side=64)
    pairs, doubles = [], []
    for repeat in range(30):
        known, unknown = PairStatistics(WIDE), NoisyPairStatistics(WIDE)
        first, second = capture(clean, TRUE, 10 + 2 * repeat), capture(clean, TRUE, 11 + 2 * repeat)
        known.add(clean, first)
        unknown.add(first, second)
        pairs.append(known.fit())
        doubles.append(unknown.fit())
    for fits in (pairs, doubles):
        for name, error in (("beta1", "error1"), ("beta2", "error2")):
            values = torch.tensor([getattr(fit, name) for fit in fits])
            claimed = torch.tensor([getattr(fit, error) for fit in fits]).mean()
            # The spread of thirty values is known to 13 %.
            assert abs(float(values.std() / claimed) - 1.0) < 0.5
            bias = float(values.mean()) - getattr(TRUE, name)
            assert abs(bias) < 5 * float(values.std()) / math.sqrt(30)


@pytest.mark.parametrize("clip", [None, (0.0, 1.0)])
def test_clipping_does_not_shift_the_level(clip: tuple[float, float] | None) -> None:
    clean, level = scene(7, rows=6), NoiseLevel(4e-3, 2e-4)
    first, second = (capture(clean, level, seed).clamp(0.0, 1.0) for seed in (8, 9))
    found, blind = PairStatistics((0.0, 1.0)), PairStatistics(WIDE)
    found.add(clean, first)
    blind.add(clean, first)
    fit = found.fit()
    close(fit.level, (fit.error1, fit.error2), level)
    assert abs(blind.fit().beta1 - level.beta1) > 10 * fit.error1
    assert calibrate_pairs(clean, first, clip=clip) == fit.level
    double = NoisyPairStatistics((0.0, 1.0))
    double.add(first, second)
    fit = double.fit()
    assert abs(fit.beta1 - level.beta1) < 5 * fit.error1
    assert abs(fit.beta2 - level.beta2) < 5 * fit.error2
    assert calibrate_noisy_pairs(first, second, clip=clip) == fit.level


@pytest.mark.parametrize("iso", [100, 800, 3200])
def test_the_simulated_camera_is_measured(iso: int) -> None:
    """Photons, read-out, rows and rounding, all of which the two numbers must absorb."""
    sensor, clean = SENSORS["phone"], scene(11)
    true = sensor_noise_level(sensor, iso)
    rows = len(clean)
    first, second = (
        sensor.expose(clean, [iso] * rows, list(range(k, k + rows))) for k in (500, 600)
    )
    beta1, beta2 = calibrate_pairs(clean, first)
    assert abs(beta1 / true.beta1 - 1) < 0.03
    assert abs(beta2 / true.beta2 - 1) < 0.04
    beta1, beta2 = calibrate_noisy_pairs(first, second)
    assert abs(beta1 / true.beta1 - 1) < 0.05
    assert abs(beta2 / true.beta2 - 1) < 0.08


@pytest.mark.parametrize("name", SENSORS)
def test_the_sensors_true_level_gives_its_variance(name: str) -> None:
    sensor = SENSORS[name]
    level = sensor_noise_level(sensor, 1600)
    for x in (0.0, 0.3, 1.0):
        expected = sensor.variance_at(x, 1600)
        assert level.beta1 * x + level.beta2 == pytest.approx(expected, rel=1e-12)


def test_noise_of_one_kind_only_is_measured_too() -> None:
    clean = scene(13)
    shot_only = calibrate_pairs(clean, capture(clean, NoiseLevel(2e-3, 0.0), 14))
    assert shot_only.beta2 < 1e-6  # of a mean variance of 3e-4
    assert abs(shot_only.beta1 / 2e-3 - 1) < 0.02
    read_only = calibrate_pairs(clean, capture(clean, NoiseLevel(0.0, 1e-4), 14))
    assert read_only.beta1 < 1e-6
    assert abs(read_only.beta2 / 1e-4 - 1) < 0.02
    assert min(*shot_only, *read_only) > 0


def test_what_cannot_be_measured_is_refused() -> None:
    clean = scene(15, rows=1, side=16)
    with pytest.raises(ValueError, match="no noise to measure"):
        calibrate_pairs(clean, clean, clip=WIDE)
    flat = torch.full((1, 4, 16, 16), 0.3)
    with pytest.raises(ValueError, match="one brightness"):
        calibrate_pairs(flat, capture(flat, TRUE, 16), clip=WIDE)
    with pytest.raises(ValueError, match="values are left"):
        calibrate_pairs(clean, capture(clean, TRUE, 16), clip=(0.9, 1.0))
    with pytest.raises(ValueError, match="must be equal"):
        calibrate_pairs(clean, clean[..., :8])
    with pytest.raises(ValueError, match="eight neighbours"):
        calibrate_noisy_pairs(clean[..., :2], clean[..., :2])
    with pytest.raises(ValueError, match="not finite"):
        calibrate_pairs(clean, clean * math.nan)
