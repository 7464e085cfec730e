"""PSNR and SSIM: how near a denoised image is to the clean one, in each convention of the field.

    PSNR = 10 log10(peak^2 / MSE), the mean over pixels and all channels, in dB
    SSIM = mean of (2 a b + C1)(2 c + C2) / ((a^2 + b^2 + C1)(v + w + C2))

with a, b the local means of the two images under a window, v, w their variances and c their
covariance, C1 = (0.01 peak)^2 and C2 = (0.03 peak)^2; only windows that lie inside the image count,
and channels are averaged. Programs differ in the window, in whether the estimate is rounded to 8
bits first and in what is cut from the border; the same two images then differ by some 0.01 dB and
by much more in SSIM. A value therefore never travels without its convention:

    kair             8-bit rounding; Gaussian 11x11, sigma 1.5 (also DANet, NeCA)
    invdn            kair without 4 pixels at each border
    sidd             kair, block by block
    naflow           no rounding, 1e-8 added to the MSE; window of kair
    noise2noiseflow  no rounding, no clipping; Gaussian 7x7, sigma 0.8
    srgb-flow        the same window, in grey levels
    dncnn-pytorch    clipped, not rounded; PSNR only
    nm-flowgan       no rounding; uniform 7x7, sample variances

Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 13(4), eq. 13; the conventions are those of the published programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from pipeline.measure.metrics.base import Array, Floats, same_convention
from pipeline.measure.metrics.metric import PictureMetric

__all__ = [
    "QUALITY_CONVENTIONS",
    "Psnr",
    "PsnrMetric",
    "Quality",
    "QualityConvention",
    "QualityRule",
    "SsimMetric",
    "psnr",
    "ssim",
]


class QualityConvention(StrEnum):
    """Names of the conventions; see the module's table."""

    KAIR = "kair"
    INVDN = "invdn"
    SIDD = "sidd"
    NAFLOW = "naflow"
    NOISE2NOISEFLOW = "noise2noiseflow"
    SRGB_FLOW = "srgb-flow"
    DNCNN_PYTORCH = "dncnn-pytorch"
    NM_FLOWGAN = "nm-flowgan"


@dataclass(frozen=True, slots=True)
class QualityRule:
    """One convention, spelled out.

    Args:
        clip: Clip both images to [0, 1] first.
        rounding: Round both to 8 bits first, halves to even.
        border: Pixels cut from each side.
        floor: Added to the mean squared error.
        window: Side of SSIM's window, pixels; 0 where the convention has no SSIM.
        sigma: Standard deviation of a Gaussian window; ``None`` for a uniform one.
        sample: Divide variances by n - 1 as of a sample, not by n.
        peak: 255 where the program works in grey levels, else 1; no value depends on it.
    """

    clip: bool = True
    rounding: bool = True
    border: int = 0
    floor: float = 0.0
    window: int = 11
    sigma: float | None = 1.5
    sample: bool = False
    peak: int = 255

    def __str__(self) -> str:
        values = "8 bits" if self.rounding else "clipped" if self.clip else "as given"
        shape = "uniform" if self.sigma is None else f"Gaussian, sigma {self.sigma:g}"
        window = f"window {self.window}x{self.window} {shape}" if self.window else "no SSIM"
        border = f"border of {self.border} px cut" if self.border else "no border cut"
        return f"peak {self.peak}, {values}, {border}, {window}"


QUALITY_CONVENTIONS: Mapping[QualityConvention, QualityRule] = MappingProxyType(
    {
        QualityConvention.KAIR: QualityRule(),
        QualityConvention.INVDN: QualityRule(border=4),
        QualityConvention.SIDD: QualityRule(),
        QualityConvention.NAFLOW: QualityRule(clip=False, rounding=False, floor=1e-8, peak=1),
        QualityConvention.NOISE2NOISEFLOW: QualityRule(
            clip=False, rounding=False, window=7, sigma=0.8, peak=1
        ),
        QualityConvention.SRGB_FLOW: QualityRule(clip=False, rounding=False, window=7, sigma=0.8),
        QualityConvention.DNCNN_PYTORCH: QualityRule(rounding=False, window=0, peak=1),
        QualityConvention.NM_FLOWGAN: QualityRule(
            clip=False, rounding=False, window=7, sigma=None, sample=True
        ),
    }
)


