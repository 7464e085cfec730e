"""Peak memory of the driver and of each worker at 20,000 patches over that at 2,000.

A pipeline that streams needs as much for a million patches as for a thousand. Both runs have the
same photographs, shards and actors; only the number of patches a photograph differs. The figure is
memory that a process holds for itself; resident memory, which counts the pages of the object store
that a worker has touched, stands beside it.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fresh import in_fresh_process
from benchmarks.inputs import corpus_manifest, write_photographs
from benchmarks.processes import watching
from benchmarks.results import Effort, Line
from pipeline.building.run import build
from pipeline.engine.connection import connected
from pipeline.engine.resources import local_machine

__all__ = ["measure", "peaks"]

_IMAGES, _SIDE, _SHARD = 40, 1024, 256
_SMALL, _LARGE = 2_000, 20_000
_TARGET = 1.15
_TOLD = {
    "driver": "driver",
    "actor": "largest generator actor",
    "task": "largest cut and write worker",
    "service": "largest other process of Ray",
}


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return one line for the private and one for the resident memory of each role."""
    images = effort.of(_IMAGES, least=4)
    write_photographs(folder / "images", images, effort.of(_SIDE, least=256))
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    # A trial run shows that it works, and any process will do for that.
    run = partial(in_fresh_process, "memory", "peaks") if effort.ray else peaks
    for number in range(max(1, effort.rounds // 2)):
        small, large = (
            run(
                images=str(folder / "images"),
                output=str(folder / f"{name}-{number}"),
                per_image=max(1, effort.of(patches) // images),
                rows_per_shard=effort.of(_SHARD, least=8),
                ray=effort.ray,
            )
            for name, patches in (("small", _SMALL), ("large", _LARGE))
        )
        found.append((small, large))
    roles = [role for role in _TOLD if all(role in one for pair in found for one in pair)]
    return [
        _line(
            role, what, found, target=_TARGET if what == "private" and role != "service" else None
        )
        for what in ("private", "resident")
        for role in roles
    ]


def _line(
    role: str,
    what: str,
    found: list[tuple[dict[str, Any], dict[str, Any]]],
    *,
    target: float | None,
) -> Line:
    small, large = (found[-1][i][role][what] / 2**20 for i in (0, 1))
    return Line(
        name=f"{_TOLD[role]}, {what}",
        values=tuple(big[role][what] / little[role][what] for little, big in found),
        target=target,
        note=f"{small:.0f} MiB, then {large:.0f} MiB",
    )


def peaks(
    *, images: str, output: str, per_image: int, rows_per_shard: int, ray: bool
) -> dict[str, dict[str, int]]:
    """Build a corpus and return the peak memory of each role; runs in a process of its own.

    Args:
        images: Folder of photographs.
        output: Folder of the corpus.
        per_image: Patches a photograph.
        rows_per_shard: Rows a shard.
        ray: On a local cluster, or in this process.
    """
    manifest = corpus_manifest(
        Path(output),
        source={"type": "images", "path": images},
        patches={"per_image": per_image},
        generator={"name": "awgn", "params": {"sigma": 25}},
        rows_per_shard=rows_per_shard,
    )
    with watching() as watch, connected(None, local_machine()) if ray else nullcontext():
        build(manifest, inline=not ray, overwrite=False, style="quiet")
    return watch.peaks()
