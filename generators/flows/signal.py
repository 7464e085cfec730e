"""Layers that know the sensor: noise whose variance follows the signal, and one gain for all.

A signal-dependent layer divides the noise by its expected standard deviation at each pixel,

    z = noise / s,   s = sqrt(slope * clean + offset),   log|det| = -sum ln s

with one slope and offset a row, from the row's camera and ISO. Two ways to hold them:

:class:`SignalDependentScale`, Noise Flow's, has factors of the camera k and the ISO m:

    psi_j  = exp(camera_table[j, k])                     j = 0, 1, 2
    gain   = exp(iso_table[m] * psi_2) * ISO
    slope  = exp(beta1 * psi_0) / gain,    offset = exp(beta2 * psi_1)

The offset does not depend on the ISO: at most one ISO of a camera has its read noise right.
:class:`CellScale` (ours) gives each camera and ISO numbers of its own around two trends:

    ln slope  = camera[0, k] + iso[0, m] + cell[0, k, m],   ln offset likewise with 1 for 0

Tables are float64, as in the released weights: exp of exp makes a rounding of 1e-7 one of 1e-5.

Source: Abdelhamed et al. 2019, "Noise Flow", section 4.1-4.2; the factors as released with
Noise2NoiseFlow. Differs from the released code: every row has its own camera and ISO there, where
the first row's stood for all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from generators.flows.bijection import Bijection

__all__ = ["CellScale", "Gain", "Labels", "SignalDependentScale", "SignalScale"]

# Of the root of the brightness, along which photon noise is even.
_BINS = 64
# A hundredth of a step of 10 bits, squared: noise without an offset would drive it to exp(-inf).
_LEAST_VARIANCE = 1e-10
_FIT_STEPS, _FIT_RATE, _FIT_ITERATIONS = 100, 0.05, 200


@dataclass(frozen=True, slots=True)
class Labels:
    """Camera and ISO of the B rows as indices of a model's lists.

    Args:
        camera: ``(B,)`` int64.
        iso: ``(B,)`` int64.
    """

    camera: Tensor
    iso: Tensor

    def select(self, rows: Sequence[int]) -> Labels:
        """Return the given rows, in the given order."""
        chosen = torch.tensor(rows, device=self.camera.device)
        return Labels(self.camera[chosen], self.iso[chosen])


class SignalScale(nn.Module, ABC):
    """Division by the expected noise at each pixel.

    Not a plain :class:`~generators.flows.bijection.Bijection`: it needs the rows' labels too.
    """

    @abstractmethod
    def levels(self, labels: Labels) -> tuple[Tensor, Tensor]:
        """Return slope and offset of the variance, ``(B,)`` float64 each, both > 0."""

    @abstractmethod
    def start_at(self, slope: float, offset: float, labels: Labels) -> None:
        """Set all levels: about these for the rows' mean speed, and rising with the speed."""

    def fit(self, x: Tensor, clean: Tensor, labels: Labels) -> None:
        """Fit the levels to some noise by maximum likelihood of independent normal numbers.

        Args:
            x: ``(B, C, H, W)`` noise.
            clean: Same shape, in [0, 1].
            labels: Of the B rows; cameras and speeds that they do not show get the trend.
        """
        # Half the variance from either term: from far off, a descent sets one of them to zero.
        half = 0.5 * max(float(x.double().square().mean()), _LEAST_VARIANCE)
        lit = max(float(clean.double().mean()), 1e-3)
        with torch.no_grad():
            self.start_at(half / lit, half, labels)
        with torch.enable_grad():
            # The likelihood needs a few sums for each row and brightness, not the pixels.
            place = (clean.sqrt() * (_BINS - 1)).long().flatten(1)
            place = place + _BINS * torch.arange(len(x), device=x.device)[:, None]
            sums = [
                torch.bincount(place.flatten(), weights.double().flatten(), _BINS * len(x))
                for weights in (torch.ones_like(x), clean, x.square())
            ]
            count, signal, square = (each.view(len(x), _BINS) for each in sums)
            square = square + _LEAST_VARIANCE * count
            some = count.clamp_min(1.0)
            adam = torch.optim.Adam(self.parameters(), lr=_FIT_RATE)
            newton = torch.optim.LBFGS(
                self.parameters(),
                max_iter=_FIT_ITERATIONS,
                tolerance_grad=1e-9,
                tolerance_change=1e-12,
                line_search_fn="strong_wolfe",
            )

            def loss() -> Tensor:
                slope, offset = (level[:, None] for level in self.levels(labels))
                variance = slope * signal / some + offset
                total = (count * (variance.log() + square / some / variance)).sum() / count.sum()
                adam.zero_grad()
                torch.autograd.backward(total)
                return total

            # Near the maximum slope and offset trade off along a flat valley, where Adam takes
            # thousands of steps; far from it a step of Newton's kind leaves one of them at zero.
            for _ in range(_FIT_STEPS):
                loss()
                adam.step()
            kept, reached = [p.detach().clone() for p in self.parameters()], float(loss().detach())
            newton.step(loss)  # type: ignore[no-untyped-call]
            found = float(loss().detach())
            if not found <= reached:  # a line search may end beyond what exp can hold: not a number
                with torch.no_grad():
                    for parameter, before in zip(self.parameters(), kept, strict=True):
                        parameter.copy_(before)
            adam.zero_grad()

    def std(self, clean: Tensor, labels: Labels) -> Tensor:
        """Return s, of the shape of ``clean``, which must be >= 0."""
        slope, offset = (level.to(clean.dtype) for level in self.levels(labels))
        return (slope[:, None, None, None] * clean + offset[:, None, None, None]).sqrt()

    def forward(self, x: Tensor, clean: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Args:
            x: ``(B, C, H, W)`` noise.
            clean: Same shape, >= 0.
            labels: Of the B rows.

        Returns:
            The latent and log|det dz/dx|, shape ``(B,)``, in nats.
        """
        s = self.std(clean, labels)
        return x / s, -s.log().sum(dim=(1, 2, 3))

    def inverse(self, z: Tensor, clean: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        """Map latent to data; returns the data and log|det dx/dz|, shape ``(B,)``, in nats."""
        s = self.std(clean, labels)
        return z * s, s.log().sum(dim=(1, 2, 3))


class SignalDependentScale(SignalScale):
    """Slope and offset as Noise Flow has them, from factors of camera and ISO.

    Args:
        cameras: Number of cameras.
        isos: The ISO speeds, in the order of the labels.
    """

    speeds: Tensor

    def __init__(self, cameras: int, isos: Sequence[int]) -> None:
        super().__init__()
        self.camera_table = nn.Parameter(torch.ones(3, cameras, dtype=torch.float64))
        self.iso_table = nn.Parameter(torch.full((len(isos),), -5.0, dtype=torch.float64))
        self.beta1 = nn.Parameter(torch.tensor(-5.0))
        self.beta2 = nn.Parameter(torch.tensor(0.0))
        speeds = torch.tensor(list(isos), dtype=torch.float64)
        self.register_buffer("speeds", speeds, persistent=False)

    def levels(self, labels: Labels) -> tuple[Tensor, Tensor]:
        """Return slope and offset; see :class:`SignalScale`."""
        # One matrix product picks the rows' columns: its gradient adds up in a fixed order, which
        # that of an index on a GPU does not.
        camera = one_hot(labels.camera, self.camera_table.shape[1]).to(self.camera_table)
        psi = (camera @ self.camera_table.T).double().exp()
        iso = one_hot(labels.iso, len(self.iso_table)).to(self.iso_table)
        log_gain = (iso @ self.iso_table).double() * psi[:, 2] + self.speeds[labels.iso].log()
        slope = torch.exp(self.beta1.double() * psi[:, 0] - log_gain)
        return slope, torch.exp(self.beta2.double() * psi[:, 1])

    def start_at(self, slope: float, offset: float, labels: Labels) -> None:
        """Set all levels; see :class:`SignalScale`. The offset is one for all speeds."""
        psi = self.camera_table.mean(dim=1).exp()
        slopes = math.log(slope) + _relative(self.speeds, labels)
        self.iso_table.copy_((self.beta1 * psi[0] - slopes - self.speeds.log()) / psi[2])
        self.beta2.fill_(math.log(offset) / float(psi[1]))


class CellScale(SignalScale):
    """Slope and offset free for each camera and ISO.

    A pair that no training row has shown keeps the trends of its camera and of its ISO. It starts
    from a slope of 1e-3 and an offset of 1e-5 at ISO 800 that grow with the speed and its square,
    as those of a sensor do.

    Args:
        cameras: Number of cameras.
        isos: The ISO speeds, in the order of the labels.
    """

    speeds: Tensor

    def __init__(self, cameras: int, isos: Sequence[int]) -> None:
        super().__init__()
        speeds = torch.tensor(list(isos), dtype=torch.float64)
        self.register_buffer("speeds", speeds, persistent=False)
        trend = (speeds / 800.0).log()
        start = torch.stack(
            [trend + torch.tensor(1e-3).log(), 2 * trend + torch.tensor(1e-5).log()]
        )
        self.iso = nn.Parameter(start)
        self.camera = nn.Parameter(torch.zeros(2, cameras, dtype=torch.float64))
        self.cell = nn.Parameter(torch.zeros(2, cameras * len(isos), dtype=torch.float64))

    def levels(self, labels: Labels) -> tuple[Tensor, Tensor]:
        """Return slope and offset; see :class:`SignalScale`."""
        cameras, isos = self.camera.shape[1], self.iso.shape[1]
        cells = labels.camera * isos + labels.iso
        logs = one_hot(labels.camera, cameras).to(self.camera) @ self.camera.T
        logs = logs + one_hot(labels.iso, isos).to(self.iso) @ self.iso.T
        logs = logs + one_hot(cells, cameras * isos).to(self.cell) @ self.cell.T
        slope, offset = logs.double().exp().unbind(dim=1)
        return slope, offset

    def start_at(self, slope: float, offset: float, labels: Labels) -> None:
        """Set all levels; see :class:`SignalScale`."""
        relative = _relative(self.speeds, labels)
        self.camera.zero_()
        self.cell.zero_()
        self.iso[0] = math.log(slope) + relative
        self.iso[1] = math.log(offset) + 2 * relative


class Gain(Bijection):
    """One factor for everything, ``z = x / exp(log_scale)``.

    Kept as its logarithm (the released code keeps the factor), so that it cannot reach zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; see :class:`Bijection`."""
        return x * torch.exp(-self.log_scale), self._ladj(x, -1)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; see :class:`Bijection`."""
        return z * torch.exp(self.log_scale), self._ladj(z, 1)

    def _ladj(self, x: Tensor, sign: int) -> Tensor:
        return (sign * x[0].numel() * self.log_scale).expand(len(x))


def _relative(speeds: Tensor, labels: Labels) -> Tensor:
    """Return the logarithm of each speed over the rows' mean one."""
    logs = speeds.log()
    return logs - logs[labels.iso].mean()
