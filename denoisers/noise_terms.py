"""How likely the noisy image is if a candidate were the clean one: the data term of a MAP estimate.

A term gives log N(noisy; candidate) a row, up to a constant in the candidate, and lets the gradient
through to the candidate:

    Gaussian              -|noisy - candidate|^2 / (2 sigma^2)
    PoissonGaussian       the same after variance stabilisation, where all noise has deviation 1:
                          t(v) = (2 / g) sqrt(g v + 3/8 g^2 + r^2),  gain g, read noise r
    Density               the exact density of a generator that has one (AWGN, heteroscedastic ...)
    Model                 a trained noise density, e.g. Noise Flow or NLF

Source of the stabilisation: the generalised Anscombe transform, Starck, Murtagh and Bijaoui 1998,
"Image Processing and Data Analysis", section 2.3; in units of white = 1, mean of the read noise 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from generators.base import Likelihood, NoiseContext
from generators.capture import CaptureMetadata
from generators.checks import check_number
from generators.noise_model import NoiseModel

__all__ = ["Density", "Gaussian", "Model", "NoiseTerm", "PoissonGaussian"]


@runtime_checkable
class NoiseTerm(Protocol):
    """The data term of a MAP estimate."""

    def __call__(self, noisy: Tensor, candidate: Tensor) -> Tensor:
        """Return log p(noisy | candidate) up to a constant, ``(B,)`` nats.

        Args:
            noisy: ``(B, C, H, W)``, white level 1.
            candidate: Same shape; the gradient reaches it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Gaussian:
    """White Gaussian noise.

    Args:
        sigma: Standard deviation in white levels, > 0; a number, or one a row, ``(B,)``.

    Raises:
        ValueError: If ``sigma`` is not positive.
    """

    sigma: float | Tensor

    def __post_init__(self) -> None:
        if not bool((torch.as_tensor(self.sigma) > 0).all()):
            raise ValueError(f"sigma must be > 0 white levels; it is {self.sigma}.")

    def __call__(self, noisy: Tensor, candidate: Tensor) -> Tensor:
        """Return the term; see :class:`NoiseTerm`."""
        squared = (noisy - candidate).square().sum(dim=(1, 2, 3))
        variance = torch.as_tensor(self.sigma, dtype=noisy.dtype, device=noisy.device).square()
        return -squared / (2.0 * variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonGaussian:
    """Photon counting and read-out, made white by a transform.

    Args:
        gain: White levels per electron, > 0.
        read_noise: Standard deviation of the read-out in white levels, >= 0.

    Raises:
        ValueError: If a number is out of range.
    """

    gain: float
    read_noise: float = 0.0

    def __post_init__(self) -> None:
        check_number("gain", self.gain, low=0.0, open_low=True)
        check_number("read_noise", self.read_noise, low=0.0)

    def __call__(self, noisy: Tensor, candidate: Tensor) -> Tensor:
        """Return the term; see :class:`NoiseTerm`."""
        difference = self.stabilised(noisy) - self.stabilised(candidate)
        return -0.5 * difference.square().sum(dim=(1, 2, 3))

    def stabilised(self, image: Tensor) -> Tensor:
        """Return the image in units of its noise's deviation.

        Args:
            image: Any shape, white level 1. Values too dark for the root count as the darkest.
        """
        inside = self.gain * image + 0.375 * self.gain**2 + self.read_noise**2
        # Not 0: the root's slope is infinite there, and one pixel would throw the candidate away.
        return (2.0 / self.gain) * inside.clamp_min(0.01 * self.gain**2).sqrt()


@dataclass(frozen=True, slots=True)
class Density:
    """A generator with an exact density, e.g. ``generators.create("awgn", ...)``.

    Args:
        generator: What has ``log_prob``.
        capture: Camera and ISO of the rows; unknown unless given.
    """

    generator: Likelihood
    capture: CaptureMetadata | None = None

    def __call__(self, noisy: Tensor, candidate: Tensor) -> Tensor:
        """Return the term; see :class:`NoiseTerm`."""
        capture = _capture(self.capture, len(noisy))
        context = NoiseContext(clean=candidate, capture=capture)
        return self.generator.log_prob(noisy, context).to(noisy.dtype)


@dataclass(frozen=True, slots=True)
class Model:
    """A trained noise density; in evaluation mode, where rows are independent.

    Args:
        model: Noise Flow, NLF, or another :class:`~generators.noise_model.NoiseModel`.
        capture: Camera and ISO of the rows; unknown unless given.
    """

    model: NoiseModel
    capture: CaptureMetadata | None = None

    def __call__(self, noisy: Tensor, candidate: Tensor) -> Tensor:
        """Return the term; see :class:`NoiseTerm`."""
        capture = _capture(self.capture, len(noisy))
        nll = self.model.nll(noisy - candidate, candidate, capture)
        return -nll * candidate[0].numel()


def _capture(capture: CaptureMetadata | None, rows: int) -> CaptureMetadata:
    """Return the capture metadata of so many rows; one row serves them all."""
    if capture is None:
        return CaptureMetadata.unknown(rows)
    return capture.select([0] * rows) if len(capture) == 1 else capture
