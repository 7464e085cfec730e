"""The charts of a benchmark's page: gaps to real noise, fidelity against gap, learning curves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from pipeline.benchmark.rows import RowResult
from pipeline.benchmark.table import RankedRow
from pipeline.report.figures import INK, PALETTE, new_figure, svg

__all__ = ["fidelity_chart", "gap_chart", "learning_curves"]

_TOO_FAR = 2.0  # a gap this many times the others' span is drawn at the edge
_NOUGHT = 1e-6  # a distance below this is rounding
_NAMES_HIGH = 20  # names that stand above one another beside the learning curves


def gap_chart(rows: Sequence[RankedRow]) -> Markup | None:
    """Draw each row's gap to real noise with its interval; real noise is the line at 0."""
    drawn = [row for row in rows if row.gap is not None]
    if not drawn:
        return None
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
    return Markup(svg(figure))


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


def fidelity_chart(rows: Sequence[RankedRow]) -> Markup | None:
    """Draw PSNR gap against KLD and against AKLD: does closer noise train better denoisers?"""
    drawn = [row for row in rows if row.fidelity is not None and row.gap is not None]
    if len(drawn) < 3:
        return None
    figure, both = new_figure(2, width=6.8)
    for axes, key, name in zip(both, ("kld", "akld"), ("KLD, nats", "AKLD, nats"), strict=True):
        found = [float(row.fidelity[key]) for row in drawn if row.fidelity is not None]
        # Copied noise is at distance 0, which a logarithmic axis has no place for.
        nearest = min((x for x in found if x > _NOUGHT), default=1.0) / 4
        for row, distance in zip(drawn, found, strict=True):
            assert row.gap is not None
            x, y = max(distance, nearest), row.gap.mean
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


def learning_curves(rows: Sequence[RankedRow], results: Mapping[str, RowResult]) -> Markup | None:
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
    colors = [PALETTE[number % len(PALETTE)] for number in range(len(lines))]
    for number, (name, steps, values) in enumerate(lines):
        if name == "real":  # what the others are compared with
            colors[number] = INK
        style = "-" if number < len(PALETTE) or name == "real" else "--"
        axes.plot(steps, values, color=colors[number], linestyle=style, linewidth=1.5)
    last = [float(values[-1]) for _, _, values in lines]
    lowest = min(float(values[len(values) // 4]) for _, _, values in lines)
    axes.set_ylim(min(lowest, min(last)) - 0.1, max(last) + 0.15)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.set_xlabel("step")
    axes.set_ylabel("PSNR on test crops, dB")
    low, high = axes.get_ylim()
    # Names stand at the ends of their lines: a legend would lie over some of them.
    for number, height in enumerate(_apart(last, (high - low) / _NAMES_HIGH)):
        name, steps, values = lines[number]
        axes.annotate(
            name,
            (steps[-1], values[-1]),
            xytext=(1.03, (height - low) / (high - low)),
            textcoords="axes fraction",
            fontsize=7,
            color=colors[number],
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": colors[number],
                "linewidth": 0.5,
                "relpos": (0.0, 0.5),
            },
        )
    return Markup(svg(figure))


def _apart(heights: Sequence[float], step: float) -> list[float]:
    """Return heights in the order given, moved so that no two are nearer than ``step``."""
    order = sorted(range(len(heights)), key=lambda number: heights[number])
    up, down = list(heights), list(heights)
    for below, above in itertools.pairwise(order):
        up[above] = max(up[above], up[below] + step)
    for above, below in itertools.pairwise(reversed(order)):
        down[below] = min(down[below], down[above] - step)
    # Both keep the distance, so does their mean, which is nearer to the heights than either.
    return [(a + b) / 2 for a, b in zip(up, down, strict=True)]
