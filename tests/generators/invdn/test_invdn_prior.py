"""The distribution of encoding differences: recovered from its own draws, and from known fields."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from generators.invdn.prior import (
    MARGIN,
    Differences,
    LatentPrior,
    colouring,
    fit_prior,
    half_plane,
)
from generators.seeds import standard_normal, uniform

CHANNELS = 6


def field(seeds: list[int], side: int, *, size: float = 1.0) -> Tensor:
    """Return a correlated field: white noise through a filter that is no mirror image of itself."""
    kernel = standard_normal([99], (CHANNELS, CHANNELS, 3, 3), "kernel")[0]
    kernel *= torch.tensor([[0.1, 0.3, 0.1], [0.2, 1.0, 0.2], [0.0, 0.4, 0.1]])
    white = standard_normal(seeds, (CHANNELS, side + 2, side + 2), "white")
    return size * conv2d(white, kernel) / CHANNELS**0.5


def covariance(x: Tensor, y: int, x_lag: int) -> Tensor:
    """Return E[g_{p+k} g_p^T], by rolling; the seam is cut off."""
    moved = x.roll((-y, -x_lag), dims=(2, 3))[..., 3:-3, 3:-3]
    here = x[..., 3:-3, 3:-3]
    return torch.einsum("bdhw,behw->de", moved, here) / (here.numel() / CHANNELS)


def clean_of(seeds: list[int], side: int) -> Tensor:
    return uniform(seeds, (CHANNELS, side, side), "clean")


def fitted(rows: int = 24, side: int = 32) -> tuple[LatentPrior, Tensor]:
    """Return a prior of two configurations, the second three times as strong, and the first's."""
    seeds = list(range(rows))
    one, two = field(seeds, side), field([s + 1000 for s in seeds], side, size=3.0)
    clean = clean_of(seeds, side)
    found = [
        Differences(torch.zeros(rows, dtype=torch.int64), clean, one + 0.5),
        Differences(torch.ones(rows, dtype=torch.int64), clean, two),
    ]
    return fit_prior(found, 2), one


def test_a_field_is_recovered_with_its_covariances_at_every_lag() -> None:
    prior, truth = fitted()
    white = standard_normal([7], (CHANNELS, 128 + 2 * MARGIN, 128 + 2 * MARGIN), "draw")
    made = conv2d(white, colouring(prior.field[0]))
    scale = float(covariance(truth, 0, 0).diagonal().mean())
    for y, x in [*half_plane(), (-1, 0), (0, -1)]:
        difference = covariance(made, y, x) - covariance(truth, y, x)
        assert float(difference.abs().max()) < 0.12 * scale, (y, x)


def test_drawn_differences_have_the_configurations_mean_and_level() -> None:
    prior, truth = fitted()
    rows = torch.tensor([0, 1, 2])
    clean = clean_of([50, 51, 52], 64)
    white = standard_normal([1, 2, 3], (CHANNELS, 64 + 2 * MARGIN, 64 + 2 * MARGIN), "draw")
    made = prior.draw(clean, rows, white, [colouring(prior.field[int(row)]) for row in rows])
    spread, expected = made.std(dim=(1, 2, 3)), float(truth.std())
    assert float(made[0].mean()) == pytest.approx(0.5, abs=0.05)
    assert float(spread[0]) == pytest.approx(expected, rel=0.1)
    assert float(spread[1]) == pytest.approx(3 * expected, rel=0.1)
    assert expected < float(spread[2]) < 3 * expected


def test_noise_that_grows_with_lightness_is_drawn_so() -> None:
    seeds = list(range(16))
    clean = uniform(seeds, (1, 32, 32), "clean").expand(-1, CHANNELS, 32, 32)
    strength = torch.where(clean[:, :1] > 0.5, 2.0, 0.5)
    found = [Differences(torch.zeros(16, dtype=torch.int64), clean, strength * field(seeds, 32))]
    prior = fit_prior(found, 1)
    level = prior.level(clean, torch.zeros(16, dtype=torch.int64))
    bright, dark = level[clean[:, :1] > 0.5].mean(), level[clean[:, :1] < 0.5].mean()
    assert float(bright / dark) == pytest.approx(4.0, rel=0.1)


def test_a_configuration_without_data_is_the_pooled_one() -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    clean, difference = clean_of([1, 2, 3, 4], 16), field([1, 2, 3, 4], 16)
    prior = fit_prior([Differences(labels, clean, difference)], 2)
    for name in ("mean", "levels", "field"):
        values = getattr(prior, name)
        assert values.shape[0] == 3
        assert torch.equal(values[1], values[2])


def test_no_data_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        fit_prior([], 1)


def test_tensors_survive_and_wrong_ones_are_named() -> None:
    prior, _ = fitted(rows=2, side=16)
    again = LatentPrior.from_tensors(prior.tensors())
    again.check(3, CHANNELS)
    assert torch.equal(again.field, prior.field)
    with pytest.raises(ValueError, match="levels"):
        LatentPrior.from_tensors({k: v for k, v in prior.tensors().items() if "levels" not in k})
    with pytest.raises(ValueError, match=r"prior.mean has shape \(3, 6\); expected \(4, 6\)"):
        again.check(4, CHANNELS)
