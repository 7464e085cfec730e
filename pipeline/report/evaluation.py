"""The report of an evaluation: its table, its noise beside the real one, and where it differs.

    render_evaluation(manifest, rows)   one HTML file without scripts and outside resources

Everything is drawn from the rows as they are stored, so a row that was taken over from an earlier
run looks like one measured now. Each generator has its own diagrams with the real noise in the
page's text colour: fifteen curves in one diagram are told apart by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from pipeline.corpus.provenance import git_revision, hardware, software_versions
from pipeline.evaluation.marks import is_copy, mark
from pipeline.evaluation.rows import GROUPS, Row
from pipeline.evaluation.tables import (
    conventions,
    group_table,
    key_measures,
    main_table,
    main_unit,
    measure_shown,
)
from pipeline.manifest.models import EvaluateManifest
from pipeline.measure.metrics.base import Floats
from pipeline.report.figures import INK, PALETTE, draw_correlation, label_variance, new_figure, svg
from pipeline.report.layout import label, layout, plain

__all__ = ["REPORT_NAME", "render_evaluation"]

REPORT_NAME = "report.html"
# Bins with fewer samples than this share of all jump about and say nothing.
_ENOUGH = 1e-3


def render_evaluation(manifest: EvaluateManifest, rows: Sequence[Row]) -> str:
    """Return the page's HTML.

    Args:
        manifest: The evaluation.
        rows: Its rows, failed ones included.
    """
    done = [row for row in rows if row.done]
    text = yaml.safe_dump(manifest.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    table = main_table(manifest, rows)
    subjects = [row for row in rows if row.kind != "input"]
    return layout("evaluation.html.j2").render(
        name=manifest.name,
        description=manifest.description,
        subject=_subject(manifest),
        title=table.title.partition(": ")[2],
        columns=table.columns[1:],
        lines=_lines(table.rows, rows),
        rows=len(subjects),
        failed=[{"name": row.name, "error": row.error} for row in rows if not row.done],
        blocks=max((row.subset("all").get("blocks", 0) for row in done), default=0),
        sound=max((row.subset("sound").get("blocks", 0) for row in done), default=0),
        real_pairs=any("sound" in row.figures.get("summary", {}) for row in done),
        limit=manifest.metrics.sound_offset,
        seconds=sum(row.seconds for row in rows),
        unit="images" if main_unit(manifest) == "image" else "blocks",
        noise=_noise(done),
        groups=_groups(rows),
        conventions=conventions(manifest, rows),
        about=[{"name": row.name, "text": _about(row)} for row in done if row.about],
        hardware={label(k): plain(v) for k, v in hardware().items() if v},
        software={k: v for k, v in software_versions().items() if v},
        git=git_revision(),
        manifest=text,
    )


def _subject(manifest: EvaluateManifest) -> str:
    if manifest.corpus is not None:
        against = "the real noise of its own photographs" if manifest.data is None else "real pairs"
        return f"The noise of a corpus, held against {against}."
    if manifest.generators is not None:
        return "The noise of generators, held against that of real pairs, block by block."
    data = manifest.data
    if data is None or not data.synthetic:
        return "Denoisers on real pairs."
    kinds = [spec.key for spec in data.noise or ()]
    if data.awgn:
        levels = ", ".join(f"{sigma:g}" for sigma in data.awgn)
        kinds.insert(0, f"white Gaussian noise, sigma {levels} of 255")
    return f"Denoisers on clean images with {'; '.join(kinds)}."


def _lines(lines: Sequence[Sequence[str]], rows: Sequence[Row]) -> list[dict[str, Any]]:
    failed = {row.name for row in rows if not row.done}
    return [
        {"name": name, "values": values, "failed": name in failed, "soft": name == "real noise"}
        for name, *values in lines
    ]


def _noise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the diagrams of each row of noise."""
    found = []
    for number, row in enumerate(row for row in rows if "noise" in row.figures):
        made, real = row.figures["noise"]["made"], row.figures["noise"].get("real")
        if not made["blocks"]:
            continue
        color = PALETTE[number % len(PALETTE)]
        found.append(
            {
                "name": row.name,
                "color": color,
                "made": made,
                "real": real,
                "spectrum": Markup(_spectrum_svg(made, real, color)),
                "variance": Markup(_variance_svg(made, real, color)),
                "correlation": Markup(_correlation_svg(made, real)),
            }
        )
    return found


