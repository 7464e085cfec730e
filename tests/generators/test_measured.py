"""The real noise comes back; baselines measure its level; the fit equals a solver of squares."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.measured import FittedHeteroscedastic, MeasuredAwgn, RealNoise, fit_noise_level


@pytest.mark.parametrize(
    ("slope", "floor"), [(1e-3, 1e-4), (-1e-3, 1.5e-3), (2e-3, -3e-4), (0.0, 1e-3)]
)
def test_fit_equals_non_negative_least_squares(slope: float, floor: float) -> None:
    rng = np.random.default_rng(0)
    clean = rng.uniform(0.2, 0.9, 4000)
    noise = rng.normal(0, 1, clean.shape) * np.sqrt(np.maximum(slope * clean + floor, 0))
    noise -= noise.mean()
    expected, _ = nnls(np.stack([clean, np.ones_like(clean)], axis=1), noise**2)
    assert fit_noise_level(clean, noise) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-12)


def request(level: float, *, reference: bool = True, rows: int = 3) -> NoiseRequest:
    rng = np.random.default_rng(1)
    clean = torch.from_numpy(rng.uniform(0, 1, (rows, 3, 96, 96)).astype(np.float32))
    scale = level * torch.arange(1, rows + 1)[:, None, None, None] * (0.2 + clean).sqrt()
    real = clean + 0.05 + scale * torch.from_numpy(rng.normal(0, 1, clean.shape)).float()
    return NoiseRequest(
        context=NoiseContext(clean=clean, capture=CaptureMetadata.unknown(rows)),
        seeds=list(range(rows)),
        reference=real if reference else None,
        reference_clean=clean if reference else None,
    )


def test_awgn_has_each_rows_own_level_and_none_of_its_offset() -> None:
    asked = request(0.02)
    made = MeasuredAwgn().sample(asked)
    noise, real = made.noisy - made.clean, asked.reference - asked.reference_clean
    for row in range(3):
        assert noise[row].std() == pytest.approx(float(real[row].std()), rel=0.03)
        assert abs(float(noise[row].mean())) < 5 * 0.06 / np.sqrt(noise[row].numel())


def test_fitted_noise_follows_brightness() -> None:
    asked = request(0.02)
    made = FittedHeteroscedastic().sample(asked)
    noise = made.noisy - made.clean
    bright, dark = noise[made.clean > 0.8], noise[made.clean < 0.2]
    # variance is proportional to 0.2 + clean: 1.1 against 0.3 at the bins' centres
    assert float(bright.var() / dark.var()) == pytest.approx(1.1 / 0.3, rel=0.1)
    assert made.params[2]["beta1"] == pytest.approx((3 * 0.02) ** 2, rel=0.15)


@pytest.mark.parametrize("make", [RealNoise, MeasuredAwgn, FittedHeteroscedastic])
def test_without_a_reference_they_say_so(make: type) -> None:
    assert make().needs == {"reference"}
    with pytest.raises(ValueError, match="reference"):
        make().sample(request(0.02, reference=False))


def test_real_noise_is_the_reference_itself() -> None:
    asked = request(0.02)
    made = RealNoise().sample(asked)
    torch.testing.assert_close(made.noisy, asked.reference, rtol=0, atol=1e-6)
