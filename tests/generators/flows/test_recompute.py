"""Rebuilt activations give the gradients that kept ones give, in less memory.

Memory is counted, not watched: every tensor that autograd saves passes through hooks, which add up
the bytes alive. That is the same number on every machine.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from generators.flows.bijection import Bijection
from generators.flows.haar import Haar
from generators.flows.invertible_block import InvertibleBlock
from generators.flows.pointwise import ActNorm, Invertible1x1
from generators.flows.recompute import Direction, Memory, run_chain
from generators.flows.reshape import Squeeze
from generators.seeds import standard_normal


class Shift(Bijection):
    """Adds a function of the context: shows that gradients reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.exp(self.amount * context)
        return x * scale, scale.log().sum(dim=(1, 2, 3)) * x.shape[1] / context.shape[1]

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.exp(-self.amount * context)
        return z * scale, scale.log().sum(dim=(1, 2, 3)) * z.shape[1] / context.shape[1]


class Opaque(Bijection):
    """A block that cannot rebuild itself, so that the generic way is taken."""

    def __init__(self, channels: int, *, seed: int) -> None:
        super().__init__()
        self.inner = InvertibleBlock(channels, 2, hidden=6, seed=seed)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        made: tuple[Tensor, Tensor] = self.inner(x, context)
        return made

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.inverse(z, context)


def chain(kind: str) -> nn.ModuleList:
    made: dict[str, Sequence[Bijection]] = {
        "blocks": [Haar(), *(InvertibleBlock(12, 3, hidden=8, seed=i) for i in range(3))],
        "opaque": [Squeeze(), Opaque(12, seed=0), ActNorm(12), Invertible1x1(12, seed=1)],
        "context": [ActNorm(3), Shift(), Invertible1x1(3, seed=2)],
    }
    return nn.ModuleList(made[kind])


