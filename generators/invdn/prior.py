"""What noise does to InvDN's encoding: a Gaussian field per camera and ISO, fitted after training.

For a pair, ``d = encode(noisy) - encode(clean)`` is the noise as the network sees it: 48 numbers at
each position of a quarter-size image. Adding such a difference to another clean encoding and
decoding the sum makes noise, so a distribution of d makes new noise. Ours, for one configuration,

    d_p = m + a(l_p, t_p) g_p           at position p

    m     mean, one a channel
    a     level, a table over the clean picture's lightness l (8 bins) and texture t (6 bins):
          noise depends on the signal, and the network stretches it where there is detail
    g     stationary Gaussian field with covariances R(k) = E[g_{p+k} g_p^T], 48x48 matrices for
          lags k of up to 2 positions: neighbouring pixels of processed photographs are correlated

g is white noise through a filter of 9x9 positions, 48x48 numbers each: the inverse transform of
S(f)^(1/2), where S(f) = sum_k R(k) exp(-2 pi i f k) is the spectral matrix, cut to its non-negative
part (truncating the lags makes it slightly indefinite) and scaled so that each channel keeps its
variance.

Configurations with little data lean on all of them together: every statistic is a mean of its own
and the pooled one, the latter weighing as much as a fixed number of positions.

Source: own; the square root of a spectral matrix as a filter: Priestley 1981, "Spectral Analysis
and Time Series", section 9.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import conv2d

__all__ = ["ANY", "MARGIN", "Differences", "LatentPrior", "colouring", "fit_prior"]

ANY = "any"
MARGIN = 4
_REACH, _GRID = 2, 16
_LIGHTNESS, _TEXTURE = 8, 6
# What the pooled statistics weigh, positions of 4x4 pixels: a level needs few, a matrix many.
_LEVEL_POSITIONS, _FIELD_POSITIONS = 200.0, 2000.0
_SMALLEST_LEVEL = 1e-3


@dataclass(frozen=True, slots=True)
class Differences:
    """Encoding differences of a batch and the clean encodings they belong to.

    Args:
        labels: ``(B,)`` configuration of each row.
        clean: ``(B, D, h, w)`` encoded clean images.
        difference: Same shape: encoded noisy minus encoded clean.
    """

    labels: Tensor
    clean: Tensor
    difference: Tensor


@dataclass(frozen=True, slots=True)
class LatentPrior:
    """The distribution of d for K configurations; the last one is all of them pooled.

    Args:
        mean: ``(K, D)``.
        levels: ``(K, 8, 6)``, > 0; 1 on average over the training positions.
        field: ``(K, 13, D, D)``: R(k) of the lags of :func:`half_plane`.
        texture: ``(5,)`` limits between the bins of texture.
    """

    mean: Tensor
    levels: Tensor
    field: Tensor
    texture: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return what a weights file holds, by name."""
        return {f"prior.{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LatentPrior:
        """Read what :meth:`tensors` wrote.

        Raises:
            ValueError: If one is missing, or another is there.
        """
        names = [f"prior.{field.name}" for field in fields(cls)]
        if wrong := sorted(set(names) ^ set(tensors)):
            raise ValueError(f"the prior's tensors are {', '.join(names)}; wrong: {wrong}.")
        return cls(*(tensors[name] for name in names))

    def check(self, rows: int, channels: int) -> None:
        """Refuse tensors of other shapes than a prior of so many rows and channels has.

        Raises:
            ValueError: If one has another shape.
        """
        expected = {
            "mean": (rows, channels),
            "levels": (rows, _LIGHTNESS, _TEXTURE),
            "field": (rows, len(half_plane()), channels, channels),
            "texture": (_TEXTURE - 1,),
        }
        for name, shape in expected.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"prior.{name} has shape {found}; expected {shape}.")

    def to(self, device: torch.device) -> LatentPrior:
        """Return the prior on another device."""
        return LatentPrior(*(getattr(self, field.name).to(device) for field in fields(self)))

    def level(self, clean: Tensor, rows: Tensor) -> Tensor:
        """Return a of every position, ``(B, 1, h, w)``.

        Args:
            clean: ``(B, D, h, w)`` encoded clean images.
            rows: ``(B,)`` configuration of each row.
        """
        lightness, texture = _bins(clean, self.texture)
        found: Tensor = self.levels[rows[:, None, None], lightness, texture]
        return found[:, None]

    def draw(self, clean: Tensor, rows: Tensor, white: Tensor, filters: Sequence[Tensor]) -> Tensor:
        """Return one difference a row.

        Args:
            clean: ``(B, D, h, w)`` encoded clean images.
            rows: ``(B,)`` configuration of each row.
            white: ``(B, D, h + 8, w + 8)`` independent N(0, 1) numbers.
            filters: :func:`colouring` of each row's configuration.

        Returns:
            ``(B, D, h, w)``.
        """
        # Row by row: a row's pixels must not depend on how many there are.
        coloured = [conv2d(row[None], one) for row, one in zip(white, filters, strict=True)]
        field = torch.cat(coloured)
        return self.mean[rows][:, :, None, None] + self.level(clean, rows) * field


