from __future__ import annotations

import pytest
import torch

from denoisers.noise_level import estimate_sigma
from generators.seeds import standard_normal


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_level_of_white_noise_on_a_slope_is_found(sigma: float, channels: int) -> None:
    ramp = torch.linspace(0, 1, 192)
    clean = (ramp[:, None] + 0.5 * ramp).expand(2, channels, 192, 192)
    noisy = clean + sigma * standard_normal([1, 2], clean.shape[1:], "noise")
    # The median of n absolute normals has a relative error of 1.17 / sqrt(n), n = 9,216 a channel.
    tolerance = 5 * 1.17 / (9216 * channels) ** 0.5
    found = estimate_sigma(noisy)
    assert found.shape == (2,)
    assert found.tolist() == pytest.approx([sigma] * 2, rel=tolerance)


def test_without_noise_a_slope_has_none_and_tiny_images_are_taken() -> None:
    ramp = torch.linspace(0, 1, 64)
    assert float(estimate_sigma(ramp.expand(1, 1, 64, 64))) < 1e-6
    assert bool(torch.isfinite(estimate_sigma(torch.full((1, 3, 1, 2), 0.5))).all())


def test_noise_shared_by_neighbours_looks_weaker() -> None:
    white = 0.1 * standard_normal([0], (1, 130, 130), "noise")
    smooth = torch.nn.functional.avg_pool2d(white, 2, stride=1)
    assert float(estimate_sigma(smooth)) < 0.6 * float(smooth.std())
