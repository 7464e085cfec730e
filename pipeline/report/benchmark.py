"""The report of a benchmark: which noise should a denoiser be trained on?

One HTML file, renewed after every row, so that a benchmark that runs at night can be looked at:
the ranking with its intervals, a chart of gaps, a map of cameras and ISOs, what was denoised side
by side, learning curves, and everything it takes to make the numbers again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from pipeline.benchmark.patches import PatchUnderTest
from pipeline.benchmark.rows import RowResult
from pipeline.benchmark.scoring import CONVENTION
from pipeline.benchmark.table import RankedRow, Ranking
from pipeline.corpus.provenance import git_revision, hardware, software_versions
from pipeline.manifest.benchmark import BenchmarkManifest
from pipeline.measure.metrics.base import Array
from pipeline.measure.metrics.quality import QUALITY_CONVENTIONS, psnr
from pipeline.report.benchmark_charts import fidelity_chart, gap_chart, learning_curves
from pipeline.report.figures import image_uri, picture
from pipeline.report.layout import layout

__all__ = ["REPORT_NAME", "render_benchmark"]

REPORT_NAME = "report.html"
_CROP = 112
_STRONG_DB = 1.0  # gap at which a cell of the map has its full colour


def render_benchmark(
    manifest: BenchmarkManifest,
    ranking: Ranking,
    *,
    places: Sequence[PatchUnderTest],
    shown: Sequence[int],
    crops: Mapping[str, Mapping[int, Array]],
    results: Sequence[RowResult],
    complete: bool,
) -> str:
    """Return the page's HTML.

    Args:
        manifest: The benchmark.
        ranking: Of the rows so far.
        places: The test places.
        shown: Indices of the places to be shown.
        crops: Estimates of these places by row.
        results: Of the rows so far.
        complete: Whether all rows are there.
    """
    by_name = {result.name: result for result in results}
    rows = list(ranking.rows)
    return layout("benchmark.html.j2").render(
        manifest=manifest,
        ranking=ranking,
        rows=rows,
        best=next((row for row in rows if row.rank == 1), None),
        by={row.name: row for row in rows},
        failed=ranking.failed,
        complete=complete,
        convention_words=str(QUALITY_CONVENTIONS[CONVENTION]),
        kld_convention=next((r.fidelity["kld_convention"] for r in rows if r.fidelity), ""),
        chart=gap_chart(rows),
        fidelity_chart=fidelity_chart(rows),
        map=_map(rows),
        strips=[_strip(places[i], i, rows, crops) for i in shown],
        curves=learning_curves(rows, by_name),
        results=[by_name[row.name] for row in rows],
        manifest_text=yaml.safe_dump(
            manifest.model_dump(mode="json", exclude_defaults=True) | {"kind": manifest.kind},
            sort_keys=False,
            allow_unicode=True,
        ),
        hardware=hardware(),
        software=software_versions(),
        git=git_revision(),
    )


def _map(rows: Sequence[RankedRow]) -> dict[str, Any] | None:
    """Return the table of gaps by camera and ISO, each cell with a colour."""
    rows = [row for row in rows if row.kind != "noisy" and row.gap is not None]
    if not rows or len(rows[0].groups) < 2:
        return None
    return {
        "columns": [{"name": group.name, "places": group.places} for group in rows[0].groups],
        "rows": [
            {"name": row.name, "cells": [_cell(group.gap) for group in row.groups]} for row in rows
        ],
    }


def _cell(gap: float | None) -> dict[str, Any]:
    strength = 0.0 if gap is None else min(abs(gap) / _STRONG_DB, 1.0)
    rgb = "29, 122, 70" if gap is not None and gap > 0 else "204, 82, 82"
    return {"gap": gap, "style": f"background: rgba({rgb}, {0.6 * strength:.2f})"}


def _strip(
    place: PatchUnderTest,
    number: int,
    rows: Sequence[RankedRow],
    crops: Mapping[str, Mapping[int, Array]],
) -> dict[str, Any]:
    """Return one place: clean, noisy and each row's estimate, the same crop of each."""
    top, left = _busiest(place.clean)
    window = (slice(top, top + _CROP), slice(left, left + _CROP))
    clean = picture(place.clean[window], place.domain)
    tiles: list[dict[str, Any]] = [{"title": "clean", "psnr": None, "image": image_uri(clean)}]
    # What there was, then best first.
    for row in sorted(rows, key=lambda row: row.kind != "noisy"):
        estimate = crops.get(row.name, {}).get(number)
        if estimate is None:
            continue
        own = np.asarray(estimate[window])
        reference = place.clean[window]
        tiles.append(
            {
                "title": row.name,
                "psnr": psnr(reference, own, CONVENTION),
                "image": image_uri(picture(own, place.domain)),
            }
        )
    title = ", ".join(
        part
        for part in (place.scene, place.camera, f"ISO {place.iso}" if place.iso else "")
        if part
    )
    return {"title": title, "y": place.y + top, "x": place.x + left, "tiles": tiles}


def _busiest(clean: Array) -> tuple[int, int]:
    """Return the top and left of the crop with the most detail."""
    values = clean.astype(np.float64).mean(axis=2)
    height, width = values.shape
    side = min(_CROP, height, width)
    best, where = -1.0, (0, 0)
    for top in range(0, height - side + 1, 16):
        for left in range(0, width - side + 1, 16):
            part = values[top : top + side, left : left + side]
            detail = float(
                np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean()
            )
            if detail > best:
                best, where = detail, (top, left)
    return where
