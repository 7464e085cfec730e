"""Blending latent Gaussians and following a reference: the formulas, number by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.naflow.latent import (
    FollowedGaussian,
    LatentGaussian,
    Weighting,
    blend,
    follow_reference,
)

ROWS, CLASSES, CHANNELS = 2, 3, 4


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def latent(height: int = 3, width: int = 5) -> Tensor:
    """Return latents whose channels and places differ in mean and level."""
    level = 1 + normal(ROWS, 1, height, width, seed=2).abs()
    return 0.3 + normal(ROWS, CHANNELS, height, width, seed=1) * level


def prior() -> LatentGaussian:
    return LatentGaussian(normal(ROWS, CHANNELS, seed=3), 0.5 + normal(ROWS, CHANNELS, seed=4) ** 2)


@pytest.mark.parametrize("weighting", ["tempered", "posterior", "reference"])
def test_blend_is_the_weighted_sum_of_its_definition(weighting: Weighting) -> None:
    log_prior, positions = -3 * normal(ROWS, CLASSES, seed=5).abs(), 4
    means, stds = normal(CLASSES, CHANNELS, seed=6), normal(CLASSES, CHANNELS, seed=7)
    found, weights = blend(log_prior, means, stds, positions=positions, weighting=weighting)
    temper = positions if weighting == "tempered" else 1
    for row in range(ROWS):
        odds = [float(torch.exp(value / temper)) for value in log_prior[row]]
        share = [odd / sum(odds) for odd in odds]
        np.testing.assert_allclose(weights[row], share)
        for channel in range(CHANNELS):
            mean = sum(w * float(m) for w, m in zip(share, means[:, channel], strict=True))
            signed = sum(w * float(s) for w, s in zip(share, stds[:, channel], strict=True))
            power = sum(w * float(s) ** 2 for w, s in zip(share, stds[:, channel], strict=True))
            std = signed if weighting == "tempered" else power**0.5
            np.testing.assert_allclose(float(found.mean[row, channel]), mean)
            np.testing.assert_allclose(float(found.std[row, channel]), std)


def test_weights_of_very_unlike_classes_stay_finite() -> None:
    log_prior = torch.tensor([[-1e6, -2e6, -3e6]])
    gaussian, weights = blend(
        log_prior, torch.eye(3), torch.ones(3, 3), positions=1, weighting="posterior"
    )
    assert weights.tolist() == [[1.0, 0.0, 0.0]]
    assert gaussian.mean.tolist() == [[1.0, 0.0, 0.0]]


def test_a_gaussian_draws_mean_plus_std_times_eps() -> None:
    gaussian, eps = prior(), normal(ROWS, CHANNELS, 2, 3, seed=8)
    z = gaussian.draw(eps)
    for row, channel, y, x in np.ndindex(*eps.shape):
        expected = (
            gaussian.mean[row, channel] + gaussian.std[row, channel] * eps[row, channel, y, x]
        )
        assert float(z[row, channel, y, x]) == pytest.approx(float(expected))


def followed_slowly(
    one: LatentGaussian, z: Tensor, strength: float, row: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, covariance and level of one row, by the formulas of the module's lesson."""
    m, s, values = one.mean[row].numpy(), one.std[row].numpy(), z[row].numpy()
    channels, height, width = values.shape
    n = height * width
    places = list(np.ndindex(height, width))
    mean = np.array(
        [
            (strength * m[k] + sum(values[k][p] for p in places)) / (strength + n)
            for k in range(channels)
        ]
    )
    scaled = [((values[k][p] - m[k]) / s[k]) ** 2 for k in range(channels) for p in places]
    g = sum(scaled) / len(scaled)
    v = np.array(
        [
            (strength * g * s[k] ** 2 + sum((values[k][p] - mean[k]) ** 2 for p in places))
            / (strength + n)
            for k in range(channels)
        ]
    )
    level = np.empty((height, width))
    for y, x in places:
        around = [
            (values[k][min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)] - mean[k])
            ** 2
            / v[k]
            for k in range(channels)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        level[y, x] = (sum(around) / len(around)) ** 0.5
    covariance = strength * np.diag(v)
    for p in places:
        r = (values[:, p[0], p[1]] - mean) / level[p]
        covariance = covariance + np.outer(r, r)
    return mean, covariance / (strength + n), level


