"""The Haar step's bands, against the sums they are; the contract is in test_bijections.py."""

from __future__ import annotations

import pytest
import torch

from generators.flows.haar import Haar


def test_bands_are_the_four_sums_of_each_square() -> None:
    x = torch.tensor([[1.0, 2.0], [4.0, 8.0]]).view(1, 1, 2, 2)
    z, _ = Haar()(x, x)
    assert z.flatten().tolist() == [15 / 4, (1 - 2 + 4 - 8) / 4, (1 + 2 - 4 - 8) / 4, 3 / 4]


def test_channels_come_band_by_band() -> None:
    x = torch.stack([torch.full((4, 6), float(c)) for c in range(3)])[None]
    z, _ = Haar()(x, x)
    assert z.shape == (1, 12, 2, 3)
    assert z[0, :, 0, 0].tolist() == [0, 1, 2, *[0] * 9]


def test_two_steps_give_means_of_four_by_four() -> None:
    x = torch.arange(3 * 8 * 8.0).view(1, 3, 8, 8)
    z, _ = Haar()(Haar()(x, x)[0], x)
    torch.testing.assert_close(z[:, :3], torch.nn.functional.avg_pool2d(x, 4))


def test_odd_sides_are_refused() -> None:
    x = torch.zeros(1, 3, 4, 5)
    with pytest.raises(ValueError, match="must be even"):
        Haar()(x, x)


def test_channels_that_are_no_bands_are_refused() -> None:
    z = torch.zeros(1, 6, 2, 2)
    with pytest.raises(ValueError, match="four bands a channel; got 6"):
        Haar().inverse(z, z)
