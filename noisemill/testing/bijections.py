"""The contract of an invertible layer, as checks that any implementation can be put through.

Log-determinants are compared with the Jacobian that autograd finds, in float64, never with the
layer's own other direction alone.

    class TestMyLayer(BijectionContract):
        def case(self) -> BijectionCase:
            return BijectionCase(make=lambda: MyLayer(channels=3))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.flows.bijection import Bijection

__all__ = ["CHECKS", "BijectionCase", "BijectionContract", "images", "layer_of"]

ROWS = 2


@dataclass(frozen=True, kw_only=True)
class BijectionCase:
    """A layer and the images it takes.

    Args:
        make: Makes the layer, always with the same weights.
        shapes: (C, H, W) of data, square and not.
        beside: Parameters outside the map: those of the latent's density, and unused ones.
    """

    make: Callable[[], Bijection]
    shapes: tuple[tuple[int, int, int], ...] = ((3, 4, 4), (3, 2, 6), (3, 5, 3))
    beside: tuple[str, ...] = ()


def layer_of(case: BijectionCase) -> Bijection:
    """Return the layer in float64, every parameter moved so that nothing is an identity."""
    layer = case.make().double()
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            # As much to each output, however many inputs: else large matrices come out singular.
            inputs = parameter.numel() // (len(parameter) if parameter.ndim else 1)
            size = 0.1 / max(1, inputs) ** 0.5
            parameter.add_(torch.from_numpy(rng.normal(0, size, parameter.shape)))
    return layer


def images(shape: tuple[int, int, int], *, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    """Return data and the context beside it."""
    rng = np.random.default_rng(4)
    x = rng.normal(0, 0.5, (rows, *shape))
    context = rng.uniform(0, 1, (rows, 3, *shape[1:]))
    return torch.from_numpy(x), torch.from_numpy(context)


def _forward(layer: Bijection, context: Tensor, x: Tensor) -> Tensor:
    z: Tensor = layer(x, context)[0]
    return z


def log_abs_det(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return log|det| of a function of one row's Jacobian."""
    differentiate: Callable[..., Tensor] = torch.autograd.functional.jacobian
    jacobian = differentiate(function, x, vectorize=True)
    determinant: Tensor = torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet
    return determinant


def check_each_direction_undoes_the_other(case: BijectionCase) -> None:
    layer = layer_of(case)
    for shape in case.shapes:
        x, context = images(shape)
        z, ladj = layer(x, context)
        again, back = layer.inverse(z, context)
        torch.testing.assert_close(again, x, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(back, -ladj, atol=1e-8, rtol=1e-8)
        # From latents of its own choice, too: not only those that data reach.
        drawn = torch.from_numpy(np.random.default_rng(5).normal(size=z.shape))
        data, _ = layer.inverse(drawn, context)
        torch.testing.assert_close(layer(data, context)[0], drawn, atol=1e-7, rtol=1e-7)


def check_log_determinant_is_that_of_the_jacobian(case: BijectionCase) -> None:
    layer = layer_of(case)
    for number, shape in enumerate(case.shapes):
        x, context = images(shape)
        ladj, row = layer(x, context)[1], number % ROWS  # a Jacobian is dear: one row a shape
        one = slice(row, row + 1)
        truth = log_abs_det(partial(_forward, layer, context[one]), x[one])
        torch.testing.assert_close(ladj[row], truth, atol=1e-7, rtol=1e-7)


def check_inverse_log_determinant_is_that_of_its_jacobian(case: BijectionCase) -> None:
    layer = layer_of(case)
    x, context = images(case.shapes[-1])
    z = layer(x, context)[0].detach()
    back = layer.inverse(z, context)[1]
    truth = log_abs_det(lambda v: layer.inverse(v, context[1:])[0], z[1:])
    torch.testing.assert_close(back[1], truth, atol=1e-6, rtol=1e-6)


def check_rows_are_free_of_each_other(case: BijectionCase) -> None:
    layer = layer_of(case)
    x, context = images(case.shapes[0], rows=3)
    z, ladj = layer(x, context)
    data, back = layer.inverse(z, context)
    assert ladj.shape == back.shape == (3,)
    for row in range(3):
        one = slice(row, row + 1)
        torch.testing.assert_close(layer(x[one], context[one]), (z[one], ladj[one]))
        torch.testing.assert_close(layer.inverse(z[one], context[one]), (data[one], back[one]))


def check_gradient_reaches_every_parameter(case: BijectionCase) -> None:
    layer = layer_of(case)
    x, context = images(case.shapes[-1])
    z, ladj = layer(x.requires_grad_(), context)
    (z.square().sum() + ladj.sum()).backward()
    for name, parameter in layer.named_parameters():
        if name.startswith(case.beside) and case.beside:
            continue
        assert parameter.grad is not None, f"{name} has no gradient"
        assert bool((parameter.grad != 0).any()), f"the gradient of {name} is 0"


def check_saved_weights_make_the_same_layer(case: BijectionCase) -> None:
    layer = layer_of(case)
    other = case.make().double()
    other.load_state_dict(layer.state_dict(), strict=True)
    x, context = images(case.shapes[0])
    assert all(map(torch.equal, layer(x, context), other(x, context)))


def check_arguments_are_not_written_to(case: BijectionCase) -> None:
    layer = layer_of(case)
    x, context = images(case.shapes[0])
    kept = x.clone(), context.clone()
    z, _ = layer(x, context)
    latent = z.clone()
    layer.inverse(z, context)
    assert torch.equal(z, latent)
    assert torch.equal(x, kept[0])
    assert torch.equal(context, kept[1])


CHECKS: dict[str, Callable[[BijectionCase], None]] = {
    name.removeprefix("check_"): check
    for name, check in sorted(globals().items())
    if name.startswith("check_")
}


class BijectionContract:
    """The contract as tests; derive, call it ``Test...``, and say what the case is."""

    def case(self) -> BijectionCase:
        """Return the layer and the images it takes."""
        raise NotImplementedError("a BijectionContract needs case(), which returns a case.")

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_contract(self, check: Callable[[BijectionCase], None]) -> None:
        check(self.case())
