"""Flow-sRGB sampling in units of one convolution.

The unit is that of :mod:`benchmarks.unit`, with the same two threads. The released program takes
0.6 units for 64x3x32x32.
"""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from benchmarks.unit import unit
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.flow_srgb.checkpoint_import import SIDD
from generators.flow_srgb.network import FlowSRGB
from generators.flow_srgb.sampling import FlowSRGBGenerator
from generators.seeds import uniform

__all__ = ["measure"]

_THREADS = 2
_SHAPES = ((64, 32), (16, 128))


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return the time of sampling two shapes, weights not trained."""
    del folder
    threads = torch.get_num_threads()
    torch.set_num_threads(min(_THREADS, effort.threads))
    try:
        return [_time(shape, effort) for shape in _SHAPES]
    finally:
        torch.set_num_threads(threads)


def _time(shape: tuple[int, int], effort: Effort) -> Line:
    # A shape is what is measured; only a trial run takes fewer rows, and a smaller unit with them.
    share = min(1.0, 4 * effort.scale)
    rows, side = max(1, round(share * shape[0])), shape[1]
    clean = uniform(range(rows), (3, side, side), "clean")
    capture = CaptureMetadata.same(rows, camera="S6", iso=800)
    request = NoiseRequest(
        context=NoiseContext(clean=clean, capture=capture), seeds=list(range(rows))
    )
    generator = FlowSRGBGenerator(FlowSRGB(SIDD))
    times = in_turn(
        unit(share),
        lambda: generator.sample(request),
        rounds=3 * effort.rounds,
        warm=effort.rounds > 1,
    )
    best = min(t[1] for t in times) / min(t[0] for t in times)
    return Line(
        name=f"sample {shape[0]}x3x{side}x{side}",
        values=ratios(times, 1, 0),
        unit="units",
        note=f"fastest / fastest {best:.3g}",
    )
