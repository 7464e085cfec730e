"""Noise by formula: four models with a handful of numbers each, the baselines of the field.

Notation: x is a clean pixel with white at 1, z a standard normal number of its own, y noisy.

    awgn                    y = x + sigma * z
    spatially-variant-awgn  y = x + sigma(i, j) * z
    heteroscedastic         y = x + sqrt(beta1 * x + beta2) * z
    poisson-gaussian        y = gain * Poisson(x / gain) + read_noise * z

``sigma`` is in grey levels of 255, as papers on denoising quote it; everything else is in white
levels. All of them are white: no pixel knows its neighbour, which is what real sRGB noise is not
(``camera`` and the learned generators). The last two describe a linear sensor and belong on raw;
on sRGB values they are signal-dependent toys, allowed because baselines are published that way.

All is computed on the CPU, by :mod:`generators.exact` where sums and products do not do, so the
noise of a seed has the same bits on every processor.

Three have an exact density (:mod:`generators.densities`). ``spatially-variant-awgn`` has none: its
map is drawn anew for each patch and cannot be integrated out.

Sources: Foi et al. 2008, "Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data", IEEE TIP 17(10), eq. 1-4; Zhang et al. 2018, "FFDNet", IEEE TIP 27(9), section IV-D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from generators import exact
from generators.base import (
    DensityGenerator,
    Domain,
    NoiseContext,
    NoiseGenerator,
    NoiseRequest,
    NoiseSample,
    Params,
)
from generators.checks import check_choice, check_number, check_range
from generators.densities import (
    normal_log_density,
    poisson_gaussian_log_density,
    uniform_level_log_density,
)
from generators.nlf_tables import look_up, read_table
from generators.seeds import standard_normal, stream_rng
from generators.sensor import photon_counts

__all__ = ["AWGN", "Heteroscedastic", "PoissonGaussian", "SpatiallyVariantAWGN"]

_GREY_LEVELS = 255.0
_DOMAINS: tuple[Domain, ...] = ("srgb", "raw")
_BUMPS = 6


@final
class AWGN(DensityGenerator):
    """Additive white Gaussian noise, of one level or of a level drawn for each row.

    Args:
        sigma: Standard deviation in grey levels of 255: a number > 0, or ``[low, high]`` with
            0 <= low < high, from which each row draws uniformly.
        domain: ``srgb`` or ``raw``.

    Raises:
        ValueError: If a parameter is out of range.

    Example:
        >>> AWGN(sigma=25).name
        'awgn'
    """

    name = "awgn"
    revision = 1
    same_bits = True

    def __init__(self, *, sigma: float | Sequence[float], domain: Domain = "srgb") -> None:
        self._range = (
            check_range("sigma", sigma, low=0.0)
            if isinstance(sigma, list | tuple)
            else (check_number("sigma", sigma, low=0.0, open_low=True),) * 2
        )
        check_choice("domain", domain, _DOMAINS)
        self.accepts = self.gives = domain

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Add noise to each row; the drawn ``sigma`` is recorded in grey levels of 255."""
        clean = request.context.clean.cpu()
        low, high = self._range
        levels = [
            low + (high - low) * float(stream_rng(seed, "sigma").random()) for seed in request.seeds
        ]
        sigma = torch.tensor(levels, dtype=torch.float64).div(_GREY_LEVELS).float()
        noise = sigma[:, None, None, None] * standard_normal(
            request.seeds, clean.shape[1:], "noise"
        )
        return _sample(request, clean + noise, params=[{"sigma": level} for level in levels])

    def _log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | clean), ``(B,)`` nats, float64; a drawn level is integrated out."""
        low, high = (level / _GREY_LEVELS for level in self._range)
        noise = noisy.double() - context.clean.double()
        if low == high:
            return normal_log_density(noise, torch.tensor(low**2, dtype=torch.float64))
        return uniform_level_log_density(noise, low, high)


@final
class SpatiallyVariantAWGN(NoiseGenerator):
    """Additive Gaussian noise whose level changes smoothly over the patch.

    Each patch's map is stretched so that its smallest value is ``low`` and its largest ``high``.
    With (u, v) in [0, 1] the position of a pixel's centre, down and to the right:

    ``bumps``: the sum of six Gaussian bumps, a_k exp(-((u - p_k)^2 + (v - q_k)^2) / (2 w_k^2)),
    with a_k ~ U[-1, 1], centres p_k, q_k ~ U[0, 1] and widths w_k ~ U[0.1, 0.4] from the row's
    stream ``"map"``, drawn in the order of all a, all p, all q, all w. Each row has its own map.

    ``peaks``: the surface that FFDNet's test uses, the same for every row; with x = 6 v - 3 and
    y = 6 u - 3 it is 3 (1 - x)^2 exp(-x^2 - (y + 1)^2) - 10 (x / 5 - x^3 - y^5) exp(-x^2 - y^2)
    - exp(-(x + 1)^2 - y^2) / 3.

    Args:
        sigma: ``[low, high]`` in grey levels of 255, 0 <= low < high. FINO is tested with
            [0, 50] and [15, 35].
        map: ``bumps`` or ``peaks``.
        domain: ``srgb`` or ``raw``.

    Raises:
        ValueError: If a parameter is out of range.
    """

    name = "spatially-variant-awgn"
    revision = 2
    same_bits = True

    def __init__(
        self, *, sigma: Sequence[float], map: str = "bumps", domain: Domain = "srgb"
    ) -> None:
        self._low, self._high = check_range("sigma", sigma, low=0.0)
        self._map = check_choice("map", map, ("bumps", "peaks"))
        check_choice("domain", domain, _DOMAINS)
        self.accepts = self.gives = domain

    def levels(self, seeds: Sequence[int], height: int, width: int) -> Tensor:
        """Return the noise level maps, ``(B, 1, height, width)`` float32 in grey levels of 255."""
        if self._map == "bumps":
            surface = _bumps(seeds, height, width)
        else:
            surface = _peaks(height, width).expand(len(seeds), 1, height, width)
        least = surface.amin((2, 3), keepdim=True)
        span = (surface.amax((2, 3), keepdim=True) - least).clamp_min(1e-12)
        return (surface - least) / span * (self._high - self._low) + self._low

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Add noise to each row; the mean of its map is recorded as ``sigma_mean``."""
        clean = request.context.clean.cpu()
        levels = self.levels(request.seeds, clean.shape[2], clean.shape[3])
        noise = levels / _GREY_LEVELS * standard_normal(request.seeds, clean.shape[1:], "noise")
        return _sample(
            request,
            clean + noise,
            params=[
                {
                    "sigma_low": self._low,
                    "sigma_high": self._high,
                    "sigma_mean": float(level.double().numpy().mean()),
                    "map": self._map,
                }
                for level in levels
            ],
        )


