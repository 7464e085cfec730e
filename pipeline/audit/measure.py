"""What is measured on a clean/noisy pair, and when a pair is suspect.

Every measure is taken on a grid of regions too, because in-camera JPEG pairs drift by region: a
pair whose mean offset is zero can be five grey levels too bright at the top and five too dark at
the bottom. Overall noise and correlation are medians over regions, so a moved leaf or a clipped
lamp does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.audit.offsets import Image, check_pair, residual
from pipeline.audit.shift import Shift, estimate_shift
from pipeline.pixels import white_level

if TYPE_CHECKING:
    from pipeline.manifest.models import AuditLimits

__all__ = [
    "DEFAULT_LIMITS",
    "OFFSET_SHARE",
    "PairAudit",
    "measure_pair",
    "pair_within",
    "patch_within",
]

Grid = npt.NDArray[np.float64]

# Where a manifest sets no limit: an offset of one grey level is the size of the effects that noise
# models are compared on; half a pixel turns fine texture into false noise; SIDD's and PolyU's
# noisiest settings stay below 20 grey levels.
DEFAULT_LIMITS = {"max_offset": 1.0, "max_shift": 0.5, "max_clipped": 0.05, "max_noise": 25.0}
OFFSET_SHARE = 0.1  # of the regions may be beyond the offset limit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairAudit:
    """The measures of one pair; brightness in grey levels of 255, grids ``(rows, columns)``.

    Args:
        height: Pixels.
        width: Pixels.
        window: Side of a region asked for; regions cover the image and are at least this large.
        offset: Mean of ``noisy - clean``.
        channel_offsets: The same of each channel.
        noise: Median of the regions' noise standard deviation.
        correlation_x: Median correlation of the noise with its right neighbour.
        correlation_y: Median correlation of the noise with its lower neighbour.
        clipped: Fraction of the noisy samples at black or white.
        shift: Misalignment; None where the pair has no texture to tell.
        offsets: Offset of each region.
        noises: Noise standard deviation of each region.
        correlations_x: Horizontal correlation of each region.
        correlations_y: Vertical correlation of each region.
        clippings: Clipped fraction of each region.
    """

    height: int
    width: int
    window: int
    offset: float
    channel_offsets: tuple[float, ...]
    noise: float
    correlation_x: float
    correlation_y: float
    clipped: float
    shift: Shift | None
    offsets: Grid
    noises: Grid
    correlations_x: Grid
    correlations_y: Grid
    clippings: Grid

    def far_regions(self, max_offset: float) -> int:
        """Return how many regions have an offset beyond the limit."""
        return int((np.abs(self.offsets) > max_offset).sum())

    def verdict(self, limits: AuditLimits | None = None) -> list[str]:
        """Say why the pair is suspect.

        Args:
            limits: Limits of the manifest; those that are not set have :data:`DEFAULT_LIMITS`.

        Returns:
            One sentence a reason; empty if the pair is sound.
        """
        limit = _limits(limits)
        reasons = []
        if abs(self.offset) > limit["max_offset"]:
            reasons.append(
                f"brightness offset {self.offset:+.2f} grey levels (limit {limit['max_offset']:g})"
            )
        far = self.far_regions(limit["max_offset"])
        if far > OFFSET_SHARE * self.offsets.size:
            worst = float(self.offsets.ravel()[np.abs(self.offsets).argmax()])
            reasons.append(
                f"{far} of {self.offsets.size} regions have a brightness offset beyond "
                f"{limit['max_offset']:g} grey levels, the worst {worst:+.2f}"
            )
        if self.shift is not None and self.shift.pixels > limit["max_shift"]:
            reasons.append(
                f"misaligned by {self.shift.pixels:.2f} pixels ({self.shift.down:+.2f} down, "
                f"{self.shift.right:+.2f} right; limit {limit['max_shift']:g})"
            )
        if self.clipped > limit["max_clipped"]:
            reasons.append(f"{self.clipped:.1%} clipped (limit {limit['max_clipped']:.1%})")
        if self.noise > limit["max_noise"]:
            reasons.append(f"noise {self.noise:.1f} grey levels (limit {limit['max_noise']:g})")
        return reasons

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as JSON values, the offsets of the regions with them."""
        shift = self.shift
        return {
            "height": self.height,
            "width": self.width,
            "window": self.window,
            "offset": round(self.offset, 4),
            "channel_offsets": [round(value, 4) for value in self.channel_offsets],
            "noise": round(self.noise, 4),
            "correlation_x": round(self.correlation_x, 4),
            "correlation_y": round(self.correlation_y, 4),
            "clipped": round(self.clipped, 6),
            "shift": None if shift is None else [round(shift.down, 3), round(shift.right, 3)],
            "offsets": np.round(self.offsets, 3).tolist(),
        }


