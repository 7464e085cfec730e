"""Histogram KLD: how far the values of generated noise are from those of real noise.

    KLD = sum over bins of p * ln(p / q)    in nats; p real, q generated, all pixels and channels

The field uses this formula with five different sets of bins, and the numbers differ by tens of per
cent on the same images. A value therefore never travels without its convention:

    naflow           256 bins of 1/128 over [-1, 1]; only bins filled on both sides count, so the
                     value is no true divergence and can be below 0; one block of 256x256
    noise-flow       64 bins over [-0.1, 0.1] and two tails; only bins filled on both sides
    noise2noiseflow  the same 66 bins, one count added to each
    srgb-flow        130 bins of 4 grey levels over [-260, 260], one count added to each
    neca             the generated image is clipped and rounded to 8 bits first, then noise-flow

Source: Abdelhamed et al. 2019 (Noise Flow); Maleky et al. 2022 (Noise2NoiseFlow); Kousha et al.
2022 (sRGB flow); Kim et al. 2024 (NAFlow); Fu et al. 2023 (NeCA); the bins are those of their
published programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from pipeline.measure.metrics.base import Array, Floats, as_noise, same_convention
from pipeline.measure.metrics.metric import NoiseBlock, NoiseMetric

__all__ = ["CONVENTIONS", "KldConvention", "KldMetric", "KldRule", "PooledKld", "kld"]


_GREY = 255.0


class KldConvention(StrEnum):
    """Names of the conventions; see the module's table."""

    NAFLOW = "naflow"
    NOISE_FLOW = "noise-flow"
    NOISE2NOISEFLOW = "noise2noiseflow"
    SRGB_FLOW = "srgb-flow"
    NECA = "neca"


@dataclass(frozen=True)
class KldRule:
    """One convention, spelled out.

    Args:
        edges: Bin edges, in units of ``1 / levels`` white levels.
        levels: Units a white level: 1, or 255 for edges in grey levels.
        smoothing: Counts added to every bin of both histograms.
        quantise_fake: Clip and round the generated image to 8 bits first.
    """

    edges: tuple[float, ...]
    levels: int = 1
    smoothing: int = 0
    quantise_fake: bool = False

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    def counts(self, noise: Floats) -> Floats:
        """Return the filled histogram; the last bin includes its right edge."""
        values = noise.ravel()
        if self.levels > 1 or self.quantise_fake:
            # Noise of 8 bits is a whole number of grey levels, and so are edges; all of them for
            # sRGB flow, the one at 0 for NeCA. A rounding error (1.5e-5 grey levels from float32
            # images) would move a value to the next bin: a third of all values, at 0.
            grey = values * _GREY
            whole = np.rint(grey)
            values = np.where(np.abs(grey - whole) < 5e-5, whole, grey) / _GREY
        # n / 255 * 255 is n again in float64, for every whole n up to 2600.
        scaled = values * self.levels
        return np.histogram(scaled, bins=np.array(self.edges))[0].astype(np.float64)


def _tails(inner: Array) -> tuple[float, ...]:
    return (-1000.0, *inner.tolist(), 1000.0)


_NAFLOW_EDGES = tuple((np.arange(-128, 129) / 128).tolist())
_NOISE_FLOW_EDGES = _tails(np.arange(-32, 33) * 0.003125)
_SRGB_EDGES = tuple(float(edge) for edge in range(-260, 261, 4))

CONVENTIONS: Mapping[KldConvention, KldRule] = MappingProxyType(
    {
        KldConvention.NAFLOW: KldRule(_NAFLOW_EDGES),
        KldConvention.NOISE_FLOW: KldRule(_NOISE_FLOW_EDGES),
        KldConvention.NOISE2NOISEFLOW: KldRule(_NOISE_FLOW_EDGES, smoothing=1),
        KldConvention.SRGB_FLOW: KldRule(_SRGB_EDGES, levels=255, smoothing=1),
        KldConvention.NECA: KldRule(_NOISE_FLOW_EDGES, quantise_fake=True),
    }
)


