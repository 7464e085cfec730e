"""NAFlow sampling in units of one convolution, and what bfloat16 and folding do to the result.

The unit is that of :mod:`benchmarks.unit`, with the same two threads: it scales with the machine as
the network does. The released program takes 4.1 units for 32x3x64x64 and 7.5 for 8x3x160x160; the
targets are a half of that in float32 and a quarter in bfloat16.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.inputs import naflow_weights
from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from benchmarks.unit import unit
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.naflow.config import NAFlowConfig
from generators.naflow.fused import FoldedNAFlow
from generators.naflow.network import NAFlow
from generators.naflow.sampling import NAFlowGenerator
from generators.seeds import standard_normal, uniform
from generators.weights_file import load_weights
from pipeline.images import read_pixels
from pipeline.manifest.models import PairsSource, Splits
from pipeline.measure.metrics import kld
from pipeline.sources import scan

__all__ = ["THREADS", "measure", "real_blocks"]

Precision = Literal["float32", "bf16"]
THREADS = 2
_SHAPES = ((32, 64), (8, 160))
_RELEASED = {(32, 64): 4.1, (8, 160): 7.5}
_SHARE: dict[Precision, float] = {"float32": 0.5, "bf16": 0.25}
_BLOCK = 256


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return times in units, the folding's error and the KLD's difference between precisions."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(THREADS, effort.threads))
    try:
        path = naflow_weights(folder)
        lines = [line for shape in _SHAPES for line in _times(path, shape, effort)]
        return [*lines, _folding(path), _kld_difference(path, effort)]
    finally:
        torch.set_num_threads(threads)


def _times(path: Path, shape: tuple[int, int], effort: Effort) -> list[Line]:
    # A shape is what is measured; only a trial run takes fewer rows, and a smaller unit with them.
    share = min(1.0, 4 * effort.scale)
    rows, side = max(1, round(share * shape[0])), shape[1]
    request = _request(uniform(range(rows), (3, side, side), "clean"))
    latent = standard_normal(range(rows), (192, side // 8, side // 8), "latent")
    made: dict[Precision, NAFlowGenerator] = {
        precision: NAFlowGenerator(
            NAFlowGenerator.load_network(path), sampling="random", precision=precision
        )
        for precision in _SHARE
    }
    model = _model(path)
    folded = {p: FoldedNAFlow(model, dtype=_dtype(p)) for p in made}
    runs: list[Callable[[], object]] = [unit(share)]
    runs += [lambda g=made[p]: g.sample(request) for p in made]  # type: ignore[misc]
    runs += [lambda f=folded[p]: f.decode(latent, request.context.clean) for p in made]  # type: ignore[misc]
    # Many short rounds: what else the machine does comes and goes in fractions of a second.
    times = in_turn(*runs, rounds=3 * effort.rounds, warm=effort.rounds > 1)
    name = f"{shape[0]}x3x{side}x{side}"
    lines = []
    for number, precision in enumerate(made, start=1):
        values = ratios(times, number, 0)
        target = round(_RELEASED[shape] * _SHARE[precision], 3)
        best = min(t[number] for t in times) / min(t[0] for t in times)
        note = f"fastest / fastest {best:.3g}"
        lines.append(
            Line(
                name=f"sample {name} {precision}",
                values=values,
                unit="units",
                target=target,
                note=note,
            )
        )
    for number, precision in enumerate(made, start=3):
        best = min(t[number] for t in times) / min(t[0] for t in times)
        note = f"fastest / fastest {best:.3g}; flow alone, noise drawn before"
        values = ratios(times, number, 0)
        lines.append(
            Line(name=f"decode {name} {precision}", values=values, unit="units", note=note)
        )
    return lines


def _folding(path: Path) -> Line:
    """Compare the folded network with the network, layer by layer, in float32."""
    model = _model(path)
    clean = uniform(range(4), (3, 64, 64), "clean")
    latent = standard_normal(range(4), (192, 8, 8), "latent")
    with torch.inference_mode():
        plain, _ = model.decode(latent, model.prepare(clean), model.decoder_maps())
        folded = FoldedNAFlow(model).decode(latent, clean)
    error = float((plain - folded).abs().max() / plain.abs().max())
    note = "float32 against the unfolded network; the released one: tests/generators/test_naflow.py"
    return Line(name="error / maximum", values=(error,), unit="", target=1e-4, note=note)


def _kld_difference(path: Path, effort: Effort) -> Line:
    """Return how much further from the noise of real pairs bfloat16 is than float32."""
    blocks = effort.of(16)
    side = _BLOCK if blocks > 1 else 64
    real = real_blocks(blocks, side)
    if real is None:
        clean = uniform(range(blocks), (3, 1, 1), "clean").expand(-1, 3, side, side)
        noise, told = _sampled(path, clean, None, "float32", first=blocks), "another draw"
    else:
        clean, noise, told = real[0], real[1] - real[0], "real PolyU noise, noise-aware"
    reference = None if real is None else real[1]
    made = {p: _sampled(path, clean, reference, p, first=0) for p in _SHARE}
    found = {p: [_kld(noise[i], made[p][i]) for i in range(blocks)] for p in made}
    difference = float(np.mean(found["bf16"]) - np.mean(found["float32"]))
    note = f"mean of {blocks} blocks; {np.mean(found['float32']):.4f} in float32 against {told}"
    name = "|KLD of bf16 - KLD of float32|"
    return Line(name=name, values=(abs(difference),), unit="nats", target=1e-3, note=note)


def _sampled(
    path: Path, clean: Tensor, reference: Tensor | None, precision: Precision, *, first: int
) -> Tensor:
    """Return the noise of one generator on each image, as stored in 8 bits."""
    sampling: Literal["random", "noise-aware"] = "random" if reference is None else "noise-aware"
    generator = NAFlowGenerator(
        NAFlowGenerator.load_network(path), sampling=sampling, precision=precision
    )
    noise = []
    for row in range(len(clean)):
        mine = slice(row, row + 1)
        partner = None if reference is None else reference[mine].contiguous()
        request = _request(clean[mine].contiguous(), reference=partner, first=first + row)
        sample = generator.sample(request)
        noise.append((sample.noisy.clamp(0, 1) * 255).round() / 255 - request.context.clean)
    return torch.cat(noise)


def real_blocks(count: int, side: int) -> tuple[Tensor, Tensor] | None:
    """Return clean and noisy blocks of the PolyU pairs for validation; None where they are not."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("NOISEMILL_DATA", default)).resolve() / "polyu"
    if not (folder / "metadata.csv").is_file():
        return None
    source = PairsSource(type="pairs", path=str(folder), metadata="metadata.csv", only=["val"])
    pairs = [(r.uri, r.noisy_uri) for r in scan([source], Splits()).records if r.noisy_uri]
    blocks = []
    for number in range(count):
        clean, noisy = (_image(uri) for uri in pairs[number % len(pairs)])
        place = number // len(pairs)
        y, x = side * (place // 3), side * (place % 3)
        blocks.append([image[:, y : y + side, x : x + side] for image in (clean, noisy)])
    return torch.stack([b[0] for b in blocks]), torch.stack([b[1] for b in blocks])


def _image(uri: str) -> Tensor:
    pixels = read_pixels(uri).astype(np.float32) / np.float32(255)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _kld(real: Tensor, made: Tensor) -> float:
    return kld(real.permute(1, 2, 0).numpy(), made.permute(1, 2, 0).numpy(), "naflow")


def _request(clean: Tensor, *, reference: Tensor | None = None, first: int = 0) -> NoiseRequest:
    capture = CaptureMetadata.same(len(clean), camera=None, iso=None)
    return NoiseRequest(
        context=NoiseContext(clean=clean, capture=capture),
        seeds=list(range(first, first + len(clean))),
        reference=reference,
        reference_clean=None if reference is None else clean,
    )


def _model(path: Path) -> NAFlow:
    weights = load_weights(path, family="naflow")
    model = NAFlow(NAFlowConfig.from_dict(weights.config))
    model.load_state_dict(weights.tensors)
    return model.eval().requires_grad_(False)


def _dtype(precision: Precision) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32