def measure_pair(clean: Image, noisy: Image, *, window: int = 128) -> PairAudit:
    """Measure a pair.

    Args:
        clean: ``(H, W, C)`` uint8, uint16 or float32.
        noisy: Same shape.
        window: Side of a region, pixels.

    Raises:
        ValueError: If the sizes differ.
    """
    check_pair(clean, noisy)
    if window < 2:
        raise ValueError(f"window must be at least 2 pixels; got {window}.")
    height, width, _ = clean.shape
    rows, columns = _edges(height, window), _edges(width, window)
    cuts = [slice(*ends) for ends in pairwise(rows.tolist())]
    bands = [_measure_band(clean[cut], noisy[cut], columns) for cut in cuts]
    area = np.outer(np.diff(rows), np.diff(columns))[..., None]
    sums = {name: np.stack([band[name] for band in bands]) for name in bands[0]}
    channel_offsets = (sums["mean"] * area).sum(axis=(0, 1)) / area.sum()
    variance = np.maximum(sums["variance"].mean(axis=2), 1e-12)
    grids = {
        "noises": np.sqrt(variance),
        "correlations_x": sums["right"].mean(axis=2) / variance,
        "correlations_y": sums["down"].mean(axis=2) / variance,
        "clippings": sums["clipped"].mean(axis=2),
    }
    return PairAudit(
        height=height,
        width=width,
        window=window,
        offset=float(channel_offsets.mean()),
        channel_offsets=tuple(float(value) for value in channel_offsets),
        noise=float(np.median(grids["noises"])),
        correlation_x=float(np.median(grids["correlations_x"])),
        correlation_y=float(np.median(grids["correlations_y"])),
        clipped=float((grids["clippings"] * area[..., 0]).sum() / area.sum()),
        shift=estimate_shift(clean, noisy),
        offsets=sums["mean"].mean(axis=2),
        **grids,
    )


def patch_within(clean: Image, noisy: Image, limits: AuditLimits) -> str | None:
    """Check one patch of a pair against a manifest's limits; those that are not set allow all.

    Args:
        clean: ``(H, W, C)`` uint8, uint16 or float32.
        noisy: Same shape.
        limits: The manifest's. ``max_shift`` is of whole pairs, see :func:`pair_within`.

    Returns:
        One line that says what is beyond which limit, for the detail of a reject; it starts with
        ``offset``, ``clipped`` or ``noise``. None if the patch is sound.
    """
    offset, noise, clipped = _patch_measures(clean, noisy)
    if limits.max_offset is not None and abs(offset) > limits.max_offset:
        return f"offset of {offset:+.2f} grey levels; the limit is {limits.max_offset:g}"
    if limits.max_clipped is not None and clipped > limits.max_clipped:
        return f"clipped in {clipped:.1%} of the samples; the limit is {limits.max_clipped:.1%}"
    if limits.max_noise is not None and noise > limits.max_noise:
        return f"noise of {noise:.2f} grey levels; the limit is {limits.max_noise:g}"
    return None


def pair_within(clean: Image, noisy: Image, limits: AuditLimits) -> str | None:
    """Check a whole pair against ``limits.max_shift``.

    Returns:
        One line that says how far it is misaligned; None if it is not, or if nothing is asked.
    """
    shift = None if limits.max_shift is None else estimate_shift(clean, noisy)
    if shift is None or limits.max_shift is None or shift.pixels <= limits.max_shift:
        return None
    return f"misaligned by {shift.pixels:.2f} pixels; the limit is {limits.max_shift:g}"


def _limits(limits: AuditLimits | None) -> dict[str, float]:
    given = {name: getattr(limits, name, None) for name in DEFAULT_LIMITS}
    return {
        name: default if given[name] is None else float(given[name] or 0.0)
        for name, default in DEFAULT_LIMITS.items()
    }


def _patch_measures(clean: Image, noisy: Image) -> tuple[float, float, float]:
    """Return offset and noise in grey levels, and the clipped fraction."""
    check_pair(clean, noisy)
    noise = residual(clean, noisy)
    # Per channel, so that a colour cast does not pass for noise.
    spread = np.sqrt(noise.var(axis=(0, 1), dtype=np.float64).mean())
    return float(noise.mean(dtype=np.float64)), float(spread), float(_clipped(noisy).mean())


def _clipped(noisy: Image) -> npt.NDArray[np.bool_]:
    white = white_level(noisy.dtype)
    samples: npt.NDArray[Any] = noisy
    return np.asarray((samples <= 0) | (samples >= np.float32(white)))


def _edges(length: int, window: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, length, max(1, length // window) + 1).round().astype(np.int64)


def _measure_band(clean: Image, noisy: Image, edges: npt.NDArray[np.int64]) -> dict[str, Grid]:
    """Measure the regions of one band of rows; each value is ``(columns, C)``."""
    noise = residual(clean, noisy)
    rows, widths = noise.shape[0], np.diff(edges)[:, None]

    def mean_of(values: npt.NDArray[Any], pairs: int, lost: int = 0) -> Grid:
        sums = np.add.reduceat(values.sum(axis=0, dtype=np.float64), edges[:-1], axis=0)
        counts = pairs * widths.astype(np.float64)
        counts[-1] -= pairs * lost
        return np.asarray(sums / np.maximum(counts, 1))

    mean = mean_of(noise, rows)
    noise -= np.repeat(mean, widths[:, 0], axis=0).astype(np.float32)
    return {
        "mean": mean,
        "variance": mean_of(noise**2, rows),
        # A region's last column is paired with the next region's first; the image's last is not.
        "right": mean_of(noise[:, :-1] * noise[:, 1:], rows, lost=1),
        "down": mean_of(noise[:-1] * noise[1:], rows - 1),
        "clipped": mean_of(_clipped(noisy), rows),
    }
