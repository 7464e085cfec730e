"""What training holds for backward, activations kept against rebuilt, and what rebuilding costs.

Bytes are counted, not watched: every tensor that autograd saves passes through hooks that add up
what is alive, weights left out. The count is the same on every machine.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from generators.flows.recompute import Memory
from generators.invdn.network import InvDN, InvDNConfig, channels_last
from generators.seeds import standard_normal, uniform

__all__ = ["measure"]

_ROWS, _SIDE = 2, 64


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return bytes and times of InvDN's training steps at 8 and 16 blocks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, effort.threads))
    try:
        return [*_bytes(effort), _time(effort)]
    finally:
        torch.set_num_threads(threads)


def _bytes(effort: Effort) -> list[Line]:
    # Eight and sixteen blocks in all, on two levels.
    deep = 16 if effort.scale > 0.1 else 4
    models = {blocks: _model(blocks // 2, effort) for blocks in (deep // 2, deep)}
    image = _image(effort)
    held = {
        (blocks, memory): _peak(model, image, memory)
        for blocks, model in models.items()
        for memory in ("keep", "recompute")
    }
    lines = []
    for memory, target in (("recompute", 1.1), ("keep", None)):
        few, many = held[deep // 2, memory], held[deep, memory]
        note = f"{few / 2**20:.1f} and {many / 2**20:.1f} MiB, {_ROWS}x3x{image.shape[2]}^2"
        name = f"held for backward, {deep} blocks over {deep // 2}, {memory}"
        lines.append(Line(name=name, values=(many / few,), target=target, note=note))
    return lines


def _time(effort: Effort) -> Line:
    model, image = _model(effort.of(8), effort), _image(effort)

    def step(memory: Memory) -> None:
        model.zero_grad(set_to_none=True)
        _loss(model, image, memory).backward()  # type: ignore[no-untyped-call]

    times = in_turn(
        lambda: step("keep"),
        lambda: step("recompute"),
        rounds=effort.rounds,
        warm=effort.rounds > 1,
    )
    note = "forward, inverse and backward of 8 + 8 blocks; a pass more in three would be 1.33"
    return Line(name="step, rebuilt over kept", values=ratios(times, 1, 0), note=note)


def _model(blocks: int, effort: Effort) -> InvDN:
    hidden = 64 if effort.scale > 0.1 else 4
    return channels_last(InvDN(InvDNConfig(blocks=(blocks, blocks), hidden=hidden, start="random")))


def _image(effort: Effort) -> Tensor:
    side = _SIDE if effort.scale > 0.1 else 8
    return uniform(range(_ROWS), (3, side, side), "image")


def _loss(model: InvDN, image: Tensor, memory: Memory) -> Tensor:
    encoded, _ = model.encode(image, memory=memory)
    z = standard_normal(range(len(image)), encoded[0, 3:].shape, "z")
    decoded, _ = model.decode(torch.cat([encoded[:, :3], z], dim=1), memory=memory)
    return (decoded - image).square().mean()


def _peak(model: InvDN, image: Tensor, memory: str) -> int:
    counter = _Held(model.parameters())
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda saved: saved.tensor):
        _loss(model, image, "recompute" if memory == "recompute" else "keep").backward()  # type: ignore[no-untyped-call]
    return counter.peak


class _Held:
    """Counts the bytes that autograd holds, each storage once."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.now = self.peak = 0
        self._weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self._users: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> _Saved:
        return _Saved(self, tensor)

    def take(self, place: int, size: int) -> None:
        self._users[place] = self._users.get(place, 0) + 1
        if self._users[place] == 1 and place not in self._weights:
            self.now += size
            self.peak = max(self.peak, self.now)

    def leave(self, place: int, size: int) -> None:
        self._users[place] -= 1
        if self._users[place] == 0 and place not in self._weights:
            self.now -= size


class _Saved:
    """A saved tensor; counted while it lives."""

    def __init__(self, counter: _Held, tensor: Tensor) -> None:
        self.tensor = tensor
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        counter.take(place, size)
        self._end = weakref.finalize(self, counter.leave, place, size)