def gradients(
    layers: nn.ModuleList, direction: Direction, memory: Memory, dtype: torch.dtype
) -> list[Tensor]:
    """Return result, log-determinant and the gradients of input, context and every parameter."""
    layers = layers.to(dtype)
    layers.zero_grad(set_to_none=True)
    squeezed = direction == "inverse" and not isinstance(layers[0], ActNorm)
    x = standard_normal([0, 1], (12, 2, 4) if squeezed else (3, 4, 8), "x").to(dtype)
    context = standard_normal([2, 3], (1, 4, 8), "c").to(dtype).requires_grad_()
    x = 0.5 * x.requires_grad_()
    x.retain_grad()
    bijections = [layer for layer in layers if isinstance(layer, Bijection)]
    z, ladj = run_chain(bijections, x, context, direction=direction, memory=memory)
    weight = torch.linspace(-1, 1, z.numel(), dtype=dtype).view(z.shape)
    (z.square() * weight + z * weight.flip(0)).sum().add(
        (ladj * torch.tensor([0.1, -0.3])).sum()
    ).backward()
    grads = [x.grad, context.grad, *(p.grad for p in layers.parameters())]
    return [z.detach(), ladj.detach(), *(torch.zeros(()) if g is None else g for g in grads)]


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("kind", ["blocks", "opaque", "context"])
def test_gradients_are_those_of_kept_activations(kind: str, direction: Direction) -> None:
    layers = chain(kind)
    kept = gradients(layers, direction, "keep", torch.float64)
    rebuilt = gradients(layers, direction, "recompute", torch.float64)
    assert kind != "context" or bool((kept[3] != 0).all())
    torch.testing.assert_close(rebuilt, kept, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_float32_is_enough(direction: Direction) -> None:
    layers = nn.ModuleList([Haar(), *(InvertibleBlock(12, 3, hidden=8, seed=i) for i in range(16))])
    kept = gradients(layers, direction, "keep", torch.float32)
    rebuilt = gradients(layers, direction, "recompute", torch.float32)
    for one, other in zip(rebuilt, kept, strict=True):
        assert float((one - other).norm()) <= 1e-4 * float(other.norm())


class Bytes:
    """Counts the bytes that autograd holds, weights left out."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.now = self.peak = 0
        self._weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self._held: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Held:
        return Held(self, tensor.untyped_storage().data_ptr(), tensor)

    def take(self, place: int, size: int) -> None:
        self._held[place] = self._held.get(place, 0) + 1
        if place not in self._weights and self._held[place] == 1:
            self.now += size
            self.peak = max(self.peak, self.now)

    def leave(self, place: int, size: int) -> None:
        self._held[place] -= 1
        if place not in self._weights and self._held[place] == 0:
            self.now -= size


class Held:
    """One saved tensor; counted while it lives, and once however often it is saved."""

    def __init__(self, counter: Bytes, place: int, tensor: Tensor) -> None:
        self.tensor = tensor
        size = tensor.untyped_storage().nbytes()
        counter.take(place, size)
        self._end = weakref.finalize(self, counter.leave, place, size)


def peak(blocks: int, memory: Memory, direction: Direction) -> int:
    """Return the most bytes that one training step of a two-level chain holds for backward."""
    layers = nn.ModuleList(
        [Haar(), *(InvertibleBlock(12, 3, hidden=8, seed=1) for _ in range(blocks))]
    )
    layers.extend([Haar(), *(InvertibleBlock(48, 3, hidden=8, seed=1) for _ in range(blocks))])
    bijections = [layer for layer in layers if isinstance(layer, Bijection)]
    shape = (3, 16, 16) if direction == "forward" else (48, 4, 4)
    x = standard_normal([0], shape, "x").requires_grad_()
    counter = Bytes(list(layers.parameters()))
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda held: held.tensor):
        z, ladj = run_chain(bijections, x, x[:0], direction=direction, memory=memory)
        (z.square().sum() + ladj.sum()).backward()
    del z, ladj
    assert counter.now == 0
    return counter.peak


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_memory_does_not_grow_with_depth(direction: Direction) -> None:
    shallow, deep = (peak(blocks, "recompute", direction) for blocks in (8, 16))
    assert deep <= 1.1 * shallow
    # The counter sees what it should: kept activations double.
    kept, more = (peak(blocks, "keep", direction) for blocks in (8, 16))
    assert more > 1.9 * kept
    assert deep < 0.2 * more


def test_autocast_is_followed_into_backward() -> None:
    layers = [InvertibleBlock(12, 3, hidden=8, seed=i) for i in range(2)]
    found = []
    for memory in ("keep", "recompute"):
        x = standard_normal([0], (12, 4, 4), "x").requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z, ladj = run_chain(layers, x, x[:0], memory=memory)  # type: ignore[arg-type]
            # The same weights in the other direction: a cast weight of the first pass must not
            # be used again without its graph.
            back, _ = run_chain(layers, z * 1.01, x[:0], direction="inverse", memory=memory)  # type: ignore[arg-type]
        assert z.dtype == back.dtype == torch.float32
        (back.square().sum() + ladj.sum()).backward()
        found.append([x.grad, *(p.grad for layer in layers for p in layer.parameters())])
        for layer in layers:
            layer.zero_grad(set_to_none=True)
    for kept, rebuilt in zip(*found, strict=True):
        assert kept is not None
        assert rebuilt is not None
        assert float((kept - rebuilt).norm()) <= 0.03 * float(kept.norm())


def test_weights_changed_before_backward_are_noticed() -> None:
    layers = [ActNorm(3)]
    x = standard_normal([0], (3, 2, 2), "x").requires_grad_()
    z, _ = run_chain(layers, x, x[:0], memory="recompute")
    with torch.no_grad():
        layers[0].bias.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_frozen_layers_get_no_gradient() -> None:
    layers = [InvertibleBlock(12, 3, hidden=8, seed=i) for i in range(2)]
    layers[0].requires_grad_(False)
    x = standard_normal([0], (12, 4, 4), "x")
    z, _ = run_chain(layers, x, x[:0], memory="recompute")
    z.square().sum().backward()
    assert all(p.grad is None for p in layers[0].parameters())
    assert all(p.grad is not None for p in layers[1].parameters())
