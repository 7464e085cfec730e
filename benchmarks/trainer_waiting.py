"""How long the trainer of denoisers waits for its data: DnCNN-9 on 16 crops of 64x64 a step.

The share of the loop's time that passes between asking for a batch and having it. The corpus is
read from memory, row by row from HDF5 and in windows from Parquet, as a corpus too large for the
memory would be. bfloat16 where the processor has it: that is the fast step that data must keep up
with; elsewhere float32.
"""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.inputs import awgn_corpus
from benchmarks.results import Effort, Line
from pipeline.manifest.models import TrainDenoiserManifest
from pipeline.training.jobs.denoiser import train_denoiser

__all__ = ["measure"]

_PAIRS, _STEPS = 8192, 60
_TARGET = 0.05
_WAYS = {
    "HDF5, from memory": ("hdf5", 2_000_000_000),
    "HDF5, row by row": ("hdf5", 1),
    "Parquet, in windows": ("parquet", 30_000_000),
}


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return the share of waiting for each way of reading."""
    corpus = awgn_corpus(folder, 8, effort.of(_PAIRS, least=64))
    bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    lines = []
    for name, (format, memory) in _WAYS.items():
        shares, seconds = [], []
        for number in range(effort.rounds):
            output = folder / f"{format}-{memory}-{number}"
            manifest = _training(effort, corpus, format, memory, output, bf16)
            left = train_denoiser(manifest, source="", style="quiet")
            shares.append(left.waited)
            seconds.append(left.seconds / left.steps)
        note = f"{min(seconds):.3f} s a step in {'bfloat16' if bf16 else 'float32'}"
        lines.append(
            Line(
                name=f"waiting / training, {name}",
                values=tuple(shares),
                unit="of the time",
                target=_TARGET,
                note=note,
            )
        )
    return lines


def _training(
    effort: Effort, corpus: Path, format: str, memory: int, output: Path, bf16: bool
) -> TrainDenoiserManifest:
    return TrainDenoiserManifest.model_validate(
        {
            "kind": "train-denoiser",
            "name": "bench",
            "params": {"depth": 9, "width": 64},
            "data": {
                "inputs": [{"corpus": str(corpus), "format": format}],
                "patch": 64,
                "memory": memory,
            },
            "schedule": {
                "steps": effort.of(_STEPS, least=2),
                "batch_size": 16,
                "bf16": bf16,
                "threads": min(torch.get_num_threads(), effort.threads),
            },
            "report": False,
            "output": {"path": str(output)},
        }
    )