def _spectrum_svg(made: Mapping[str, Any], real: Mapping[str, Any] | None, color: str) -> str:
    figure, axes = new_figure()
    for sums, style in ((made, {"color": color, "linewidth": 1.5}), (real, {"color": INK})):
        if sums is not None and sums["blocks"]:
            frequency = _numbers(sums["spectrum"]["frequency, cycles/pixel"])
            power = _numbers(sums["spectrum"]["power, grey levels^2"])
            seen = power > 0
            axes.plot(frequency[seen], power[seen], **{"linewidth": 1, **style})
    axes.set_yscale("log")
    axes.set_xlim(0, 0.5**0.5)
    axes.set_xlabel("frequency, cycles a pixel")
    axes.set_ylabel("power, grey levels²")
    return svg(figure)


def _variance_svg(made: Mapping[str, Any], real: Mapping[str, Any] | None, color: str) -> str:
    figure, axes = new_figure()
    shown: list[dict[str, Any]] = [
        {"color": color, "linewidth": 1.5, "marker": "o", "markersize": 3},
        {"color": INK},
    ]
    for sums, style in zip((made, real), shown, strict=True):
        if sums is not None and sums["blocks"]:
            curve = sums["variance by intensity"]
            samples = _numbers(curve["samples"])
            enough = samples >= _ENOUGH * samples.sum()
            level, variance = (
                _numbers(curve[name])[enough] for name in ("clean value", "variance, grey levels^2")
            )
            axes.plot(level * 255, variance, **{"linewidth": 1, **style})
    label_variance(axes)
    return svg(figure)


def _correlation_svg(made: Mapping[str, Any], real: Mapping[str, Any] | None) -> str:
    maps = [made, real] if real and real["blocks"] else [made]
    return draw_correlation([np.nan_to_num(_numbers(sums["correlation map"])) for sums in maps])


def _groups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a table of each distance by camera and ISO, and by image, its cells shaded."""
    found = []
    done = [row for row in rows if row.done]
    copies = [is_copy(row) for row in done]
    marks = ["", "", *(mark(row) for row in done)]
    for measure in key_measures(rows):
        for group in GROUPS:
            table = group_table(rows, group, measure)
            if table is not None and group in ("camera, iso", "image"):
                better = measure_shown(rows, measure).better
                found.append(
                    {
                        "title": f"{measure} by {'camera and ISO' if group != 'image' else group}",
                        "open": group != "image",
                        "columns": list(zip(table.columns, marks, strict=True)),
                        "better": better,
                        "lines": [
                            _shaded(line, copies, high_is_good=better == "higher")
                            for line in table.rows
                        ],
                    }
                )
    return found


def _shaded(line: Sequence[str], copies: Sequence[bool], *, high_is_good: bool) -> dict[str, Any]:
    """Return a line with each value's place between the line's worst and best; copies have none."""
    name, blocks, *texts = line
    values = [None if copy else _parsed(text) for text, copy in zip(texts, copies, strict=True)]
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    spread = high - low
    cells = []
    for text, value in zip(texts, values, strict=True):
        share = 0.0
        if value is not None and spread > 0:
            share = (value - low) / spread if high_is_good else (high - value) / spread
        best = value is not None and spread > 0 and share == 1.0
        cells.append({"text": text, "share": round(100 * share), "best": best})
    return {"name": name, "blocks": blocks, "cells": cells}


def _parsed(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _about(row: Row) -> str:
    parts = [
        f"{label(key)}: {plain(value)}"
        for key, value in row.about.items()
        if value not in (None, "", {}, [])
    ]
    return "; ".join([*parts, f"{row.seconds:.1f} s"])


def _numbers(values: Any) -> Floats:
    """Return stored lists as an array, ``None`` as not a number."""
    return np.array(values, dtype=np.float64)