def psnr(
    clean: Array, denoised: Array, convention: QualityConvention | str = QualityConvention.KAIR
) -> float:
    """Return the PSNR of one image, in dB; infinite for equal images.

    Args:
        clean: ``(H, W)`` or ``(H, W, C)``: unsigned integers of full range, or floating point with
            the white level at 1.
        denoised: The estimate, same shape; either type.
        convention: A :class:`QualityConvention` or its name.

    Raises:
        ValueError: If the shapes differ, a value is not finite or the convention is unknown.

    Example:
        >>> grey = np.full((16, 16), 100, np.uint8)
        >>> round(psnr(grey, grey + np.uint8(5)), 4)
        34.1514
    """
    rule = QUALITY_CONVENTIONS[_named(convention)]
    return _decibels(_squared_error(*_prepared(clean, denoised, rule)) + rule.floor)


def ssim(
    clean: Array, denoised: Array, convention: QualityConvention | str = QualityConvention.KAIR
) -> float:
    """Return the SSIM of one image, 1 for equal images.

    Args:
        clean: As for :func:`psnr`, at least as large as the window.
        denoised: The estimate, same shape.
        convention: A :class:`QualityConvention` or its name.

    Raises:
        ValueError: As :func:`psnr`, or if the convention has no SSIM.

    Example:
        >>> ramp = np.linspace(0, 1, 400).reshape(20, 20)
        >>> ssim(ramp, ramp)
        1.0
    """
    name = _named(convention)
    rule = QUALITY_CONVENTIONS[name]
    if not rule.window:
        raise ValueError(f"convention {name!s} has no SSIM; choose {QualityConvention.KAIR}.")
    return _similarity(*_prepared(clean, denoised, rule), rule)


@dataclass(frozen=True, slots=True)
class Quality:
    """A PSNR that carries its convention.

    Args:
        convention: How it was measured.
        mean: Mean of the images' own values, as the field reports it.
        std: Standard deviation of the images' values.
        images: How many.
        pooled: Value of the error pooled over all pixels.
    """

    convention: QualityConvention
    mean: float
    std: float
    images: int
    pooled: float


@dataclass
class Psnr:
    """PSNR of each image, then the mean; and the PSNR of the pooled squared error."""

    convention: QualityConvention = QualityConvention.KAIR
    images: int = 0
    total: float = 0.0
    squares: float = 0.0
    error: float = 0.0
    samples: int = 0

    def __post_init__(self) -> None:
        self.convention = _named(self.convention)

    def update(self, clean: Array, denoised: Array) -> float:
        """Add one image and return its own value; see :func:`psnr`."""
        rule = QUALITY_CONVENTIONS[self.convention]
        first, second = _prepared(clean, denoised, rule)
        error = _squared_error(first, second)
        value = _decibels(error + rule.floor)
        self.images += 1
        self.total += value
        self.squares += value * value
        self.error += error * first.size
        self.samples += first.size
        return value

    def merge(self, other: Psnr) -> None:
        """Add the images of another accumulator of the same convention."""
        same_convention(self.convention, other.convention, "PSNR of convention")
        self.images += other.images
        self.total += other.total
        self.squares += other.squares
        self.error += other.error
        self.samples += other.samples

    def result(self) -> Quality:
        """Return mean, spread and pooled value; not numbers without images."""
        mean, std = _mean_std(self.images, self.total, self.squares)
        floor = QUALITY_CONVENTIONS[self.convention].floor
        pooled = _decibels(self.error / self.samples + floor) if self.samples else float("nan")
        return Quality(self.convention, mean, std, self.images, pooled)


@dataclass(frozen=True, slots=True)
class PsnrMetric(PictureMetric):
    """PSNR of each picture.

    Args:
        convention: How it is measured.
    """

    convention: QualityConvention | str = QualityConvention.KAIR

    name = "psnr"
    better = "higher"
    unit = "dB"
    digits = 2
    about = "peak signal-to-noise ratio of the mean squared error, dB"

    @property
    def title(self) -> str:
        """See :class:`Metric`."""
        return f"psnr ({self.convention})"

    def measure(self, clean: Array, estimate: Array) -> float:
        """See :class:`PictureMetric`."""
        return psnr(clean, estimate, self.convention)


