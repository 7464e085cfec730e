"""The pictures of a report: enlarged patches as PNG, diagrams as SVG, the gallery as one PNG.

Noise is shown as ``0.5 + GAIN * (noisy - clean)``: mid-grey where nothing was added, the same gain
in every picture, so that strengths can be compared by eye. Diagrams are drawn in the colour of the
page's text, which follows the reader's light or dark setting.
"""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pipeline.measure.metrics.base import Array, Floats
from pipeline.measure.pair import ImagePair
from pipeline.pixels import to_unit64
from pipeline.report.collect import Patch
from pipeline.report.measure import NoiseProfile

__all__ = [
    "INK",
    "NOISE_GAIN",
    "PALETTE",
    "correlation_svg",
    "covariance_svg",
    "crop",
    "draw_correlation",
    "gallery_png",
    "histogram_svg",
    "image_uri",
    "label_variance",
    "new_figure",
    "noise_picture",
    "picture",
    "svg",
    "variance_svg",
]

NOISE_GAIN = 5.0
MAX_SHOWN = 96
# Middle lightness: readable on white and on black.
PALETTE = ("#3b82c4", "#d9822b", "#3a9d6a", "#a763c9", "#cc5252", "#8f7f2f", "#4aa3a3", "#7a7f8a")
INK = "#0a0b0c"  # stands for the page's text colour until the SVG is in the page
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "noisemill",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
}


def crop(pixels: Array, side: int = MAX_SHOWN) -> Array:
    """Return the middle of an image, at most ``side`` pixels square."""
    height, width = pixels.shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return pixels[top : top + side, left : left + side]


