"""InvDN denoising in units of one convolution, and what bfloat16 does to the estimate.

The unit is that of :mod:`benchmarks.unit`, with the same two threads. The released program takes 10
units for one 3x256x256 image (one z); its convolutions alone are 95 GFLOP, a unit is 9.7. The
arrangement is the paper's, 8 + 8 blocks; speed does not depend on the weights' values, so they are
random. bfloat16 pays where the processor has instructions for it; elsewhere it is emulated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from benchmarks.unit import unit
from generators.invdn.denoise import denoise
from generators.invdn.network import InvDN, InvDNConfig, channels_last
from generators.invdn.weights import load_invdn
from generators.seeds import standard_normal, uniform
from generators.weights_file import bundled

__all__ = ["measure"]

_THREADS = 2
_SIDE = 256
_TARGETS = {torch.float32: 7.5, torch.bfloat16: 3.0}
_BUNDLED = "invdn-polyu"


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return times in units and the difference in PSNR between precisions."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(_THREADS, effort.threads))
    try:
        return [*_times(effort), _psnr_difference(effort)]
    finally:
        torch.set_num_threads(threads)


def _times(effort: Effort) -> list[Line]:
    # One image is what is measured; only a trial run takes a smaller one, and a smaller unit.
    share = min(1.0, 4 * effort.scale)
    side = max(16, round(_SIDE * share**0.5) // 4 * 4)
    model, image = _random_model(), _image(side)
    runs: list[Callable[[], object]] = [unit(share)]
    runs += [lambda d=dtype: _denoised(model, image, d) for dtype in _TARGETS]  # type: ignore[misc]
    times = in_turn(*runs, rounds=effort.rounds, warm=effort.rounds > 1)
    lines = []
    for number, (dtype, target) in enumerate(_TARGETS.items(), start=1):
        best = min(t[number] for t in times) / min(t[0] for t in times)
        lines.append(
            Line(
                name=f"denoise 1x3x{side}x{side} {str(dtype).removeprefix('torch.')}",
                values=ratios(times, number, 0),
                unit="units",
                target=target,
                note=f"fastest / fastest {best:.3g}; released: 10",
            )
        )
    return lines


def _psnr_difference(effort: Effort) -> Line:
    """Return by how much bfloat16 changes the PSNR of the estimate."""
    path = bundled().get(_BUNDLED)
    small = InvDN(InvDNConfig(blocks=(2, 2), hidden=16))
    model, told = (small, "untrained") if path is None else (load_invdn(path).model, _BUNDLED)
    side = 4 * effort.of(32)
    coarse = uniform([1], (3, side // 16 + 1, side // 16 + 1), "clean", low=0.1, high=0.9)
    clean = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    noisy = clean + 0.02 * standard_normal([1], clean.shape[1:], "noise")
    found = []
    for dtype in _TARGETS:
        error = (_denoised(model, noisy, dtype).clamp(0, 1) - clean).square().mean()
        found.append(float(-10 * torch.log10(error)))
    return Line(
        name="|PSNR of bf16 - PSNR of float32|",
        values=(abs(found[1] - found[0]),),
        unit="dB",
        target=0.02,
        note=f"{found[0]:.2f} dB in float32, {told}",
    )


def _denoised(model: InvDN, image: Tensor, dtype: torch.dtype) -> Tensor:
    low = dtype == torch.bfloat16
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
        return denoise(model, image, seeds=range(len(image)))


def _random_model() -> InvDN:
    model = InvDN(InvDNConfig(start="random")).eval().requires_grad_(False)
    return channels_last(model)


def _image(side: int) -> Tensor:
    return uniform([0], (3, side, side), "image").contiguous(memory_format=torch.channels_last)
