"""Measuring a noise level function: variance = beta1 * x + beta2, from images.

Notation: x is a clean pixel with white at 1, n noisy, e = n - x of mean 0 and variance
v(x) = beta1 * x + beta2, independent between pixels and between shots.

**Clean and noisy.** x is known, so the likelihood is that of normal numbers of known signal:

    -log L = sum over pixels of (ln v(x) + e^2 / v(x)) / 2

Brightnesses at which values may have been clipped, x - 3 sqrt(v(x)) below the lowest value or
x + 3 sqrt(v(x)) above the highest, are left out, and the fit repeated with the new v until it
rests. The choice asks x and not n: leaving out the clipped values themselves would cut off one side
of the noise.

**Two noisy shots.** Nobody knows x. The difference d = n1 - n2 has E[d^2 | x] = 2 v(x), and the
mean m = (n1 + n2) / 2 has E[m | x] = x, but E[d^2 | m] = 2 v(m) is *wrong*: m carries noise of its
own, so bright values of m are partly luck, and the slope comes out too small (errors in variables).
The remedy is an instrument: something that knows the brightness and not the noise of the pixel. The
*ring* of its eight neighbours, averaged over both shots, is such a thing. For the pixels of one bin
of ring means

    E[d^2 / 2 | bin] = beta1 * E[m | bin] + beta2

holds exactly, whatever the picture and whatever the law of the noise, since v is linear and the
noise of the pixel does not enter the choice of its bin. No smoothness is assumed: an edge makes
a bin wide and not wrong. beta1 and beta2 solve the likelihood equations of normal numbers with the
bins' moments. A pixel near a clipped neighbour (within two standard deviations that the ring
itself shows) is left out: its own value may be clipped, and the choice still asks neighbours only.

Both sums need only moments of bins, in float64, so images may come one after another.

For noise that is not normal (photon counts) both are quasi-likelihoods: consistent as long as
nothing clips, since only the first two moments enter. Rounding to steps of h adds h^2 / 12 to
beta2. Noise shared by a row counts into beta2 too. Noise that neighbours share (sRGB) breaks the
ring, not the fit to clean and noisy.

Sources: Foi et al. 2008, "Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data", IEEE TIP 17(10), eq. 1-4 (the model); Wald 1940, "The fitting of straight lines if both
variables are subject to error", Ann. Math. Stat. 11(3) (grouping by an instrument).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from generators.sensor import Sensor

__all__ = [
    "Calibration",
    "NoiseLevel",
    "NoisyPairStatistics",
    "PairStatistics",
    "calibrate_noisy_pairs",
    "calibrate_pairs",
    "sensor_noise_level",
]

_BINS = 1024  # of the root of the signal, along which photon noise is even
_LEAST_PIXELS = 100
_LEAST_SHARE = 1e-8  # of the mean variance: the floor of either term
_RING_MARGIN = 2.0  # standard deviations between a ring and the clipping values
_REACH = 3.0  # standard deviations that noise is taken to reach
_CLIPPED_AT_FIRST = 0.02  # share of clipped values up to which a brightness enters the first fit
_ROUNDS = 10
_ITERATIONS = 200


class NoiseLevel(NamedTuple):
    """A noise level function: variance = beta1 * x + beta2, in squared white levels."""

    beta1: float
    beta2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A measured noise level function.

    Args:
        beta1: Slope of the variance, > 0.
        beta2: Variance at black, > 0.
        error1: Standard error of ``beta1``, from the scatter of the squared noise.
        error2: Standard error of ``beta2``.
        pixels: Values that the fit used.
    """

    beta1: float
    beta2: float
    error1: float
    error2: float
    pixels: int

    @property
    def level(self) -> NoiseLevel:
        """The two numbers."""
        return NoiseLevel(self.beta1, self.beta2)


def calibrate_pairs(
    clean: Tensor, noisy: Tensor, *, clip: tuple[float, float] | None = None
) -> NoiseLevel:
    """Fit beta1 and beta2 to clean and noisy images of one camera at one ISO.

    Args:
        clean: ``(B, C, H, W)``, white level 1.
        noisy: Same shape.
        clip: Values at which the noisy images were clipped, ``(low, high)``. ``None`` takes their
            smallest and largest value, which is right whether or not anything was clipped.

    Raises:
        ValueError: If the shapes differ, there are too few values, or all have one brightness.
    """
    statistics = PairStatistics(clip or _extremes(noisy))
    statistics.add(clean, noisy)
    return statistics.fit().level