def half_plane() -> list[tuple[int, int]]:
    """Return the lags that are stored: of k and -k only one, since R(-k) = R(k)^T."""
    reach = range(-_REACH, _REACH + 1)
    return [(y, x) for y in reach for x in reach if (y, x) >= (0, 0)]


def colouring(field: Tensor) -> Tensor:
    """Return the filter that makes a configuration's field of white noise.

    Args:
        field: ``(13, D, D)``, as in :class:`LatentPrior`.

    Returns:
        ``(D, D, 9, 9)``, a weight of ``conv2d``.
    """
    wide, channels = field.double(), field.shape[1]
    frequencies = torch.fft.fftfreq(_GRID, dtype=torch.float64, device=field.device)
    down, across = frequencies[:, None], frequencies[None, :]
    shape = (_GRID, _GRID, channels, channels)
    spectrum = torch.zeros(shape, dtype=torch.complex128, device=field.device)
    for (y, x), covariance in zip(half_plane(), wide, strict=True):
        angle = -2 * torch.pi * (y * down + x * across)
        part = torch.polar(torch.ones_like(angle), angle)[..., None, None] * covariance
        spectrum += part if (y, x) == (0, 0) else part + part.mH
    values, vectors = torch.linalg.eigh(spectrum)
    root = (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mH
    taps = torch.fft.fftshift(torch.fft.ifft2(root, dim=(0, 1)).real, dim=(0, 1))
    middle = slice(_GRID // 2 - MARGIN, _GRID // 2 + MARGIN + 1)
    # conv2d correlates: the tap at +k multiplies the pixel at +k, a convolution's that at -k.
    weight = taps[middle, middle].flip(0, 1).permute(2, 3, 0, 1)
    power = weight.square().sum(dim=(1, 2, 3))
    share = torch.where(power > 0, wide[0].diagonal() / power.clamp(min=1e-300), 0.0).sqrt()
    scaled: Tensor = share[:, None, None, None] * weight
    return scaled.float()


def fit_prior(found: Iterable[Differences], configurations: int) -> LatentPrior:
    """Fit the distribution of each configuration and of all together.

    Args:
        found: Training batches.
        configurations: Number of labels.

    Returns:
        A prior of ``configurations + 1`` rows; the last is pooled.

    Raises:
        ValueError: If there is no batch.
    """
    batches = list(found)
    if not batches:
        raise ValueError("a prior needs at least one batch of encoded pairs.")
    labels = torch.cat([batch.labels for batch in batches])
    clean = torch.cat([batch.clean for batch in batches]).double()
    difference = torch.cat([batch.difference for batch in batches]).double()
    texture = _texture_limits(clean)
    lightness_bin, texture_bin = _bins(clean, texture)
    cells = lightness_bin * _TEXTURE + texture_bin
    pooled = _fit(difference, cells, None)
    rows = []
    for label in range(configurations):
        mine = labels == label
        own = bool(mine.any())
        rows.append(_fit(difference[mine], cells[mine], pooled) if own else pooled)
    rows.append(pooled)
    return LatentPrior(
        mean=torch.stack([row.mean for row in rows]).float(),
        levels=torch.stack([row.levels for row in rows]).float(),
        field=torch.stack([row.field for row in rows]).float(),
        texture=texture.float(),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """The statistics of one configuration, float64."""

    mean: Tensor
    levels: Tensor
    field: Tensor


def _fit(difference: Tensor, cells: Tensor, pooled: _Row | None) -> _Row:
    positions = cells.numel()
    mean = difference.mean(dim=(0, 2, 3))
    if pooled is not None:
        share = positions / (positions + _LEVEL_POSITIONS)
        mean = share * mean + (1 - share) * pooled.mean
    centred = difference - mean[None, :, None, None]
    variance = centred.square().mean(dim=(0, 2, 3)).clamp(min=1e-20)
    relative = (centred.square() / variance[None, :, None, None]).mean(dim=1)
    levels = _levels(relative, cells, None if pooled is None else pooled.levels)
    field = _covariances(centred / levels.flatten()[cells][:, None])
    if pooled is not None:
        # The pooled field has another overall size: it lends its shape, not its strength.
        size = field[0].diagonal().sum() / pooled.field[0].diagonal().sum().clamp(min=1e-20)
        share = positions / (positions + _FIELD_POSITIONS)
        field = share * field + (1 - share) * size * pooled.field
    return _Row(mean, levels, field)


def _levels(relative: Tensor, cells: Tensor, pooled: Tensor | None) -> Tensor:
    """Return the table of levels from each position's variance over its channels' own."""
    count = _LIGHTNESS * _TEXTURE
    totals = torch.zeros(count, dtype=torch.float64, device=cells.device)
    numbers = torch.zeros_like(totals)
    totals.index_add_(0, cells.flatten(), relative.flatten())
    numbers.index_add_(0, cells.flatten(), torch.ones_like(relative).flatten())
    before = torch.ones_like(totals) if pooled is None else pooled.flatten().square()
    squares = (totals + _LEVEL_POSITIONS * before) / (numbers + _LEVEL_POSITIONS)
    squares = squares / ((squares * numbers).sum() / numbers.sum())
    levels: Tensor = squares.clamp(min=_SMALLEST_LEVEL**2).sqrt()
    return levels.view(_LIGHTNESS, _TEXTURE)


def _covariances(field: Tensor) -> Tensor:
    """Return R(k) of the stored lags from ``(B, D, h, w)``."""
    height, width = field.shape[2], field.shape[3]
    found: list[Tensor] = []
    for y, x in half_plane():
        if y >= height or abs(x) >= width:
            found.append(torch.zeros_like(found[0]))
            continue
        later = field[:, :, y:, max(x, 0) : width + min(x, 0)]
        here = field[:, :, : height - y, max(-x, 0) : width - max(x, 0)]
        pairs = later.shape[0] * later.shape[2] * later.shape[3]
        found.append(torch.einsum("bdhw,behw->de", later, here) / pairs)
    return torch.stack(found)


def _texture_limits(clean: Tensor) -> Tensor:
    shares = torch.arange(1, _TEXTURE, dtype=torch.float64, device=clean.device) / _TEXTURE
    measured = _texture(clean).flatten()
    # torch.quantile refuses more than 16 million numbers.
    ordered = measured.sort().values
    return ordered[(shares * (len(ordered) - 1)).long()]


def _texture(clean: Tensor) -> Tensor:
    """Return the root mean square of z at each position, ``(B, h, w)``."""
    return clean[:, 3:].square().mean(dim=1).sqrt()


def _bins(clean: Tensor, texture: Tensor) -> tuple[Tensor, Tensor]:
    """Return each position's bin of lightness and of texture, ``(B, h, w)`` each."""
    lightness = (clean[:, :3].mean(dim=1) * _LIGHTNESS).long().clamp(0, _LIGHTNESS - 1)
    return lightness, torch.bucketize(_texture(clean), texture)
