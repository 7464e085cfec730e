"""The border network and its coupling: formula, folding, start, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from generators.flows.border_coupling import BorderCoupling, BorderNet, border_response
from generators.flows.fused_border import fold_border_net


def shaken(module: nn.Module) -> nn.Module:
    """Move every weight and every running statistic; evaluation mode."""
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.3, parameter.shape)))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.from_numpy(rng.normal(0, 0.2, buffer.shape)))
            if name.endswith("running_var"):
                buffer.copy_(torch.from_numpy(rng.uniform(0.5, 2.0, buffer.shape)))
    return module.eval()


def images(rows: int, channels: int, height: int, width: int) -> Tensor:
    rng = np.random.default_rng(2)
    return torch.from_numpy(rng.standard_normal((rows, channels, height, width)))


def test_the_network_sees_a_channel_that_is_one_outside_the_image() -> None:
    net = BorderNet(2, 4, seed=0).double()
    shaken(net)
    x = images(2, 2, 3, 5)
    h = relu(net.middle_norm(net.middle(relu(net.enter_norm(net.enter(x))))))
    ring = torch.ones(2, 1, 5, 7, dtype=torch.float64)
    ring[:, :, 1:-1, 1:-1] = 0.0
    literal = net.leave(torch.cat([pad(h, (1, 1, 1, 1)), ring], dim=1))
    literal = literal * torch.exp(3 * net.leave_logs)[:, None, None]
    torch.testing.assert_close(net(x), literal)


def test_the_border_is_felt_at_the_outermost_pixels_only() -> None:
    response = border_response(torch.ones(1, 1, 3, 3), (5, 4))[0, 0]
    assert response[1:-1, 1:-1].abs().max() == 0
    assert response[0, 1] == response[2, 0] == 3
    assert response[0, 0] == response[4, 3] == 5


@pytest.mark.parametrize(("inputs", "size"), [(2, (5, 7)), (4, (1, 6)), (4, (8, 1)), (2, (1, 1))])
def test_the_folded_network_is_the_network(inputs: int, size: tuple[int, int]) -> None:
    net = BorderNet(inputs, 4, seed=0).double()
    shaken(net)
    folded = fold_border_net(net)
    x = images(3, inputs, *size)
    torch.testing.assert_close(folded(x, folded.outline(size)), net(x).detach())


def test_a_fresh_coupling_changes_nothing() -> None:
    coupling = BorderCoupling(4, passing=2, seed=3).double()
    x = images(2, 4, 6, 6)
    z, ladj = coupling(x, x)
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(ladj, torch.zeros(2, dtype=torch.float64))


def test_the_seed_decides_the_weights() -> None:
    one, again, other = (BorderNet(2, 4, seed=s).enter.weight for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_factor_acts_on_the_log_scales_of_its_row() -> None:
    coupling = BorderCoupling(3, passing=1, condition=3, seed=0).double()
    shaken(coupling)
    x, context = images(2, 3, 4, 6), images(2, 3, 4, 6).abs()
    _, plain = coupling(x, context)
    factor = torch.tensor([1.0, -2.0], dtype=torch.float64)
    z, ladj = coupling(x, context, factor)
    torch.testing.assert_close(ladj, factor * plain)
    torch.testing.assert_close(coupling.inverse(z, context, factor)[0], x)


def test_the_condition_matters_only_where_there_is_one() -> None:
    x, one, other = images(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    for condition in (0, 3):
        coupling = BorderCoupling(3, passing=1, condition=condition, seed=0).double()
        shaken(coupling)
        same = torch.equal(coupling(x, one.double())[0], coupling(x, other.double())[0])
        assert same == (condition == 0)


@pytest.mark.parametrize("passing", [0, 4])
def test_a_coupling_with_an_empty_part_is_refused(passing: int) -> None:
    with pytest.raises(ValueError, match="passes 1 to 3 of them"):
        BorderCoupling(4, passing=passing, seed=0)
