"""The benchmarks by name; each is imported when it is run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from benchmarks.results import Effort, Line

__all__ = ["BENCHMARKS", "run"]

BENCHMARKS = {
    "pipeline": ("pipeline_rate", "Whole pipeline against a bare loop over the generator."),
    "flow-srgb-sampling": ("flow_srgb_rate", "Flow-sRGB sampling in units of one 3x3 convolution."),
    "denoise-memory": ("denoise_memory", "Peak memory of denoising a 12-megapixel picture."),
    "invdn-denoising": ("invdn_rate", "InvDN denoising in units of one 3x3 convolution."),
    "recompute-memory": ("recompute_memory", "Training memory with rebuilt activations."),
    "naflow-encoding": ("naflow_encoding", "NAFlow's density in units of one 3x3 convolution."),
    "naflow-sampling": ("naflow_rate", "NAFlow sampling in units of one 3x3 convolution."),
    "noise-flow-sampling": (
        "noise_flow_rate",
        "Noise Flow sampling in units of one 3x3 convolution.",
    ),
    "memory": ("memory", "Peak memory at 20,000 patches over that at 2,000."),
    "evaluation-scale": (
        "evaluation_scale",
        "Evaluating 20,000 patches: peak memory over that of 2,000, and the metrics' share.",
    ),
    "plan-million": ("planning", "Planning one million patches."),
    "hdf5-reads": ("reads", "Random reads from HDF5 against a folder of PNG pairs."),
    "trainer-epoch": ("trainer_epoch", "An epoch of the trainer against PNG files and datasets."),
    "trainer-waiting": ("trainer_waiting", "Share of its time that the trainer waits for data."),
    "import-times": ("imports", "Imports and --help against an empty Python process."),
}


def run(name: str, effort: Effort, folder: Path) -> list[Line]:
    """Run one benchmark.

    Args:
        name: A key of :data:`BENCHMARKS`.
        effort: How much to measure.
        folder: An empty folder to work in.
    """
    module = importlib.import_module(f"benchmarks.{BENCHMARKS[name][0]}")
    measure = cast("Callable[[Effort, Path], list[Line]]", module.measure)
    return measure(effort, folder)