def picture(pixels: Array, domain: str = "srgb") -> Array:
    """Return stored pixels as an 8-bit picture.

    Args:
        pixels: ``(H, W, C)`` as stored; C is 1, 3 or 4 (packed raw).
        domain: ``raw`` pixels are linear: their two greens are averaged and gamma 2.2 is applied.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    values = _three_channels(to_unit64(pixels))
    if domain == "raw":
        values = np.clip(values, 0.0, 1.0) ** (1 / 2.2)
    return _eight_bits(values)


def noise_picture(pair: ImagePair, gain: float = NOISE_GAIN) -> Array:
    """Return noise amplified around mid-grey, ``(H, W, 3)`` uint8."""
    return _eight_bits(0.5 + gain * _three_channels(pair.noise))


def image_uri(pixels: Array) -> str:
    """Return an ``(H, W, 3)`` uint8 picture as a PNG data URI."""
    return "data:image/png;base64," + base64.b64encode(_png(pixels)).decode("ascii")


def histogram_svg(noise: NoiseProfile, real: NoiseProfile | None, color: str) -> str:
    """Draw the histogram of noise values over that of real noise."""
    figure, axes = new_figure()
    levels = np.array(noise.histogram.edges) * 255.0
    centres = (levels[:-1] + levels[1:]) / 2
    axes.fill_between(
        centres, noise.histogram.result() / 255.0, step="mid", color=color, alpha=0.45, linewidth=0
    )
    reach = noise.moments.result().std
    if real is not None:
        axes.step(centres, real.histogram.result() / 255.0, where="mid", color=INK, linewidth=1)
        reach = max(reach, real.moments.result().std)
    limit = max(4.0, min(4.0 * reach * 255.0, 255.0))
    axes.set_xlim(-limit, limit)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("noise, grey levels")
    axes.set_ylabel("fraction per level")
    return svg(figure)


def variance_svg(noise: NoiseProfile, real: NoiseProfile | None, color: str) -> str:
    """Draw the variance of noise against the clean value."""
    figure, axes = new_figure()
    _curve(axes, noise, color=color, marker="o", markersize=3, linewidth=1.5)
    if real is not None:
        _curve(axes, real, color=INK, linewidth=1)
    label_variance(axes)
    return svg(figure)


def label_variance(axes: Any) -> None:
    """Give a diagram of the variance by clean value its limits, ticks and labels."""
    axes.set_xlim(0, 255)
    axes.set_ylim(bottom=0)
    axes.set_xticks([0, 64, 128, 192, 255])
    axes.set_xlabel("clean value, grey levels")
    axes.set_ylabel("variance, grey levels²")


def correlation_svg(noise: NoiseProfile, real: NoiseProfile | None) -> str:
    """Draw the autocorrelation map, beside the real one where there is one."""
    profiles = [noise] if real is None else [noise, real]
    return draw_correlation([profile.correlation.result() for profile in profiles])


def draw_correlation(maps: Sequence[Floats]) -> str:
    """Draw autocorrelation maps side by side.

    Args:
        maps: ``(2R + 1, 2R + 1)`` of the generated noise and, if there is any, of the real one.
    """
    figure, all_axes = new_figure(columns=len(maps))
    for axes, title, found in zip(
        np.atleast_1d(all_axes), ("generated", "real"), maps, strict=False
    ):
        reach = len(found) // 2
        edge = reach + 0.5
        axes.imshow(
            np.nan_to_num(found), cmap="RdBu_r", vmin=-1, vmax=1,
            extent=(-edge, edge, edge, -edge), interpolation="none",
        )  # fmt: skip
        axes.set_title(title, fontsize=9)
        right, down = (
            round(float(found[reach + y, reach + x]), 2) + 0.0 for y, x in ((0, 1), (1, 0))
        )
        axes.set_xlabel(f"right {right:.2f}\ndown {down:.2f}")
        axes.set_xticks([-reach, 0, reach])
        axes.set_yticks([-reach, 0, reach])
    return svg(figure)


def covariance_svg(noise: NoiseProfile, real: NoiseProfile | None) -> str:
    """Draw the channel covariance in squared grey levels, coloured by correlation."""
    maps = [("generated", noise)] + ([("real", real)] if real is not None else [])
    figure, all_axes = new_figure(columns=len(maps))
    names = {1: ["grey"], 3: ["R", "G", "B"], 4: ["R", "G1", "G2", "B"]}[noise.channels]
    for axes, (title, profile) in zip(np.atleast_1d(all_axes), maps, strict=True):
        covariance = profile.covariance.result() * 255.0**2
        correlation = profile.covariance.correlation()
        axes.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="none")
        for (row, column), value in np.ndenumerate(covariance):
            strong = abs(correlation[row, column]) > 0.6
            axes.text(
                column, row, _short(float(value)), ha="center", va="center", fontsize=8,
                color="#ffffff" if strong else "#202020",
            )  # fmt: skip
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
    return svg(figure)


def gallery_png(patches: Sequence[Patch], generators: Sequence[str], *, scale: int = 2) -> bytes:
    """Draw clean, real and generated patches over their amplified noise, as one picture.

    Args:
        patches: One patch a pair of rows.
        generators: Columns after ``clean`` and, where there is real noise, ``real``.
        scale: Screen pixels a pixel.

    Returns:
        The PNG file's bytes.

    Raises:
        ValueError: If there are no patches.
    """
    if not patches:
        raise ValueError("a gallery needs at least one patch.")
    real = any(patch.real is not None for patch in patches)
    names = ["clean", *(["real camera"] if real else []), *generators]
    rows = [_gallery_row(patch, generators, real) for patch in patches]
    with matplotlib.rc_context({**_STYLE, "text.color": "#202020"}):
        side = rows[0][0][0].shape[0] * scale / 100
        titles = [_folded(name, side) for name in names]
        head = 0.15 * max(title.count("\n") for title in titles) + 0.3
        figure = Figure(
            figsize=(len(titles) * (side + 0.06) + 0.1, len(rows) * (2 * side + 0.36) + head),
            dpi=100,
            facecolor="white",
        )
        FigureCanvasAgg(figure)
        _place_gallery(figure, titles, patches, rows, side=side, head=head)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _gallery_row(
    patch: Patch, generators: Sequence[str], real: bool
) -> list[tuple[Array, Array | None]]:
    tiles: list[tuple[Array, Array | None]] = [(crop(picture(patch.clean, patch.domain)), None)]
    pairs = ([patch.real] if real else []) + [patch.made.get(key) for key in generators]
    for pair in pairs:
        if pair is None:
            tiles.append((np.full_like(tiles[0][0], 255), None))
        else:
            shown = crop(picture(pair.noisy, patch.domain))
            tiles.append((shown, crop(noise_picture(pair))))
    return tiles


def _place_gallery(
    figure: Any,
    titles: Sequence[str],
    patches: Sequence[Patch],
    rows: Sequence[Sequence[tuple[Array, Array | None]]],
    *,
    side: float,
    head: float,
) -> None:
    width, height = figure.get_size_inches()
    step = side + 0.06

    def place(tile: Array, left: float, top: float) -> None:
        box = (left / width, 1 - (top + side) / height, side / width, side / height)
        axes = figure.add_axes(box)
        axes.imshow(tile, interpolation="nearest")
        axes.set_axis_off()

    for column, title in enumerate(titles):
        left, bottom = (0.08 + column * step) / width, 1 - (head - 0.1) / height
        figure.text(left, bottom, title, weight="bold")
    top = head - 0.02
    for patch, tiles in zip(patches, rows, strict=True):
        figure.text(0.08 / width, 1 - (top + 0.14) / height, str(patch.cell), va="center")
        top += 0.26
        for column, (shown, noise) in enumerate(tiles):
            place(shown, 0.08 + column * step, top)
            if noise is not None:
                place(noise, 0.08 + column * step, top + side + 0.03)
        note = f"noise × {NOISE_GAIN:g}\naround mid-grey"
        figure.text(
            (side - 0.02) / width, 1 - (top + 1.5 * side) / height, note, ha="right", va="center"
        )
        top += 2 * side + 0.1


def _folded(name: str, side: float) -> str:
    """Break a name at its hyphens into lines that fit over a tile of ``side`` inches."""
    letters = max(8, int(side / 0.09))  # a bold letter of 9 points is 0.09 inches wide at most
    return "\n".join(textwrap.wrap(name, letters)) or name


def _three_channels(values: Floats) -> Floats:
    if values.shape[2] == 4:
        green = (values[..., 1] + values[..., 2]) / 2
        return np.stack([values[..., 0], green, values[..., 3]], axis=-1)
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def _eight_bits(values: Floats) -> Array:
    rounded: Array = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return rounded


def _png(pixels: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def new_figure(columns: int = 1, *, width: float = 3.3) -> tuple[Any, Any]:
    """Return an empty figure, ``width`` by 2.2 inches, and its axes side by side."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, 2.2), layout="constrained")
        return figure, figure.subplots(1, columns)


def _curve(axes: Any, profile: NoiseProfile, **style: Any) -> None:
    curve = profile.variance.result()
    # A bin with few samples jumps about and says nothing: 0.1 % of all, and at least 200.
    enough = curve.samples >= max(200.0, 1e-3 * float(curve.samples.sum()))
    axes.plot(curve.intensity[enough] * 255.0, curve.variance[enough] * 255.0**2, **style)


def _short(value: float) -> str:
    # Adding 0 after rounding turns -0.0 into 0.0.
    return f"{value:.0f}" if abs(value) >= 100 else f"{round(value, 1) + 0.0:.1f}"


def svg(figure: Any) -> str:
    """Return the figure as an SVG element that takes its width and text colour from the page."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # The page's own font and size: names of fonts that the reader may lack are taken out.
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", text)
    # The viewBox alone gives the shape; width and height in points would fix the size.
    return re.sub(r' (width|height)="[0-9.]+pt"', "", text, count=2)
