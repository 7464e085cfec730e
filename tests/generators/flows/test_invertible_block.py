"""The invertible block beyond the contract: bounds, starts, types, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from generators.flows.invertible_block import InvertibleBlock
from generators.seeds import standard_normal


def make(channels: int = 12, split: int = 3) -> InvertibleBlock:
    return InvertibleBlock(channels, split, hidden=6, seed=1)


@torch.no_grad()
def test_exponent_is_bounded_however_large_the_subnetwork_gets() -> None:
    block = make()
    block.H.conv3.weight.mul_(1e4)
    s = block.exponent(standard_normal([0], (3, 5, 5), "y"))
    assert float(s.abs().max()) <= 1.0
    assert float(s.abs().max()) > 0.99


@torch.no_grad()
def test_a_silent_block_is_the_identity() -> None:
    block, x = make(), standard_normal([0, 1], (12, 4, 6), "x")
    block.silence()
    z, ladj = block(x, x)
    torch.testing.assert_close(z, x, rtol=0, atol=0)
    assert ladj.tolist() == [0, 0]


@torch.no_grad()
def test_a_silent_block_may_stretch_what_it_couples() -> None:
    block, x = make(), standard_normal([0], (12, 4, 6), "x")
    block.silence(exponent=0.5)
    z, ladj = block(x, x)
    torch.testing.assert_close(z[:, :3], x[:, :3])
    torch.testing.assert_close(z[:, 3:], math.exp(0.5) * x[:, 3:])
    assert float(ladj) == pytest.approx(0.5 * 9 * 24)


@torch.no_grad()
def test_autocast_leaves_the_flow_in_float32() -> None:
    block, x = make(), standard_normal([0], (12, 4, 6), "x")
    exact, _ = block(x, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, ladj = block(x, x)
        back, _ = block.inverse(z, x)
    assert z.dtype == ladj.dtype == back.dtype == torch.float32
    torch.testing.assert_close(z, exact, atol=0.02, rtol=0.02)
    # The subnetworks round alike in both directions, so the way back is better than bfloat16.
    torch.testing.assert_close(back, x, atol=5e-3, rtol=0)


def test_equal_seeds_give_equal_weights_and_others_not() -> None:
    one, same, other = make(), make(), InvertibleBlock(12, 3, hidden=6, seed=2)
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))
    assert not any(map(torch.equal, one.parameters(), other.parameters()))
    assert not torch.equal(one.G.conv1.weight, one.H.conv1.weight)


@pytest.mark.parametrize("split", [0, 12, -1])
def test_a_split_that_leaves_a_side_empty_is_refused(split: int) -> None:
    with pytest.raises(ValueError, match=f"splits after 1 to 11 of them; got {split}"):
        make(split=split)