def calibrate_noisy_pairs(
    first: Tensor, second: Tensor, *, clip: tuple[float, float] | None = None
) -> NoiseLevel:
    """Fit beta1 and beta2 to two noisy shots of the same scenes, one camera at one ISO.

    Args:
        first: ``(B, C, H, W)``, white level 1, H and W at least 3.
        second: Same shape; same scenes with independent noise.
        clip: As in :func:`calibrate_pairs`, of both.

    Raises:
        ValueError: If the shapes differ, there are too few values, or all have one brightness.
    """
    if clip is None:
        (low, high), (other_low, other_high) = _extremes(first), _extremes(second)
        clip = min(low, other_low), max(high, other_high)
    statistics = NoisyPairStatistics(clip)
    statistics.add(first, second)
    return statistics.fit().level


def sensor_noise_level(sensor: Sensor, iso: float) -> NoiseLevel:
    """Return the true noise level function of a simulated sensor, as long as nothing clips.

    Read, row and converter noise and the rounding to whole steps make up beta2.

    Args:
        sensor: The sensor.
        iso: ISO speed.

    Raises:
        ValueError: If the speed is below the sensor's base.

    Example:
        >>> from generators.sensor import SENSORS
        >>> round(sensor_noise_level(SENSORS["phone"], 800).beta1, 6)
        0.0032
    """
    return NoiseLevel(1.0 / sensor.electrons_at_white(iso), sensor.variance_at(0.0, iso))


@dataclass(slots=True)
class PairStatistics:
    """What clean and noisy images tell of a noise level function, as sums over images.

    Args:
        clip: Values at which noisy images are clipped, ``(low, high)``.
    """

    clip: tuple[float, float]
    _sums: Tensor = field(default_factory=lambda: torch.zeros(5, _BINS, dtype=torch.float64))

    def add(self, clean: Tensor, noisy: Tensor) -> None:
        """Take in images; see :func:`calibrate_pairs`."""
        _check_shapes(clean, noisy, "clean", "noisy")
        x, n = clean.detach().double().flatten(), noisy.detach().double().flatten()
        clipped = (n <= self.clip[0]) | (n >= self.clip[1])
        square = (n - x).square()
        rows = (torch.ones_like(x), square, square.square(), x.clamp_min(0.0), clipped)
        self._sums += _binned(x, rows)

    def fit(self) -> Calibration:
        """Return the maximum of the likelihood.

        Raises:
            ValueError: If there are too few values, or all have one brightness.
        """
        count, square, fourth, signal, clipped = self._sums
        moments = _Moments(count, square, fourth, signal / count.clamp_min(1.0))
        kept = clipped < _CLIPPED_AT_FIRST * count
        for _ in range(_ROUNDS):
            found = _fit(moments.only(kept))
            reach = _REACH * (found.beta1 * moments.signal + found.beta2).sqrt()
            inside = moments.signal - reach >= self.clip[0]
            inside &= moments.signal + reach <= self.clip[1]
            if torch.equal(inside, kept):
                break
            kept = inside
        return found


@dataclass(slots=True)
class NoisyPairStatistics:
    """What pairs of noisy shots tell of a noise level function, as sums over images.

    Args:
        clip: Values at which the images are clipped, ``(low, high)``.
    """

    clip: tuple[float, float]
    _sums: Tensor = field(default_factory=lambda: torch.zeros(4, _BINS, dtype=torch.float64))

    def add(self, first: Tensor, second: Tensor) -> None:
        """Take in pairs; see :func:`calibrate_noisy_pairs`."""
        _check_shapes(first, second, "first", "second")
        if first.ndim != 4 or min(first.shape[2:]) < 3:
            raise ValueError(
                f"noisy pairs must be (B, C, H, W) with H and W at least 3, since each pixel is "
                f"judged by its eight neighbours; got {tuple(first.shape)}."
            )
        first, second = first.detach().double(), second.detach().double()
        half = 0.5 * (first - second).square()
        mean = 0.5 * (first + second)
        ring = _ring(mean).mean(0)
        margin = _RING_MARGIN * _ring(half).mean(0).sqrt()
        least = _ring(torch.minimum(first, second)).amin(0) - margin
        most = _ring(torch.maximum(first, second)).amax(0) + margin
        kept = (least > self.clip[0]) & (most < self.clip[1])
        half, mean = half[..., 1:-1, 1:-1] * kept, mean[..., 1:-1, 1:-1] * kept
        self._sums += _binned(ring.flatten(), (kept, half, half.square(), mean))

    def fit(self) -> Calibration:
        """Return the solution of the likelihood equations.

        Raises:
            ValueError: If there are too few values, or all have one brightness.
        """
        count, square, fourth, signal = self._sums
        return _fit(_Moments(count, square, fourth, (signal / count.clamp_min(1.0)).clamp_min(0.0)))


class _Moments(NamedTuple):
    """Of each bin: number of values, sums of their squared noise and its square, mean signal."""

    values: Tensor
    square: Tensor
    fourth: Tensor
    signal: Tensor

    def only(self, bins: Tensor) -> _Moments:
        return _Moments(*(row[bins] for row in self))