@final
class Heteroscedastic(DensityGenerator):
    """Gaussian noise with a variance that is linear in the signal: a noise level function.

    Negative clean values (raw below its black level) take the variance of 0.

    Args:
        beta1: Slope of the variance, >= 0; squared white levels per white level.
        beta2: Variance at black, >= 0, in squared white levels; not both 0.
        table: Instead of the two numbers: ``"sidd"`` for the built-in table of five phones, or
            ``{camera: {iso: [beta1, beta2]}}``. Each row's camera and ISO are then needed.
        domain: ``srgb`` or ``raw``.

    Raises:
        ValueError: If neither or both ways are given, or a number is out of range.

    Example:
        >>> sorted(Heteroscedastic(table="sidd", domain="raw").needs)
        ['camera', 'iso']
    """

    name = "heteroscedastic"
    revision = 2
    same_bits = True

    def __init__(
        self,
        *,
        beta1: float | None = None,
        beta2: float | None = None,
        table: str | Mapping[str, Any] | None = None,
        domain: Domain = "srgb",
    ) -> None:
        if (table is None) == (beta1 is None and beta2 is None):
            raise ValueError("give either `beta1` and `beta2`, or `table`.")
        self._fixed = (0.0, 0.0)
        self._table = None if table is None else read_table(table)
        if self._table is None:
            self._fixed = check_number("beta1", beta1, low=0), check_number("beta2", beta2, low=0)
            if max(self._fixed) == 0:
                raise ValueError("beta1 and beta2 are both 0, which is no noise at all.")
        else:
            self.needs = frozenset({"camera", "iso"})
        check_choice("domain", domain, _DOMAINS)
        self.accepts = self.gives = domain

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Add noise to each row; its ``beta1`` and ``beta2`` are recorded."""
        clean = request.context.clean.cpu()
        betas = self._betas(request.context)
        normal = standard_normal(request.seeds, clean.shape[1:], "noise")
        return _sample(
            request,
            clean + exact.sqrt(_variance(clean, betas)) * normal,
            params=[{"beta1": slope, "beta2": floor} for slope, floor in betas],
        )

    def _log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | clean), ``(B,)`` nats, float64; needs beta2 > 0 where clean is 0."""
        clean = context.clean.double()
        return normal_log_density(noisy.double() - clean, _variance(clean, self._betas(context)))

    def _betas(self, context: NoiseContext) -> list[tuple[float, float]]:
        table, capture = self._table, context.capture
        if table is None:
            return [self._fixed] * len(capture)
        return [look_up(table, c, i) for c, i in zip(capture.camera, capture.iso, strict=True)]


