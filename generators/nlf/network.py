"""A noise level function with one trainable pair (beta1, beta2) for each camera and ISO.

Notation: x is a clean value with white at 1, e the noise, K the number of configurations.

    e ~ Normal(0, v),   v = beta1 * max(x, 0) + beta2

    NLL a dimension = mean of (ln(2 pi v) + e^2 / v) / 2

The parameters are a tenth of ln beta1 and of ln beta2, ``(K,)`` each. So they stay positive, a step
changes them by a share, which suits numbers between 1e-7 and 1e-2, and at the learning rates of the
networks that train beside them (1e-3, 1e-4) by up to a hundredth a step, not a thousandth.

``distribution`` says which noise of this variance samples and their density have: normal numbers,
or photons counted with a gain of beta1 and read out with a standard deviation of sqrt(beta2). Both
have the same first two moments, so the normal likelihood above measures beta1 and beta2 of either.

Sources: Foi et al. 2008, "Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data", IEEE TIP 17(10), eq. 1-4; Abdelhamed et al. 2019, "Noise Flow", ICCV, eq. 3 (the camera
noise level function).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from generators import exact
from generators.base import Domain
from generators.capture import CaptureMetadata, configuration_row
from generators.checks import check_choice
from generators.densities import normal_log_density, poisson_gaussian_log_density
from generators.nlf.calibration import NoiseLevel

__all__ = ["NLF", "Distribution", "NLFConfig"]

Distribution = Literal["gaussian", "poisson-gaussian"]

_START = NoiseLevel(1e-3, 1e-4)
_PACE = 10.0  # ln beta a unit of the parameters
_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
class NLFConfig:
    """What a table of noise levels is about.

    Args:
        configurations: Names ``camera_ISO`` (five digits), one pair of numbers each.
        domain: Of the images, ``raw`` or ``srgb``.
        distribution: ``gaussian`` or ``poisson-gaussian``.

    Raises:
        ValueError: If there is no configuration or one is named twice, or a word is unknown.
    """

    configurations: tuple[str, ...]
    domain: Domain = "raw"
    distribution: Distribution = "gaussian"

    def __post_init__(self) -> None:
        if not self.configurations:
            raise ValueError("a noise level function needs at least one camera and ISO.")
        if len(set(self.configurations)) != len(self.configurations):
            raise ValueError(f"configurations holds a name twice: {list(self.configurations)}.")
        check_choice("domain", self.domain, get_args(Domain))
        check_choice("distribution", self.distribution, get_args(Distribution))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NLFConfig:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**values, "configurations": tuple(values["configurations"])})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "configurations": list(self.configurations)}


class NLF(nn.Module):
    """A density of noise with a variance linear in the signal; a :class:`NoiseModel`.

    Args:
        config: Cameras and ISOs, domain, distribution.

    Example:
        >>> model = NLF(NLFConfig(configurations=("phone_00800",)))
        >>> model.set_levels({"phone_00800": NoiseLevel(3e-3, 4e-5)})
        >>> round(model.levels()["phone_00800"].beta1, 6)
        0.003
    """

    def __init__(self, config: NLFConfig) -> None:
        super().__init__()
        self.config = config
        count = len(config.configurations)
        self.beta1 = nn.Parameter(torch.full((count,), math.log(_START.beta1) / _PACE))
        self.beta2 = nn.Parameter(torch.full((count,), math.log(_START.beta2) / _PACE))

    def levels(self) -> dict[str, NoiseLevel]:
        """Return beta1 and beta2 of each configuration."""
        stored = torch.stack([self.beta1, self.beta2]).detach().cpu().double()
        pairs = exact.exp(_PACE * stored).T.tolist()
        return {
            name: NoiseLevel(*pair)
            for name, pair in zip(self.config.configurations, pairs, strict=True)
        }

    @torch.no_grad()
    def set_levels(self, levels: Mapping[str, NoiseLevel]) -> None:
        """Set beta1 and beta2 of some configurations; both > 0.

        Raises:
            ValueError: If a name is unknown or a number not positive.
        """
        known = {name: row for row, name in enumerate(self.config.configurations)}
        for name, level in levels.items():
            if name not in known:
                raise ValueError(
                    f"there is no configuration {name!r}; there are {', '.join(known)}."
                )
            if not min(level) > 0:
                raise ValueError(f"beta1 and beta2 of {name} must be > 0; they are {tuple(level)}.")
            self.beta1[known[name]] = math.log(level.beta1) / _PACE
            self.beta2[known[name]] = math.log(level.beta2) / _PACE

    def rows(self, capture: CaptureMetadata) -> Tensor:
        """Return the index of each row's configuration, ``(B,)`` int64.

        Raises:
            ValueError: If a camera and ISO is unknown; the message names what is known.
        """
        known = self.config.configurations
        who, remedy = "the noise level function", "calibrate that camera"
        rows = [
            configuration_row(camera, iso, known, who=who, remedy=remedy)
            for camera, iso in zip(capture.camera, capture.iso, strict=True)
        ]
        return torch.tensor(rows, device=self.beta1.device)

    def variance(self, clean: Tensor, capture: CaptureMetadata) -> Tensor:
        """Return the variance of the noise at each value of ``clean``, same shape.

        Raises:
            ValueError: If a row's camera and ISO is unknown.
        """
        rows = self.rows(capture)
        beta1, beta2 = (
            (_PACE * stored[rows]).exp()[:, None, None, None] for stored in (self.beta1, self.beta2)
        )
        return beta1 * clean.clamp_min(0.0) + beta2

    def nll(self, noise: Tensor, clean: Tensor, capture: CaptureMetadata) -> Tensor:
        """Return each row's negative log-likelihood under normal noise of this variance.

        Args:
            noise: ``(B, C, H, W)``, noisy minus clean.
            clean: Same shape; the condition. Values outside [0, 1] are clipped.
            capture: Camera and ISO of the B rows.

        Returns:
            ``(B,)``, nats a dimension; differentiable in both images.

        Raises:
            ValueError: If a row's camera and ISO is unknown.
        """
        v = self.variance(clean.clamp(0.0, 1.0), capture)
        return 0.5 * (v.log() + noise.square() / v + _LOG_2PI).flatten(1).mean(1)

    @torch.no_grad()
    def log_prob(self, noisy: Tensor, clean: Tensor, capture: CaptureMetadata) -> Tensor:
        """Return the log density of each row under the configured distribution.

        Args:
            noisy: ``(B, C, H, W)``.
            clean: Same shape; >= 0 where photons are counted.
            capture: Camera and ISO of the B rows.

        Returns:
            ``(B,)`` nats, float64.

        Raises:
            ValueError: If a row's camera and ISO is unknown.
        """
        if self.config.distribution == "gaussian":
            variance = self._double_variance(clean, capture)
            return normal_log_density(noisy.double() - clean.double(), variance)
        rows = self.rows(capture)
        found = torch.empty(len(rows), dtype=torch.float64, device=noisy.device)
        levels = list(self.levels().values())
        for row in sorted(set(rows.tolist())):
            mine = rows == row
            beta1, beta2 = levels[row]
            found[mine] = poisson_gaussian_log_density(
                noisy[mine], clean[mine], gain=beta1, read_noise=math.sqrt(beta2)
            )
        return found

    def _double_variance(self, clean: Tensor, capture: CaptureMetadata) -> Tensor:
        """Return :meth:`variance` in float64, without gradient."""
        pairs = torch.tensor(self.levels_of(capture), dtype=torch.float64, device=clean.device)
        beta1, beta2 = (column[:, None, None, None] for column in pairs.unbind(1))
        return beta1 * clean.detach().double().clamp_min(0.0) + beta2

    def levels_of(self, capture: CaptureMetadata) -> list[NoiseLevel]:
        """Return beta1 and beta2 of each row.

        Raises:
            ValueError: If a row's camera and ISO is unknown.
        """
        levels = list(self.levels().values())
        return [levels[int(row)] for row in self.rows(capture)]