def _fit(moments: _Moments) -> Calibration:
    """Maximise the likelihood over (ln beta1, ln beta2) by damped Fisher scoring."""
    m = moments.only(moments.values > 0)
    total = float(m.values.sum())
    _check_moments(m, total)
    level = float(m.square.sum()) / total
    design = torch.stack([m.signal, torch.ones_like(m.signal)])
    mean_signal = float((m.signal * m.values).sum()) / total
    start = torch.tensor([level / (2.0 * mean_signal), level / 2.0], dtype=torch.float64)
    floor = (start * _LEAST_SHARE).log()
    logs = start.log()
    best, damping = _loss(m, design, logs), 1e-3
    for _ in range(_ITERATIONS):
        score, information = _score(m, design, logs)
        damped = information + torch.diag(damping * information.diagonal() + 1e-9)
        step = torch.linalg.solve(damped, score).clamp(-2.0, 2.0)
        proposed = torch.maximum(logs + step, floor)
        loss = _loss(m, design, proposed)
        if loss > best:
            damping *= 10.0
            if damping > 1e12:  # no step in any direction gains: rounding is all that is left
                break
            continue
        moved = float((proposed - logs).abs().max())
        logs, best, damping = proposed, loss, max(damping / 5.0, 1e-12)
        if moved < 1e-10:
            break
    beta1, beta2 = (float(value) for value in logs.exp())
    error1, error2 = _errors(m, design, logs)
    return Calibration(
        beta1=beta1, beta2=beta2, error1=error1 * beta1, error2=error2 * beta2, pixels=int(total)
    )


def _loss(m: _Moments, design: Tensor, logs: Tensor) -> float:
    """Return the negative log-likelihood but for a constant."""
    v = logs.exp() @ design
    return float(0.5 * (m.values * v.log() + m.square / v).sum())


def _score(m: _Moments, design: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradient and Fisher information of the log-likelihood in the logs."""
    v = logs.exp() @ design
    jacobian = logs.exp()[:, None] * design
    slope = 0.5 * (m.square / v - m.values) / v
    return jacobian @ slope, (jacobian * (0.5 * m.values / v.square())) @ jacobian.T


def _errors(m: _Moments, design: Tensor, logs: Tensor) -> tuple[float, float]:
    """Return the relative standard errors, whatever the law of the noise (sandwich)."""
    v = logs.exp() @ design
    # A bin of one or two values shows no scatter; a normal law's is the least to expect.
    scatter = m.fourth / m.values - (m.square / m.values).square()
    scatter = torch.maximum(scatter, 2.0 * v.square())
    _, information = _score(m, design, logs)
    jacobian = logs.exp()[:, None] * design
    spread = (jacobian * (0.25 * m.values * scatter / v**4)) @ jacobian.T
    inverse = torch.linalg.pinv(information)
    first, second = (inverse @ spread @ inverse).diagonal().clamp_min(0.0).sqrt()
    return float(first), float(second)


def _check_moments(m: _Moments, total: float) -> None:
    if total < _LEAST_PIXELS:
        raise ValueError(
            f"{int(total)} values are left to fit a noise level function, at least {_LEAST_PIXELS} "
            "are needed; give larger or more images, less of them clipped."
        )
    if not float(m.square.sum()) > 0:
        raise ValueError("the images are equal: there is no noise to measure.")
    if not float(m.signal.max()) > 1.05 * float(m.signal.min()):
        raise ValueError(
            f"all values have one brightness ({float(m.signal.max()):.4g}), which cannot tell "
            "beta1 from beta2; give images with dark and bright parts."
        )


def _check_shapes(a: Tensor, b: Tensor, first: str, second: str) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"{first} is {tuple(a.shape)} and {second} {tuple(b.shape)}; they must be equal."
        )
    if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
        raise ValueError(f"{first} or {second} holds values that are not finite.")


def _binned(place: Tensor, rows: tuple[Tensor, ...]) -> Tensor:
    """Return the sums of rows over the bins of the root of ``place``, ``(len(rows), bins)``."""
    index = (place.clamp(0.0, 1.0).sqrt() * _BINS).long().clamp_max(_BINS - 1)
    sums = [torch.bincount(index, row.flatten().double(), minlength=_BINS) for row in rows]
    return torch.stack(sums).cpu()


def _ring(image: Tensor) -> Tensor:
    """Return the eight neighbours of every inner pixel, ``(8, B, C, H - 2, W - 2)``."""
    height, width = image.shape[2:]
    shifts = [(dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
    return torch.stack([image[..., dy : height - 2 + dy, dx : width - 2 + dx] for dy, dx in shifts])


def _extremes(image: Tensor) -> tuple[float, float]:
    return float(image.min()), float(image.max())
