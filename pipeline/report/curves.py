"""Curves of a training: loss, learning rate and what the validation measured, against the step.

Drawn like the other diagrams of a report (:mod:`pipeline.report.figures`). A loss that is always
positive and falls by more than a factor of twenty gets a logarithmic axis. On a linear axis the
first of many lines may lie so far above all others that the rest would be a flat line; then the
frame is that of the others, and the caption says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.measure.metrics.base import Floats
from pipeline.report.figures import INK, PALETTE, new_figure, svg

__all__ = ["Axis", "choose_axis", "loss_svg", "rate_svg", "validation_svg"]

Axis = tuple[str, tuple[float, float] | None]
LOG_SPAN = 20.0
START = 0.05
FEW, MANY = 20, 60


def choose_axis(values: Sequence[float]) -> Axis:
    """Return how a loss is drawn.

    Returns:
        ``("log", None)``, or ``("linear", frame)`` with the frame's ends, ``None`` if everything is
        in it.

    Example:
        >>> choose_axis([30.0, 3.0, 1.0])
        ('log', None)
    """
    found = np.array([v for v in values if np.isfinite(v)])
    if not len(found):
        return "linear", None
    low, high = float(found.min()), float(found.max())
    if low > 0 and high / low > LOG_SPAN:
        return "log", None
    later = found[max(1, round(START * len(found))) :]
    if len(found) < FEW:
        return "linear", None
    span = float(later.max() - later.min())
    if span > 0 and high - low > 3 * span:
        return "linear", (float(found.min()) - 0.1 * span, float(later.max()) + 0.1 * span)
    return "linear", None


def loss_svg(steps: Sequence[int], losses: Sequence[float], *, total: int) -> str:
    """Draw the loss of each line of the log, and a running median through many.

    Args:
        steps: Step of each line.
        losses: Mean loss since the line before; not a number where every step was skipped.
        total: Steps of the whole training, where the axis ends.
    """
    values = np.array(losses, dtype=np.float64)
    figure, axes = new_figure(width=6.8)
    many = len(values) > MANY
    axes.plot(steps, values, color=PALETTE[0], linewidth=1, alpha=0.4 if many else 1.0)
    if many:
        axes.plot(steps, _running_median(values, len(values) // 30), color=PALETTE[0], linewidth=2)
    elif len(values) < 3:
        axes.plot(steps, values, "o", color=PALETTE[0], markersize=4, clip_on=False)
    _frame(axes, choose_axis(losses), total)
    axes.set_ylabel("loss")
    return svg(figure)


def rate_svg(steps: Sequence[int], rates: Sequence[float], *, total: int) -> str:
    """Draw the learning rate."""
    figure, axes = new_figure()
    marker = "o" if len(steps) < 3 else None
    axes.plot(
        steps, rates, color=PALETTE[7], linewidth=1.5, marker=marker, markersize=4, clip_on=False
    )
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    _frame(axes, ("linear", None), total)
    return svg(figure)


def validation_svg(
    steps: Sequence[int], values: Sequence[float], *, best: int, total: int, color: str
) -> str:
    """Draw one figure of the validation, with a mark at the step whose weights are the best.

    Args:
        steps: Step of each validation.
        values: What it measured.
        best: The best step; 0 for none.
        total: Steps of the whole training.
        color: Of the curve.
    """
    figure, axes = new_figure()
    scale, frame = choose_axis(values)
    axes.plot(
        steps,
        values,
        color=color,
        marker="o",
        markersize=3,
        linewidth=1.5,
        clip_on=frame is not None,
    )
    if best:
        axes.axvline(best, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
    _frame(axes, (scale, frame), total)
    return svg(figure)


def _frame(axes: Any, axis: Axis, total: int) -> None:
    scale, frame = axis
    if scale == "log":
        axes.set_yscale("log")
    if frame is not None:
        axes.set_ylim(frame)
    axes.set_xlim(0, total)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.set_xlabel("step")


def _running_median(values: Floats, reach: int) -> Floats:
    """Return the median over ``reach`` lines to either side; fewer at the ends."""
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    kept = [window[np.isfinite(window)] for window in windows]
    return np.array([np.median(w) if len(w) else np.nan for w in kept])
