"""Signal-dependent layers: their formula, each row's own labels, and fitting them to noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.flows.signal import CellScale, Gain, Labels, SignalDependentScale, SignalScale

ISOS = (100, 800)


def labels(*rows: tuple[int, int]) -> Labels:
    return Labels(torch.tensor([c for c, _ in rows]), torch.tensor([i for _, i in rows]))


def drawn(layer: SignalScale, which: Labels, *, side: int = 32) -> tuple[Tensor, Tensor]:
    """Return normal noise of a layer's own levels and its clean image."""
    rng = np.random.default_rng(2)
    shape = (len(which.camera), 4, side, side)
    clean = torch.from_numpy(rng.uniform(0, 1, shape).astype(np.float32))
    normal = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    with torch.no_grad():
        return layer.inverse(normal, clean, which)[0], clean


def test_levels_follow_the_formula() -> None:
    layer = SignalDependentScale(3, ISOS)
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.1, parameter.shape)))
    layer.requires_grad_(False)
    slope, offset = layer.levels(labels((0, 1), (2, 0)))
    for row, (camera, iso) in enumerate([(0, 1), (2, 0)]):
        psi = [math.exp(float(layer.camera_table[j, camera])) for j in range(3)]
        gain = math.exp(float(layer.iso_table[iso]) * psi[2]) * ISOS[iso]
        assert float(slope[row]) == pytest.approx(math.exp(float(layer.beta1) * psi[0]) / gain)
        assert float(offset[row]) == pytest.approx(math.exp(float(layer.beta2) * psi[1]))


def test_the_start_is_the_released_one() -> None:
    slope, offset = SignalDependentScale(2, ISOS).levels(labels((1, 0), (0, 1)))
    # exp(-5 e) cancels between beta1 and the gain: what is left is one over the speed.
    torch.testing.assert_close(slope, torch.tensor([1 / 100, 1 / 800], dtype=torch.float64))
    torch.testing.assert_close(offset, torch.ones(2, dtype=torch.float64))


def test_tables_are_kept_and_computed_in_double_precision() -> None:
    moved, still = (SignalDependentScale(2, ISOS).requires_grad_(False) for _ in range(2))
    moved.iso_table[0] -= 1e-12
    assert float(moved.levels(labels((0, 0)))[0]) != float(still.levels(labels((0, 0)))[0])


@pytest.mark.parametrize("make", [SignalDependentScale, CellScale])
def test_each_row_has_its_own_camera_and_iso(make: type[SignalScale]) -> None:
    layer = make(2, ISOS).requires_grad_(False)  # type: ignore[call-arg]
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.1, parameter.shape)))
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    together = torch.stack(layer.levels(labels(*pairs)))
    alone = [torch.cat(layer.levels(labels(pair))) for pair in pairs]
    torch.testing.assert_close(together, torch.stack(alone, dim=1))
    assert len({float(slope) for slope in together[0]}) == 4


def test_a_pair_never_seen_follows_the_trends_of_its_camera_and_iso() -> None:
    layer = CellScale(2, ISOS)
    with torch.no_grad():
        layer.camera[0, 1] = math.log(3.0)
    slope, offset = layer.levels(labels((0, 1), (1, 0)))
    torch.testing.assert_close(slope, torch.tensor([1e-3, 3e-3 / 8], dtype=torch.float64))
    torch.testing.assert_close(offset, torch.tensor([1e-5, 1e-5 / 64], dtype=torch.float64))


def test_fitting_recovers_the_levels_of_each_camera_and_iso() -> None:
    truth = CellScale(2, ISOS)
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for parameter in truth.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.5, parameter.shape)))
        truth.iso[1] += math.log(300.0)  # else next to no pixel is dark enough to tell the offset
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    which = labels(*(4 * pairs))
    noise, clean = drawn(truth, which)
    fitted = CellScale(2, ISOS)
    fitted.fit(noise, clean, which)
    with torch.no_grad():
        found, expected = (torch.stack(e.levels(labels(*pairs))) for e in (fitted, truth))
        likelihoods = [surprise(each, noise, clean, which) for each in (fitted, truth)]
    # The maximum is above the truth, by about half a nat a number: eight of them here.
    assert -1e-3 < likelihoods[1] - likelihoods[0] < 20
    # 16,384 values a cell fix a variance within 1.1 %; where the offset is eight times the slope,
    # they fix the slope within 30 %.
    assert bool(((found / expected - 1).abs() < 0.5).all())
    assert bool(((found.sum(0) / expected.sum(0) - 1).abs() < 0.1).all())


def surprise(layer: SignalScale, noise: Tensor, clean: Tensor, which: Labels) -> float:
    """Return nats of all values together, but for a constant."""
    slope, offset = (level[:, None, None, None] for level in layer.levels(which))
    variance = slope * clean + offset
    return float(0.5 * (variance.log() + noise.double().square() / variance).sum())


def test_fitting_the_released_layer_leaves_unit_variance_and_rising_slopes() -> None:
    """Of three speeds the last has no row; it goes on rising with the speed."""
    truth = CellScale(1, (100, 800, 3200))
    which = labels(*(4 * [(0, 0), (0, 1)]))
    noise, clean = drawn(truth, which)
    layer = SignalDependentScale(1, (100, 800, 3200))
    with torch.no_grad():
        layer.fit(noise, clean, which)
        z, _ = layer(noise, clean, which)
    assert abs(float(z.var()) - 1) < 0.02
    slope = layer.levels(labels((0, 0), (0, 1), (0, 2)))[0].tolist()
    assert slope[0] < slope[1] < slope[2]
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_the_gain_divides_by_its_factor() -> None:
    gain = Gain()
    with torch.no_grad():
        gain.log_scale.fill_(math.log(2.0))
    z, ladj = gain(torch.ones(3, 4, 2, 5), torch.ones(3, 4, 2, 5))
    torch.testing.assert_close(z, torch.full((3, 4, 2, 5), 0.5))
    torch.testing.assert_close(ladj, torch.full((3,), -40 * math.log(2.0)))
