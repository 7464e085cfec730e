"""Evaluating a corpus: peak memory at 20,000 patches over that at 2,000, and where the time goes.

Shards are read row by row and only sums are kept, so memory must not follow the number of patches.
The work is the metrics' own: KLD, AKLD, correlation map, spectrum and the other sums. What is left
is reading: rows out of HDF5, and the photographs with their real noise, decoded once a shard.
"""

from __future__ import annotations

import cProfile
import pstats
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.fresh import in_fresh_process
from benchmarks.inputs import corpus_manifest, write_photographs
from benchmarks.processes import watching
from benchmarks.results import Effort, Line
from generators.seeds import stream_rng
from pipeline.building.run import build
from pipeline.evaluation import evaluate
from pipeline.manifest.models import EvaluateManifest

__all__ = ["evaluated", "measure"]

_IMAGES, _SIDE, _SHARD = 20, 512, 500
_SMALL, _LARGE = 2_000, 20_000
_MEMORY, _SHARE = 1.15, 0.5


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return the ratio of the peaks, and the metrics' share of the time."""
    images = effort.of(_IMAGES, least=2)
    pairs = _write_pairs(folder / "pairs", images, effort.of(_SIDE, least=160))
    # A trial run shows that it works, and any process will do for that.
    run = partial(in_fresh_process, "evaluation_scale", "evaluated") if effort.ray else evaluated
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for name, patches in (("small", _SMALL), ("large", _LARGE)):
        _build(folder / name, pairs, max(2, effort.of(patches) // images), effort)
    for number in range(max(1, effort.rounds // 3)):
        small, large = (
            run(corpus=str(folder / name), output=str(folder / f"{name}-figures-{number}"))
            for name in ("small", "large")
        )
        found.append((small, large))
    small, large = found[-1]
    rate = large["patches"] / large["seconds"]
    return [
        Line(
            name="peak memory, 10 times the patches",
            values=tuple(big["private"] / little["private"] for little, big in found),
            target=_MEMORY,
            note=f"{small['private'] / 2**20:.0f} MiB, then {large['private'] / 2**20:.0f} MiB",
        ),
        Line(
            name="metrics' share of the time",
            values=tuple(big["share"] for _, big in found),
            target=_SHARE,
            sense="at least",
            note=f"{rate:,.0f} patches/s under the profiler; {large['told']}",
        ),
    ]


def evaluated(*, corpus: str, output: str) -> dict[str, Any]:
    """Evaluate a corpus in this process and return peak memory, time, and the metrics' share.

    Args:
        corpus: Folder of the corpus.
        output: Folder of the evaluation; must be new.
    """
    manifest = EvaluateManifest.model_validate(
        {
            "kind": "evaluate",
            "name": "scale",
            "corpus": {"path": corpus},
            "resources": {"inline": True},
            "report": False,
            "output": {"path": output},
        }
    )
    profile = cProfile.Profile()
    with watching() as watch:
        profile.enable()
        found = evaluate(manifest)
        profile.disable()
    row = found.rows[0]
    parts = _parts(profile, row.seconds)
    return {
        "patches": row.subset("all")["blocks"],
        "seconds": row.seconds,
        "private": watch.peaks()["driver"]["private"],
        "share": parts["metrics"],
        "told": ", ".join(f"{name} {share:.0%}" for name, share in parts.items()),
    }


def _parts(profile: cProfile.Profile, seconds: float) -> dict[str, float]:
    """Return the share of a row's time in each part, by cumulative time."""
    # stats is public by documentation of pstats, and missing from its type.
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]

    def share(file: str, function: str) -> float:
        times = [
            entry[3]
            for (path, _, name), entry in stats.items()
            if name == function and path.replace("\\", "/").endswith(file)
        ]
        return sum(times) / seconds if seconds else 0.0

    return {
        "metrics": share("pipeline/evaluation/noise.py", "add"),
        "KLD": share("pipeline/measure/metrics/kld.py", "kld"),
        "AKLD": share("pipeline/measure/metrics/akld.py", "akld"),
        "correlation": share("pipeline/evaluation/noise.py", "_block_map"),
        "spectrum": share("pipeline/measure/metrics/spectrum.py", "update"),
        "photographs": share("pipeline/images/reading.py", "read_unchanged"),
        "rows": share("pipeline/corpus/formats/hdf5.py", "pair"),
    }


def _write_pairs(folder: Path, count: int, side: int) -> Path:
    """Write photographs and a noisy partner of each, ``*.png`` and ``*_noisy.png``."""
    write_photographs(folder / "clean", count, side)
    (folder / "noisy").mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted((folder / "clean").glob("*.png"))):
        clean = cv2.imread(str(path))
        assert clean is not None, path
        noise = stream_rng(number, "noise").normal(0.0, 8.0, clean.shape)
        noisy = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "noisy" / path.name), noisy, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return folder


def _build(output: Path, pairs: Path, per_image: int, effort: Effort) -> None:
    source = {
        "type": "pairs",
        "path": str(pairs),
        "clean": "clean/*.png",
        "noisy": "noisy/*.png",
        "camera": "X",
        "iso": 800,
    }
    manifest = corpus_manifest(
        output,
        source=source,
        patches={"per_image": per_image},
        generator={"name": "awgn", "params": {"sigma": 8}},
        rows_per_shard=effort.of(_SHARD, least=8),
        formats=("hdf5",),
    )
    build(manifest, inline=True, overwrite=False, style="quiet")
