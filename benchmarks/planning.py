"""Planning one million patches: seconds and peak memory of a process that does nothing else.

A thousand small photographs on a dense grid give the million, so that the plan is what is measured
and not the disk; headers are still read and files hashed.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

from benchmarks.fresh import in_fresh_process
from benchmarks.inputs import corpus_manifest, write_photographs
from benchmarks.results import Effort, Line

__all__ = ["measure", "plan"]

_IMAGES, _SIDE, _STRIDE = 1000, 256, 6


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return seconds and megabytes."""
    write_photographs(folder / "images", effort.of(_IMAGES), _SIDE)
    found: list[dict[str, Any]] = [
        in_fresh_process("planning", "plan", images=str(folder / "images"))
        for _ in range(max(1, effort.rounds // 2))
    ]
    note = f"{found[0]['patches']:,} patches of {effort.of(_IMAGES)} photographs"
    return [
        Line(
            name="planning",
            values=tuple(one["seconds"] for one in found),
            unit="s",
            target=30.0,
            note=note,
        ),
        Line(
            name="peak memory",
            values=tuple(one["peak"] / 1e6 for one in found),
            unit="MB",
            target=1000.0,
            note=f"{found[0]['before'] / 1e6:.0f} MB of it before the plan: Python, torch, OpenCV",
        ),
    ]


def plan(*, images: str) -> dict[str, float]:
    """Plan and return seconds, patches and peak memory in bytes; runs in a process of its own.

    Args:
        images: Folder of photographs.
    """
    started = time.perf_counter()
    from pipeline.building.run import prepare

    manifest = corpus_manifest(
        Path("out/never-written"),
        source={"type": "images", "path": images},
        patches={"stride": _STRIDE},
        generator={"name": "awgn", "params": {"sigma": 25}},
        rows_per_shard=512,
    )
    before = _peak()
    ready = prepare(manifest)
    return {
        "seconds": time.perf_counter() - started,
        "patches": ready.plan.patches,
        "before": before,
        "peak": _peak(),
    }


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
