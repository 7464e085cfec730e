"""Carrying out a benchmark: the real patches, then row after row, then the ranking.

Everything lies in one folder, and running the manifest again goes on where it stopped: shards that
are there stay, a training goes on from its checkpoint, a row whose result is there is not made
again. A result carries a hash of all that decides it, so a changed manifest makes only the rows
that it changes, and new rows join old ones. A row that fails is written down with its reason, the
others go on, and the next run tries it again.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import denoisers
from pipeline.benchmark.corpora import CorpusMaker, Part, check_test_is_unseen
from pipeline.benchmark.patches import PatchUnderTest, load_patches, patch_side, sound
from pipeline.benchmark.rows import Row, RowResult, load_result, rows_of, save_result
from pipeline.benchmark.table import Ranking, rank, ranking_csv, ranking_markdown
from pipeline.benchmark.work import Real, Workbench
from pipeline.building.progress import Style, duration, tell
from pipeline.lock import run_lock
from pipeline.manifest.benchmark import BenchmarkManifest
from pipeline.measure.metrics.base import Array
from pipeline.results.rows import failure_text, json_text
from pipeline.storage import file_stem, publish

__all__ = ["BenchmarkResult", "run_benchmark"]

_PARTS: tuple[Part, ...] = ("train", "test")
_SHOWN = 4
RESULT_NAME = "benchmark.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """What a benchmark leaves.

    Args:
        ranking: The ranking.
        folder: Where everything is.
        seconds: Of this run.
        report: Where the page is; ``None`` if there is none.
    """

    ranking: Ranking
    folder: str
    seconds: float
    report: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **self.ranking.to_dict(),
            "folder": self.folder,
            "seconds": round(self.seconds, 1),
            "report": self.report,
        }

    def describe(self) -> str:
        """Return what a person reads."""
        lines = [ranking_markdown(self.ranking), ""]
        lines += [f"{row.name} failed: {row.failed}" for row in self.ranking.failed]
        lines += [f"Results: {self.folder} ({duration(self.seconds)})"]
        lines += [f"Report:  {self.report}"] if self.report else []
        return "\n".join(lines)


def run_benchmark(manifest: BenchmarkManifest, *, source: str, style: Style) -> BenchmarkResult:
    """Carry out a benchmark, or go on with one.

    Args:
        manifest: The benchmark.
        source: Where the manifest is, for the cards of the weights.
        style: How progress is shown.

    Raises:
        ValueError: If a generator or a source is wrong, no test place is left, or a photograph is
            both trained and tested on.
        StorageError: If the folder cannot be written, or another run is at work there.
    """
    started = time.monotonic()
    folder = Path(manifest.output.path).expanduser().resolve()
    manifest = manifest.model_copy(
        update={"output": manifest.output.model_copy(update={"path": str(folder)})}
    )
    rows = rows_of(manifest, bm3d=_bm3d(manifest))
    corpora = CorpusMaker(manifest, style)
    corpora.generators([row.spec for row in rows if row.spec is not None])  # all, before any work
    with run_lock(str(folder)):
        real = _real(corpora)
        if manifest.bm3d is None and real.places[0].domain == "raw":
            rows = [row for row in rows if row.kind != "bm3d"]  # it denoises pictures only
        bench = Workbench(corpora, folder, real, source)
        results: list[tuple[RowResult, dict[int, Array]]] = []
        page = None
        for number, row in enumerate(rows):
            tell(style, f"row {number + 1} of {len(rows)}: {row.name}")
            results.append(_row(bench, row, style))
            ranking = _write(manifest, real, [result for result, _ in results])
            if manifest.report:
                page = _page(manifest, ranking, real, results, complete=row is rows[-1])
    return BenchmarkResult(
        ranking=ranking, folder=str(folder), seconds=time.monotonic() - started, report=page
    )


def _bm3d(manifest: BenchmarkManifest) -> bool:
    reason = denoisers.absent("bm3d")
    if manifest.bm3d and reason is not None:
        raise ValueError(f"bm3d: true, but {reason}. Install it, or leave the key out.")
    return reason is None if manifest.bm3d is None else manifest.bm3d


def _real(corpora: CorpusMaker) -> Real:
    """Make the real patches, and choose the test places."""
    manifest, style = corpora.manifest, corpora.style
    planned = {part: corpora.real(part) for part in _PARTS}
    check_test_is_unseen(planned["train"], planned["test"])
    indexes, folders, sides = {}, {}, {}
    for part, ready in planned.items():
        tell(style, f"the real patches to {part} on")
        folders[part] = ready.manifest.output.path
        indexes[part] = corpora.build(ready)
        sides[part] = patch_side(folders[part], indexes[part])
    every = load_patches(folders["test"], indexes["test"])
    places = sound(every, manifest.test.max_offset)
    if not places:
        raise ValueError(
            f"test: all {len(every)} places have brightness offsets beyond test.max_offset "
            f"({manifest.test.max_offset} grey levels); `noisemill audit` shows the pairs."
        )
    tell(style, f"{len(places)} test places of {len(every)} within the offset limit")
    return Real(
        folders=folders, indexes=indexes, sides=sides, places=places, shown=_to_show(places)
    )


def _to_show(places: Sequence[PatchUnderTest]) -> list[int]:
    """Choose places to look at: of the noisiest scenes, the most textured place each."""
    best: dict[str, tuple[float, int]] = {}
    for number, place in enumerate(places):
        texture = float(place.clean.astype(np.float64).std())
        if texture > best.get(place.scene, (-1.0, 0))[0]:
            best[place.scene] = texture, number
    chosen = sorted(
        (number for _, number in best.values()), key=lambda i: -float(places[i].noise.std())
    )
    return sorted(chosen[:_SHOWN])


def _row(bench: Workbench, row: Row, style: Style) -> tuple[RowResult, dict[int, Array]]:
    """Return a row's result: the one that is kept, or a new one."""
    try:
        fingerprint = bench.fingerprint(row)
        kept = load_result(bench.folder, row.name, fingerprint)
        if kept is not None:
            tell(style, f"{row.name}: made before")
            return kept
        result, shown = bench.make(row)
        save_result(bench.folder, result, shown)
        return result, shown
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # one row must not cost the others
        reason = " ".join(failure_text(error).split())
        tell(style, f"{row.name} failed: {reason}")
        publish(
            str(bench.folder),
            f"rows/{file_stem(row.name)}.error.txt",
            traceback.format_exc().encode(),
        )
        failed = RowResult(name=row.name, kind=row.kind, fingerprint="", failed=reason)
        save_result(bench.folder, failed, {})
        return failed, {}


def _write(manifest: BenchmarkManifest, real: Real, results: Sequence[RowResult]) -> Ranking:
    """Rank the rows that are there, and write the tables."""
    ranking = rank(manifest, real.places, results)
    folder = manifest.output.path
    publish(folder, RESULT_NAME, json_text(ranking.to_dict()).encode())
    publish(folder, "benchmark.csv", ranking_csv(ranking).encode())
    publish(folder, "benchmark.md", (ranking_markdown(ranking) + "\n").encode())
    return ranking


def _page(
    manifest: BenchmarkManifest,
    ranking: Ranking,
    real: Real,
    results: Sequence[tuple[RowResult, dict[int, Array]]],
    *,
    complete: bool,
) -> str:
    # Drawing takes a second or two, and its library is loaded where it is needed.
    from pipeline.report.benchmark import REPORT_NAME, render_benchmark

    page = render_benchmark(
        manifest,
        ranking,
        places=real.places,
        shown=real.shown,
        crops={result.name: crops for result, crops in results},
        results=[result for result, _ in results],
        complete=complete,
    )
    publish(manifest.output.path, REPORT_NAME, page.encode())
    return str(Path(manifest.output.path) / REPORT_NAME)
