"""Noise Flow sampling in units of one convolution, with and without the drawing of base noise.

The unit is that of :mod:`benchmarks.unit`. The released program takes 0.5 units for
64x4x32x32 and 3 for 16x4x128x128; the targets are half of that. Drawing the normal numbers is part
of it, and told apart: they come from the seeds, one stream a row, and cannot be made faster.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from benchmarks.unit import unit
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from generators.noise_flow.sampling import NoiseFlowGenerator
from generators.seeds import standard_normal, stream_rng, uniform

__all__ = ["measure"]

_THREADS = 2
_TARGETS = {(64, 32): 0.25, (16, 128): 1.5}
_CAMERAS, _ISOS = ("IP", "GP", "S6", "N6", "G4"), (100, 400, 800, 1600, 3200)


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return times in units, and how far the folded network is from the network."""
    del folder
    threads = torch.get_num_threads()
    torch.set_num_threads(min(_THREADS, effort.threads))
    try:
        model = _model()
        generator = NoiseFlowGenerator(model)
        lines = [line for shape in _TARGETS for line in _times(generator, shape, effort)]
        return [*lines, _folding(model, generator)]
    finally:
        torch.set_num_threads(threads)


def _times(generator: NoiseFlowGenerator, shape: tuple[int, int], effort: Effort) -> list[Line]:
    # A shape is what is measured; only a trial run takes fewer rows, and a smaller unit with them.
    share = min(1.0, 4 * effort.scale)
    rows, side = max(1, round(share * shape[0])), shape[1]
    request = _request(rows, side)
    runs: list[Callable[[], object]] = [
        unit(share),
        lambda: generator.sample(request),
        lambda: standard_normal(request.seeds, (4, side, side), "latent"),
    ]
    # Many short rounds: what else the machine does comes and goes in fractions of a second.
    times = in_turn(*runs, rounds=3 * effort.rounds, warm=effort.rounds > 1)
    name = f"{shape[0]}x4x{side}x{side}"
    best = min(t[1] for t in times) / min(t[0] for t in times)
    return [
        Line(
            name=f"sample {name}",
            values=ratios(times, 1, 0),
            unit="units",
            target=_TARGETS[shape],
            note=f"fastest / fastest {best:.3g}",
        ),
        Line(
            name=f"base noise {name}",
            values=ratios(times, 2, 0),
            unit="units",
            note="on one thread; sampling draws it on both",
        ),
    ]


def _folding(model: NoiseFlow, generator: NoiseFlowGenerator) -> Line:
    """Compare the folded network with the network, layer by layer, in float32."""
    request = _request(4, 32)
    clean = request.context.clean
    latent = standard_normal(request.seeds, clean.shape[1:], "latent")
    with torch.inference_mode():
        plain, _ = model.decode(latent, clean, model.labels(request.context.capture))
    noise = generator.sample(request).noisy - clean
    error = float((plain - noise).abs().max() / plain.abs().max())
    note = "float32 against the unfolded network"
    return Line(name="error / maximum", values=(error,), unit="", target=1e-4, note=note)


def _request(rows: int, side: int) -> NoiseRequest:
    cameras, isos = _CAMERAS * rows, _ISOS * rows
    return NoiseRequest(
        context=NoiseContext(
            clean=uniform(range(rows), (4, side, side), "clean"),
            capture=CaptureMetadata(camera=cameras[:rows], iso=isos[:rows]),
        ),
        seeds=range(rows),
    )


def _model() -> NoiseFlow:
    """Return the released arrangement with random weights; speed is the same."""
    model = NoiseFlow(NoiseFlowConfig(cameras=_CAMERAS, isos=_ISOS))
    rng = stream_rng(0, "weights")
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = np.asarray(0.05 * rng.standard_normal(parameter.shape))
            parameter.add_(torch.from_numpy(drawn))
    return model.eval()