@pytest.mark.parametrize("strength", [0.5, 16.0, 1000.0])
def test_following_a_reference_is_its_definition(strength: float) -> None:
    one, z = prior(), latent()
    found = follow_reference(one, z, strength=strength)
    for row in range(ROWS):
        mean, covariance, level = followed_slowly(one, z, strength, row)
        np.testing.assert_allclose(found.mean[row], mean, rtol=1e-10)
        np.testing.assert_allclose(found.factor[row] @ found.factor[row].T, covariance, rtol=1e-9)
        np.testing.assert_allclose(found.level[row, 0], level, rtol=1e-10)


def test_a_large_reference_speaks_for_itself_and_a_strong_class_for_its_shape() -> None:
    z = 2.0 + 3.0 * normal(1, CHANNELS, 60, 60, seed=9)
    one = LatentGaussian(torch.zeros(1, CHANNELS).double(), torch.ones(1, CHANNELS).double())
    own = follow_reference(one, z, strength=1.0)
    # Five standard errors of a mean and of a variance over 3,600 positions.
    torch.testing.assert_close(own.mean, torch.full_like(own.mean, 2.0), atol=5 * 3 / 60, rtol=0)
    variance = (own.factor @ own.factor.transpose(1, 2)).diagonal(dim1=1, dim2=2)
    variance = variance * own.level.square().mean()
    torch.testing.assert_close(
        variance, torch.full_like(variance, 9.0), atol=0, rtol=5 * 2**0.5 / 60
    )
    class_like = follow_reference(one, z, strength=1e9)
    torch.testing.assert_close(class_like.mean, torch.zeros_like(own.mean), atol=1e-4, rtol=0)
    power = float(z.square().mean())  # the class keeps its mean, so the overall level is the power
    torch.testing.assert_close(
        class_like.factor[0], power**0.5 * torch.eye(CHANNELS).double(), atol=1e-3, rtol=0
    )


def test_scaling_the_reference_scales_the_draw() -> None:
    one, z = prior(), latent()
    one = LatentGaussian(torch.zeros_like(one.mean), one.std)
    eps = normal(*z.shape, seed=10)
    drawn = follow_reference(one, z, strength=16.0).draw(eps)
    twice = follow_reference(one, 2 * z, strength=16.0).draw(eps)
    torch.testing.assert_close(twice, 2 * drawn)


def test_draws_have_the_mean_covariance_and_places_they_say() -> None:
    rng = np.random.default_rng(11)
    mix = torch.from_numpy(rng.normal(size=(1, 3, 3)))
    covariance = mix @ mix.transpose(1, 2) + torch.eye(3)
    level = torch.tensor([[[[0.5, 2.0]]]]).double()
    gaussian = FollowedGaussian(
        torch.tensor([[1.0, -1.0, 0.0]]).double(), torch.linalg.cholesky(covariance), level
    )
    n = 40_000
    many = FollowedGaussian(
        gaussian.mean.expand(n, 3), gaussian.factor.expand(n, 3, 3), level.expand(n, 1, 1, 2)
    )
    z = many.draw(torch.from_numpy(rng.normal(size=(n, 3, 1, 2))))
    for place, scale in enumerate((0.5, 2.0)):
        values = z[:, :, 0, place]
        spread = covariance[0].diagonal().sqrt() * scale
        assert bool(((values.mean(0) - gaussian.mean[0]).abs() < 5 * spread / n**0.5).all())
        found, expected = values.T.cov(), covariance[0] * scale**2
        error = (expected.square() + torch.outer(spread**2, spread**2)).sqrt() / n**0.5
        assert bool(((found - expected).abs() < 5 * error).all())


def test_places_are_left_out_where_the_size_is_another() -> None:
    found = follow_reference(prior(), latent(3, 5), strength=16.0)
    eps = normal(ROWS, CHANNELS, 2, 2, seed=12)
    expected = found.mean[:, :, None, None] + torch.einsum("bij,bjyx->biyx", found.factor, eps)
    torch.testing.assert_close(found.draw(eps), expected)