@dataclass(frozen=True, slots=True)
class SsimMetric(PictureMetric):
    """SSIM of each picture.

    Args:
        convention: How it is measured.
    """

    convention: QualityConvention | str = QualityConvention.KAIR

    name = "ssim"
    better = "higher"
    about = "structural similarity, at most 1"

    @property
    def title(self) -> str:
        """See :class:`Metric`."""
        return f"ssim ({self.convention})"

    def measure(self, clean: Array, estimate: Array) -> float:
        """See :class:`PictureMetric`."""
        return ssim(clean, estimate, self.convention)


def _named(convention: QualityConvention | str) -> QualityConvention:
    try:
        return QualityConvention(convention)
    except ValueError:
        known = ", ".join(QualityConvention)
        raise ValueError(
            f"{convention!r} is no convention of PSNR and SSIM; choose one of {known}."
        ) from None


def _prepared(clean: Array, denoised: Array, rule: QualityRule) -> tuple[Floats, Floats]:
    """Return both images as ``(H, W, C)`` float64, white level 1, ready to be compared."""
    if clean.shape != denoised.shape:
        raise ValueError(
            f"clean is {clean.shape} and denoised is {denoised.shape}; PSNR and SSIM compare pixel "
            "by pixel. Cut both to one size."
        )
    first, second = _values(clean, "clean", rule), _values(denoised, "denoised", rule)
    if rule.border:
        if min(first.shape[:2]) <= 2 * rule.border:
            raise ValueError(
                f"nothing is left of a {first.shape[0]}x{first.shape[1]} image without "
                f"{rule.border} pixels at each border."
            )
        inside = slice(rule.border, -rule.border)
        first, second = first[inside, inside], second[inside, inside]
    return first, second


def _values(image: Array, name: str, rule: QualityRule) -> Floats:
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"{name} must be (H, W) or (H, W, C); its shape is {image.shape}.")
    values = np.asarray(image, dtype=np.float64)
    if np.issubdtype(image.dtype, np.unsignedinteger):
        values = values / np.iinfo(image.dtype).max
    elif not np.issubdtype(image.dtype, np.floating):
        raise TypeError(
            f"{name} is {image.dtype}; give unsigned integers, or floating point in [0, 1]."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite.")
    if rule.clip:
        values = np.clip(values, 0.0, 1.0)
    if rule.rounding:
        values = np.rint(values * 255.0) / 255.0
    return values[..., None] if values.ndim == 2 else values


def _squared_error(first: Floats, second: Floats) -> float:
    return float(np.mean(np.square(first - second)))


def _decibels(error: float) -> float:
    return float(-10.0 * np.log10(error)) if error > 0 else float("inf")


def _similarity(first: Floats, second: Floats, rule: QualityRule) -> float:
    """Return the mean of the SSIM map; the peak is 1, on which the value does not depend."""
    if min(first.shape[:2]) < rule.window:
        raise ValueError(
            f"SSIM needs images of at least {rule.window}x{rule.window} pixels; this one is "
            f"{first.shape[0]}x{first.shape[1]}."
        )
    c1, c2 = 0.01**2, 0.03**2
    a, b = _local_mean(first, rule), _local_mean(second, rule)
    pixels = rule.window**2
    scale = pixels / (pixels - 1) if rule.sample else 1.0
    v = (_local_mean(first * first, rule) - a * a) * scale
    w = (_local_mean(second * second, rule) - b * b) * scale
    c = (_local_mean(first * second, rule) - a * b) * scale
    similarity = (2 * a * b + c1) * (2 * c + c2) / ((a * a + b * b + c1) * (v + w + c2))
    return float(similarity.mean())


def _local_mean(values: Floats, rule: QualityRule) -> Floats:
    # Loaded here: a training measures PSNR in every validation and SSIM in none.
    from scipy.ndimage import correlate1d

    reach = rule.window // 2
    weights = np.ones(rule.window)
    if rule.sigma is not None:
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / rule.sigma) ** 2)
    for axis in (0, 1):
        values = correlate1d(values, weights / weights.sum(), axis=axis, mode="nearest")
    inside: Floats = values[reach:-reach, reach:-reach]
    return inside


def _mean_std(count: int, total: float, squares: float) -> tuple[float, float]:
    if not count:
        return float("nan"), float("nan")
    mean = total / count
    if not np.isfinite(mean):
        return mean, float("nan")
    return mean, max(squares / count - mean * mean, 0.0) ** 0.5
