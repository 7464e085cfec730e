"""Peak memory of denoising a large picture tile by tile, and of one a quarter of its size.

A 12-megapixel picture (4096x3072 RGB, 8 bits) goes through a DnCNN of 17 layers and 64 channels as
`noisemill denoise` sends it: from stored pixels to stored pixels. One activation of that network on
the whole picture would take 3.2 GB. What remains is the picture itself, a few times over as float32
(151 MB each), so the peak per added megapixel is reported beside the peak.

Each picture is denoised in a process of its own; the figure is its peak resident memory, torch and
all.
"""

from __future__ import annotations

import resource
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fresh import in_fresh_process
from benchmarks.results import Effort, Line

__all__ = ["measure", "peak"]

_HEIGHT, _WIDTH, _DEPTH = 3072, 4096, 17
_TARGET_GB = 2.0


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return the peak, and what each further megapixel costs."""
    # A trial run shows that it works, and any process will do for that.
    run = partial(in_fresh_process, "denoise_memory", "peak") if effort.ray else peak
    share = min(1.0, effort.scale) ** 0.5
    height, width = max(16, round(_HEIGHT * share)), max(16, round(_WIDTH * share))
    depth = _DEPTH if effort.scale > 0.1 else 3
    small = run(height=height // 2, width=width // 2, depth=depth, threads=effort.threads)
    large = run(height=height, width=width, depth=depth, threads=effort.threads)
    megapixels = height * width / 1e6
    growth = (large["bytes"] - small["bytes"]) / 1e6 / (0.75 * megapixels)
    note = f"{width}x{height} RGB, DnCNN-{depth}; a quarter of it: {small['bytes'] / 1e9:.2f} GB"
    return [
        Line(
            name="peak resident memory, tiled",
            values=(large["bytes"] / 1e9,),
            unit="GB",
            target=_TARGET_GB,
            note=note,
        ),
        Line(
            name="each further megapixel",
            values=(max(0.0, growth),),
            unit="MB",
            note="12 MB are one float32 copy of the picture",
        ),
    ]


def peak(*, height: int, width: int, depth: int, threads: int) -> dict[str, int]:
    """Denoise one picture and return this process's peak resident memory.

    Args:
        height: Pixels.
        width: Pixels.
        depth: Layers of the DnCNN.
        threads: Threads of torch, at most.
    """
    import torch

    import denoisers
    from generators.seeds import stream_rng
    from pipeline.pictures.denoise import denoise_picture

    torch.set_num_threads(min(torch.get_num_threads(), threads))
    picture = stream_rng(0, "picture").integers(0, 256, (height, width, 3), dtype=np.uint8)
    network = denoisers.create("dncnn", channels=3, seed=0, depth=depth).eval()
    done = denoise_picture(network, picture)  # type: ignore[arg-type]
    if done.shape != picture.shape:
        raise RuntimeError(f"the picture came back as {done.shape}.")
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
