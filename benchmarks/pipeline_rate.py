"""The whole pipeline against a bare loop over the same generator on the same batches.

The bare loop has the patches in memory and keeps nothing: what it does is what cannot be saved. The
pipeline reads photographs, cuts, quantises, encodes PNG, writes HDF5 and Parquet, hashes, and pays
for Ray. Both use every CPU: the loop by torch's threads, the pipeline by its actors.

Each actor is a process that imports torch and loads weights, a second or two before its first
patch; the loop is timed behind that. So a short run is told beside the rate at which a long one
goes on: the time of two thirds of a long run, found as its difference from a short one.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.inputs import corpus_manifest, naflow_weights
from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios
from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.seeds import patch_seed
from pipeline.building.run import Prepared, build, inline_stages, prepare, task_for
from pipeline.engine.connection import connected
from pipeline.engine.resources import local_machine
from pipeline.manifest.models import CorpusManifest

__all__ = ["measure"]

_PATCHES, _MORE = 4096, 3
_TARGET = 0.8


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return the ratio of the rates: of whole runs, of what a run goes on with, from nothing."""
    small, large = (_manifest(effort, folder, patches) for patches in (_PATCHES, _MORE * _PATCHES))
    ready = prepare(small)
    loop = _bare_loop(ready, threads=min(local_machine().cpus, effort.threads))
    number = itertools.count()

    def pipeline(manifest: CorpusManifest) -> None:
        output = manifest.output.model_copy(update={"path": str(folder / f"out-{next(number)}")})
        corpus = manifest.model_copy(update={"output": output})
        build(corpus, inline=not effort.ray, overwrite=False, style="quiet")
        shutil.rmtree(output.path)

    # Ray's workers give way to everything else by 15 points of niceness, and the loop would not: on
    # a machine that does other work, that is all the ratio would tell.
    os.environ.setdefault("RAY_worker_niceness", "0")
    runs = (loop, partial(pipeline, small), partial(pipeline, large))
    with connected(None, local_machine()) if effort.ray else nullcontext():
        times = in_turn(*runs, rounds=min(5, effort.rounds), warm=effort.rounds > 1)
    patches = ready.plan.patches
    # The start of the actors (torch, weights) is in both runs, and not in their difference.
    going = tuple((_MORE - 1) * t[0] / max(t[2] - t[1], 1e-3) for t in times)
    lines = [
        _line("going: further patches of a run", going, f"from {patches} to {_MORE * patches}"),
        _line(f"whole run of {_MORE * patches}", tuple(_MORE * t[0] / t[2] for t in times)),
        _line(f"whole run of {patches}", ratios(times, 0, 1)),
    ]
    if effort.ray:
        cold = in_turn(*runs[:2], rounds=min(3, effort.rounds), warm=False)
        lines.append(_line(f"and Ray's start and stop, {patches}", ratios(cold, 0, 1)))
    rates = tuple(patches / each[0] for each in times)
    lines.append(Line(name="bare loop", values=rates, unit="patches/s"))
    return lines


def _line(name: str, values: tuple[float, ...], note: str = "") -> Line:
    return Line(
        name=f"pipeline / bare loop, {name}",
        values=values,
        target=None if name.startswith("and") else _TARGET,
        sense="at least",
        note=note,
    )


def _manifest(effort: Effort, folder: Path, patches: int) -> CorpusManifest:
    weights = naflow_weights(folder)
    generator = {"name": "naflow", "weights": str(weights), "params": {"sampling": "random"}}
    return corpus_manifest(
        folder / "out",
        source={"type": "photographs"},
        patches={"per_image": effort.of(patches) // 4},
        generator=generator,
        rows_per_shard=effort.of(512, least=64),
        precision="bf16",
    )


def _bare_loop(ready: Prepared, *, threads: int) -> Callable[[], None]:
    """Return a loop over the plan's batches, cut beforehand; torch uses every CPU."""
    cut, _ = inline_stages(ready)
    clean = np.concatenate([cut(task_for(ready, shard)).clean for shard in ready.plan.shards])
    size = ready.manifest.resources.batch_size
    requests = [
        _request(clean[start : start + size], first=start) for start in range(0, len(clean), size)
    ]
    generator = ready.loaded[0].generator

    def loop() -> None:
        torch.set_num_threads(threads)
        for request in requests:
            generator.sample(request)

    return loop


def _request(pixels: np.ndarray, *, first: int) -> NoiseRequest:
    clean = torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
    return NoiseRequest(
        context=NoiseContext(
            clean=clean.contiguous(),
            capture=CaptureMetadata.same(len(clean), camera=None, iso=None),
        ),
        seeds=[patch_seed(1, str(first + row)) for row in range(len(clean))],
        reference=None,
        reference_clean=None,
    )
