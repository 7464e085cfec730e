"""NAFlow encoding: the density of 32x3x64x64 given camera and ISO, in units of one convolution.

The unit is that of :mod:`benchmarks.unit`. The released program takes 4.1 units for encoding
and likelihood; 19 GFLOP of it are convolutions, and a unit is 9.7. Also measured: how many bits a
pixel the density moves in bfloat16, on real PolyU pairs where they are at hand, else on samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from benchmarks.inputs import naflow_weights
from benchmarks.naflow_rate import THREADS, real_blocks
from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from benchmarks.unit import unit
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.naflow.sampling import NAFlowGenerator
from generators.seeds import uniform

__all__ = ["measure"]

Precision = Literal["float32", "bf16"]
_ROWS, _SIDE = 32, 64
_TARGETS: dict[Precision, float] = {"float32": 2.0, "bf16": 1.0}


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return times in units, and the difference that bfloat16 makes to the density."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(THREADS, effort.threads))
    try:
        path = naflow_weights(folder)
        made = {
            p: NAFlowGenerator(NAFlowGenerator.load_network(path), precision=p) for p in _TARGETS
        }
        return [*_times(made, effort), _difference(made, effort)]
    finally:
        torch.set_num_threads(threads)


def _times(made: dict[Precision, NAFlowGenerator], effort: Effort) -> list[Line]:
    # A shape is what is measured; only a trial run takes fewer rows, and a smaller unit with them.
    share = min(1.0, 4 * effort.scale)
    noisy, context = _sampled(made["float32"], max(1, round(share * _ROWS)))
    # An imitated bfloat16 takes ten times as long as float32 and says nothing.
    native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    timed = [p for p in _TARGETS if native or p == "float32"]
    runs: list[Callable[[], object]] = [unit(share)]
    runs += [lambda g=made[p]: g.log_prob(noisy, context) for p in timed]  # type: ignore[misc]
    # Many short rounds: what else the machine does comes and goes in fractions of a second.
    times = in_turn(*runs, rounds=3 * effort.rounds, warm=effort.rounds > 1)
    lines = []
    for number, precision in enumerate(timed, start=1):
        best = min(t[number] for t in times) / min(t[0] for t in times)
        note = f"fastest / fastest {best:.3g}"
        if not native:
            note += "; bf16 is left out: this processor would imitate it"
        lines.append(
            Line(
                name=f"encode {_ROWS}x3x{_SIDE}x{_SIDE} {precision}",
                values=ratios(times, number, 0),
                unit="units",
                target=_TARGETS[precision],
                note=note,
            )
        )
    return lines


def _difference(made: dict[Precision, NAFlowGenerator], effort: Effort) -> Line:
    rows = effort.of(_ROWS)
    real = real_blocks(rows, _SIDE)
    if real is None:
        noisy, context = _sampled(made["float32"], rows)
    else:
        dither = uniform(range(rows), (3, _SIDE, _SIDE), "dequantisation") - 0.5
        noisy, context = real[1] + dither / 256, _context(made["float32"], real[0])
    bits = {p: _bits_a_pixel(g, noisy, context) for p, g in made.items()}
    difference = bits["bf16"] - bits["float32"]
    note = (
        f"mean of {rows} {'samples' if real is None else 'real PolyU blocks'}, "
        f"{float(bits['float32'].mean()):.3f} in float32; worst row "
        f"{float(difference.abs().max()):.2g}"
    )
    return Line(
        name="|NLL of bf16 - NLL of float32|",
        values=(abs(float(difference.mean())),),
        unit="bits a pixel",
        target=1e-3,
        note=note,
    )


def _bits_a_pixel(generator: NAFlowGenerator, noisy: Tensor, context: NoiseContext) -> Tensor:
    return -generator.log_prob(noisy, context) / (_SIDE * _SIDE * math.log(2))


def _sampled(generator: NAFlowGenerator, rows: int) -> tuple[Tensor, NoiseContext]:
    """Return noise of the model itself on flat pictures."""
    level = uniform(range(rows), (3, 1, 1), "clean", low=0.1, high=0.9)
    context = _context(generator, level.expand(-1, 3, _SIDE, _SIDE).contiguous())
    request = NoiseRequest(
        context=context, seeds=list(range(rows)), reference=context.clean + 0.02 * _grain(rows)
    )
    return generator.sample(request).noisy, context


def _grain(rows: int) -> Tensor:
    return uniform(range(rows), (3, _SIDE, _SIDE), "reference", low=-1.0, high=1.0)


def _context(generator: NAFlowGenerator, clean: Tensor) -> NoiseContext:
    camera, _, iso = generator.configurations[0].rpartition("_")
    return NoiseContext(
        clean=clean, capture=CaptureMetadata.same(len(clean), camera=camera, iso=int(iso))
    )