def kld(
    real_noise: Array,
    fake_noise: Array,
    convention: KldConvention | str,
    *,
    clean: Array | None = None,
) -> float:
    """Return the KLD of one block, in nats.

    Args:
        real_noise: ``(H, W)`` or ``(H, W, C)`` real noise in white levels.
        fake_noise: Generated noise of the same clean image, same unit; any size.
        convention: A :class:`KldConvention` or its name.
        clean: The clean image in [0, 1], shape of ``fake_noise``; needed by ``neca`` only.

    Returns:
        The divergence; infinity where no bin is filled on both sides.

    Raises:
        ValueError: If the convention is unknown, or ``neca`` has no clean image.

    Example:
        >>> noise = np.linspace(-0.05, 0.05, 300).reshape(10, 10, 3)
        >>> kld(noise, noise, "naflow")
        0.0
    """
    rule = CONVENTIONS[_named(convention)]
    real, fake = as_noise(real_noise, "real_noise"), as_noise(fake_noise, "fake_noise")
    if rule.quantise_fake:
        fake = _as_stored(fake, clean)
    return _divergence(rule, rule.counts(real), rule.counts(fake), (real.size, fake.size))


def _divergence(rule: KldRule, real: Floats, fake: Floats, sizes: tuple[int, int]) -> float:
    """Return the KLD of two filled histograms of so many samples."""
    p = (real + rule.smoothing) / (sizes[0] + rule.smoothing * rule.bins)
    q = (fake + rule.smoothing) / (sizes[1] + rule.smoothing * rule.bins)
    both = (p > 0) & (q > 0)
    if not both.any():
        return float("inf")
    return float(np.sum(p[both] * np.log(p[both] / q[both])))


@dataclass(frozen=True, slots=True)
class KldMetric(NoiseMetric):
    """KLD of each block.

    Args:
        convention: How it is measured.
    """

    convention: KldConvention | str = KldConvention.NAFLOW

    name = "kld"
    better = "lower"
    unit = "nats"
    skewed = True
    about = "histogram KLD in that program's bins"

    @property
    def title(self) -> str:
        """See :class:`Metric`."""
        return f"kld ({self.convention})"

    def measure(self, block: NoiseBlock) -> float:
        """See :class:`NoiseMetric`."""
        return kld(block.real, block.fakes[0], self.convention, clean=block.clean)


@dataclass
class PooledKld:
    """KLD of all real noise against all generated noise, where no block has a real partner.

    The two histograms are added up and compared once. This is not the mean of the blocks' values:
    noise levels that differ from block to block average out, and there is no noise of counting few
    pixels. A name says which it is: ``naflow, pooled``.
    """

    convention: KldConvention
    real: Floats = field(init=False)
    fake: Floats = field(init=False)
    sizes: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.convention = _named(self.convention)
        bins = CONVENTIONS[self.convention].bins
        self.real, self.fake = np.zeros(bins), np.zeros(bins)

    def update_real(self, noise: Array) -> None:
        """Add a block of real noise, white levels."""
        values = as_noise(noise, "real_noise")
        self.real += CONVENTIONS[self.convention].counts(values)
        self.sizes = (self.sizes[0] + values.size, self.sizes[1])

    def update_fake(self, noise: Array, *, clean: Array | None = None) -> None:
        """Add a block of generated noise, white levels; ``clean`` as for :func:`kld`."""
        rule, values = CONVENTIONS[self.convention], as_noise(noise, "fake_noise")
        if rule.quantise_fake:
            values = _as_stored(values, clean)
        self.fake += rule.counts(values)
        self.sizes = (self.sizes[0], self.sizes[1] + values.size)

    def merge(self, other: PooledKld) -> None:
        """Add the blocks of another accumulator of the same convention."""
        same_convention(self.convention, other.convention, "KLD of convention")
        self.real += other.real
        self.fake += other.fake
        self.sizes = (self.sizes[0] + other.sizes[0], self.sizes[1] + other.sizes[1])

    def result(self) -> float:
        """Return the divergence in nats; not a number while either side is empty."""
        if not all(self.sizes):
            return float("nan")
        return _divergence(CONVENTIONS[self.convention], self.real, self.fake, self.sizes)


def _named(convention: KldConvention | str) -> KldConvention:
    try:
        return KldConvention(convention)
    except ValueError:
        known = ", ".join(KldConvention)
        raise ValueError(f"{convention!r} is no KLD convention; choose one of {known}.") from None


def _as_stored(fake: Floats, clean: Array | None) -> Floats:
    if clean is None:
        raise ValueError(
            "convention 'neca' rounds the generated image to 8 bits first; give its clean image."
        )
    base = np.asarray(clean, dtype=np.float64).reshape(fake.shape)
    stored: Floats = np.rint(np.clip(base + fake, 0.0, 1.0) * _GREY) / _GREY - base
    return stored
