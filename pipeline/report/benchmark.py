"""The report of a benchmark: which noise should a denoiser be trained on?

One HTML file, renewed after every row, so that a benchmark that runs at night can be looked at:
the ranking with its intervals, a chart of gaps, a map of cameras and ISOs, what was denoised side
by side, learning curves, and everything it takes to make the numbers again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from pipeline.benchmark.places import Place
from pipeline.benchmark.rows import RowResult
from pipeline.benchmark.scoring import CONVENTION
from pipeline.benchmark.table import RankedRow, Ranking
from pipeline.manifest.benchmark import BenchmarkManifest
from pipeline.metrics.base import Array
from pipeline.metrics.quality import QUALITY_CONVENTIONS, psnr
from pipeline.provenance import git_revision, hardware, software_versions
from pipeline.report.figures import INK, PALETTE, image_uri, new_figure, picture, svg
from pipeline.report.layout import layout
from pipeline.storage import publish

__all__ = ["REPORT_NAME", "render_benchmark", "write_benchmark_report"]

REPORT_NAME = "report.html"
_CROP, _CROP_SCALE = 112, 2
_STRONG_DB = 1.0  # gap at which a cell of the map has its full colour
_TOO_FAR = 2.0  # a gap this many times the others' span is drawn at the edge


def write_benchmark_report(
    folder: Path,
    manifest: BenchmarkManifest,
    ranking: Ranking,
    *,
    places: Sequence[Place],
    shown: Sequence[int],
    crops: Mapping[str, Mapping[int, Array]],
    results: Sequence[RowResult],
    complete: bool,
) -> str:
    """Write ``report.html`` into the benchmark's folder and return where it is.

    Args:
        folder: Of the benchmark.
        manifest: The benchmark.
        ranking: Of the rows so far.
        places: The test places.
        shown: Indices of the places to be shown.
        crops: Estimates of these places by row.
        results: Of the rows so far.
        complete: Whether all rows are there.

    Raises:
        StorageError: If it cannot be written.
    """
    page = render_benchmark(
        manifest,
        ranking,
        places=places,
        shown=shown,
        crops=crops,
        results=results,
        complete=complete,
    )
    publish(str(folder), REPORT_NAME, page.encode())
    return str(folder / REPORT_NAME)


def render_benchmark(
    manifest: BenchmarkManifest,
    ranking: Ranking,
    *,
    places: Sequence[Place],
    shown: Sequence[int],
    crops: Mapping[str, Mapping[int, Array]],
    results: Sequence[RowResult],
    complete: bool,
) -> str:
    """Return the page; arguments as for :func:`write_benchmark_report`."""
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
        chart=Markup(_gap_chart(rows)) if any(row.gap for row in rows) else None,
        fidelity_chart=_fidelity_chart(rows),
        map=_map(rows),
        strips=[_strip(places[i], i, rows, crops) for i in shown],
        crop=_CROP * _CROP_SCALE,
        curves=_curves(rows, by_name),
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


def _gap_chart(rows: Sequence[RankedRow]) -> str:
    """Draw each row's gap to real noise with its interval; real noise is the line at 0."""
    drawn = [row for row in rows if row.gap is not None]
    figure, axes = new_figure(width=6.8)
    figure.set_figheight(0.55 + 0.27 * len(drawn))
    near = _near_gaps(drawn)
    edge = min(near) - 0.12 * max(max(near) - min(near), 0.1)
    for line, row in enumerate(reversed(drawn)):
        assert row.gap is not None
        color = PALETTE[0] if row.rank else PALETTE[7]
        if row.gap.mean < edge:
            axes.annotate(
                f"◂ {row.gap.mean:.2f} dB".replace("-", "−"), (edge, line), va="center", color=color
            )
            continue
        axes.plot([max(row.gap.low, edge), row.gap.high], [line, line], color=color, linewidth=2)
        axes.plot(row.gap.mean, line, "o", color=color, markersize=5)
    axes.axvline(0.0, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.set_yticks(range(len(drawn)), [row.name for row in reversed(drawn)])
    axes.set_ylim(-0.6, len(drawn) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("PSNR against the denoiser trained on real noise, dB")
    return svg(figure)


def _near_gaps(rows: Sequence[RankedRow]) -> list[float]:
    """Return the gaps that set the chart's frame: those of competing rows that are not far off."""
    gaps = sorted((row.gap.mean for row in rows if row.gap is not None), reverse=True)
    kept = gaps[:1]
    for gap in gaps[1:]:
        span = max(max(kept[0], 0.0) - kept[-1], 0.1)
        if kept[-1] - gap > _TOO_FAR * span and len(kept) >= 3:
            break
        kept.append(gap)
    return [*kept, 0.0]


def _fidelity_chart(rows: Sequence[RankedRow]) -> Markup | None:
    """Draw PSNR gap against KLD and against AKLD: does closer noise train better denoisers?"""
    drawn = [row for row in rows if row.fidelity is not None and row.gap is not None]
    if len(drawn) < 3:
        return None
    figure, both = new_figure(2, width=6.8)
    for axes, key, name in zip(both, ("kld", "akld"), ("KLD, nats", "AKLD, nats"), strict=True):
        for row in drawn:
            assert row.fidelity is not None
            assert row.gap is not None
            x, y = max(float(row.fidelity[key]), 1e-4), row.gap.mean
            # A name beside each point would lie over its neighbours'.
            axes.plot(x, y, "o", color=PALETTE[0], markersize=11)
            axes.annotate(
                str(row.rank), (x, y), fontsize=6.5, color="white", ha="center", va="center"
            )
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter("")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.margins(x=0.25, y=0.12)
        axes.set_xlabel(name)
    both[0].set_ylabel("gap to real, dB")
    return Markup(svg(figure))


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
    place: Place,
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


def _curves(rows: Sequence[RankedRow], results: Mapping[str, RowResult]) -> Markup | None:
    """Draw the mean learning curve of each row that was validated while it trained."""
    lines = []
    for row in rows:
        seeds = [seed.curve for seed in results[row.name].seeds if len(seed.curve) > 1]
        if seeds and all("psnr" in point for point in seeds[0]):
            steps = [point["step"] for point in seeds[0]]
            values = np.mean([[point["psnr"] for point in curve] for curve in seeds], axis=0)
            lines.append((row.name, steps, values))
    if not lines:
        return None
    figure, axes = new_figure(width=6.8)
    figure.set_figheight(2.9)
    for number, (name, steps, values) in enumerate(lines):
        axes.plot(
            steps,
            values,
            color=PALETTE[number % len(PALETTE)],
            linestyle="-" if number < len(PALETTE) else "--",
            linewidth=1.5,
            label=name,
        )
    last = [float(values[-1]) for _, _, values in lines]
    lowest = min(float(values[len(values) // 4]) for _, _, values in lines)
    axes.set_ylim(min(lowest, min(last)) - 0.1, max(last) + 0.15)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.set_xlabel("step")
    axes.set_ylabel("PSNR on test crops, dB")
    axes.legend(fontsize=7, ncols=2, loc="lower right")
    return Markup(svg(figure))