@final
class PoissonGaussian(DensityGenerator):
    """Photon counting plus read-out noise, sampled exactly: the baseline model of a sensor.

    The variance is gain * x + read_noise^2, but in the dark the noise is skewed and comes in whole
    electrons, which no Gaussian shows.

    Args:
        gain: White levels per electron, > 0. A phone at low ISO is near 2e-4.
        read_noise: Standard deviation of the read-out in white levels, >= 0.
        domain: ``srgb`` or ``raw``.

    Raises:
        ValueError: If a parameter is out of range.
    """

    name = "poisson-gaussian"
    revision = 1
    same_bits = True

    def __init__(self, *, gain: float, read_noise: float, domain: Domain = "srgb") -> None:
        self._gain = check_number("gain", gain, low=0.0, open_low=True)
        self._read_noise = check_number("read_noise", read_noise, low=0.0)
        check_choice("domain", domain, _DOMAINS)
        self.accepts = self.gives = domain

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Count photons and read them out, row by row.

        Raises:
            ValueError: If a clean value is negative: photons cannot be.
        """
        clean = request.context.clean.cpu()
        electrons = photon_counts(clean.double() / self._gain, request.seeds, "photons")
        noisy = (electrons * self._gain).float()
        if self._read_noise > 0:
            normal = standard_normal(request.seeds, clean.shape[1:], "noise")
            noisy = noisy + self._read_noise * normal
        params = {"gain": self._gain, "read_noise": self._read_noise}
        return _sample(request, noisy, params=[params] * len(request.seeds))

    def _log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | clean), ``(B,)`` nats, float64; needs read_noise > 0."""
        return poisson_gaussian_log_density(
            noisy, context.clean, gain=self._gain, read_noise=self._read_noise
        )


def _sample(request: NoiseRequest, noisy: Tensor, *, params: Sequence[Params]) -> NoiseSample:
    """Return noisy images beside the request's clean ones, on their device."""
    clean = request.context.clean
    return NoiseSample(clean=clean, noisy=noisy.to(clean.device), params=params)


def _variance(clean: Tensor, betas: Sequence[tuple[float, float]]) -> Tensor:
    """Return beta1 * max(clean, 0) + beta2 of each row, in the type of ``clean``."""
    table = torch.tensor(betas, dtype=clean.dtype, device=clean.device)[:, :, None, None, None]
    return clean.clamp_min(0.0) * table[:, 0] + table[:, 1]


def _bumps(seeds: Sequence[int], height: int, width: int) -> Tensor:
    """Return sums of Gaussian bumps, ``(B, 1, height, width)``; see SpatiallyVariantAWGN."""
    return torch.stack([_bump_map(seed, height, width) for seed in seeds])[:, None].float()


def _bump_map(seed: int, height: int, width: int) -> Tensor:
    """Return one row's sum of bumps, ``(height, width)`` float64."""
    unit = torch.from_numpy(stream_rng(seed, "map").random((4, _BUMPS)))
    amplitude, down, right, spread = unit[..., None].unbind(0)
    amplitude, spread = 2.0 * amplitude - 1.0, 0.1 + 0.3 * spread
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    # A Gaussian bump is the product of one curve down and one across: H + W exponentials, not HW.
    vertical = amplitude * exact.exp(-0.5 * ((rows - down) / spread).square())
    across = exact.exp(-0.5 * ((columns - right) / spread).square())
    surface = torch.zeros(height, width, dtype=torch.float64)
    for bump in vertical[:, :, None] * across[:, None, :]:
        surface += bump
    return surface


def _peaks(height: int, width: int) -> Tensor:
    """Return the peaks surface over [-3, 3]^2, ``(height, width)`` float32."""
    y = (6.0 * (torch.arange(height, dtype=torch.float64) + 0.5) / height - 3.0)[:, None]
    x = 6.0 * (torch.arange(width, dtype=torch.float64) + 0.5) / width - 3.0
    x2, y2 = x.square(), y.square()
    hill = 3.0 * (1.0 - x).square() * exact.exp(-x2 - (y + 1.0).square())
    saddle = 10.0 * (x / 5.0 - x2 * x - y2 * y2 * y) * exact.exp(-x2 - y2)
    foot = exact.exp(-(x + 1.0).square() - y2) / 3.0
    return (hill - saddle - foot).float()
