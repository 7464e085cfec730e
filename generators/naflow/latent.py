"""Latent distributions of NAFlow: one class's, a blend of classes, or one fitted to a reference.

Three weightings make a distribution suit a noisy reference, whose latent is z with n positions, D
channels each; ``l_c = log N(z; mu_c, sigma_c^2)`` summed over all of them:

    tempered     w = softmax(l_c / n); means and *standard deviations* averaged (the released code)
    posterior    w = softmax(l_c); means and variances averaged (the paper)
    reference    the posterior's Gaussian, corrected by the reference's own latent (ours)

Why the third. Neither published weighting follows *this* reference: the posterior is one-hot, so it
returns one class's average, and the tempered one averages the classes further. But two photographs
of one camera at one ISO differ in level (exposure, white balance, the camera's own denoiser) and in
correlation, and a latent of n positions measures its own moments. With the posterior's mean m and
deviation s, and a prior worth n0 positions (conjugate normal and inverse-Wishart means):

    m'_k = (n0 m_k + sum_p z_kp) / (n0 + n)                                       mean
    g    = mean over k, p of ((z_kp - m_k) / s_k)^2                               overall level
    v_k  = (n0 g s_k^2 + sum_p (z_kp - m'_k)^2) / (n0 + n)                        each channel
    l_p  = root of the mean over k and 3x3 positions of (z_kp - m'_k)^2 / v_k     each place
    C    = (n0 diag(v) + sum_p r_p r_p^T) / (n0 + n),  r_p = (z_p - m') / l_p     covariance

and new latents are ``m' + l_p C^(1/2) eps_p``: a small reference stays near its class, a large one
speaks for itself.

Source: Kim et al. 2024 (NAFlow), section 4.3 and Algorithm 1; for the third weighting, Gelman et
al., "Bayesian Data Analysis", section 3.6 (multivariate normal with unknown mean and variance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

__all__ = [
    "FollowedGaussian",
    "LatentDistribution",
    "LatentGaussian",
    "Weighting",
    "blend",
    "follow_reference",
    "log_prior",
]

Weighting = Literal["tempered", "posterior", "reference"]


class LatentDistribution(Protocol):
    """Something that turns standard normal numbers ``(B, D, h, w)`` into latents."""

    def draw(self, eps: Tensor) -> Tensor:
        """Return latents of the shape of ``eps``."""
        ...


@dataclass(frozen=True, slots=True)
class LatentGaussian:
    """One diagonal Gaussian a row: mean and standard deviation, each ``(B, D)``."""

    mean: Tensor
    std: Tensor

    def draw(self, eps: Tensor) -> Tensor:
        """Return ``mean + std * eps`` for ``eps`` ``(B, D, h, w)``."""
        return self.mean[:, :, None, None] + self.std[:, :, None, None] * eps


@dataclass(frozen=True, slots=True)
class FollowedGaussian:
    """One Gaussian a row with full channel covariance and a level at each place.

    Args:
        mean: ``(B, D)``.
        factor: ``(B, D, D)`` Cholesky factor of the channel covariance.
        level: ``(B, 1, h, w)`` standard deviation relative to it at each position.
    """

    mean: Tensor
    factor: Tensor
    level: Tensor

    def draw(self, eps: Tensor) -> Tensor:
        """Return latents; places follow the reference where ``eps`` has its height and width."""
        mixed = (self.factor @ eps.flatten(2)).reshape(eps.shape)
        if eps.shape[2:] == self.level.shape[2:]:
            mixed = mixed * self.level
        return self.mean[:, :, None, None] + mixed


def log_prior(z: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    """Return the log-density of each row's latent under each Gaussian.

    Args:
        z: ``(B, D, h, w)``.
        means: ``(K, D)``.
        stds: ``(K, D)``; a sign is allowed.

    Returns:
        ``(B, K)``, in nats, summed over channels and positions.
    """
    positions = z.shape[2] * z.shape[3]
    total, squares = z.sum(dim=(2, 3)), z.square().sum(dim=(2, 3))
    precision = stds.square().reciprocal()
    quadratic = (
        squares @ precision.T
        - 2.0 * total @ (means * precision).T
        + positions * (means.square() * precision).sum(dim=1)
    )
    entropy = stds.square().log().sum(dim=1) + means.shape[1] * math.log(2 * math.pi)
    return -0.5 * (quadratic + positions * entropy)


def blend(
    log_prior: Tensor, means: Tensor, stds: Tensor, *, positions: int, weighting: Weighting
) -> tuple[LatentGaussian, Tensor]:
    """Blend the classes' Gaussians for one reference a row.

    Args:
        log_prior: ``(B, K)`` log-density of each row's reference latent under each class, nats.
        means: ``(K, D)``.
        stds: ``(K, D)``; a sign is allowed.
        positions: Latent positions n of the reference.
        weighting: ``tempered`` averages deviations; the others average variances.

    Returns:
        The blend and the weights ``(B, K)``.
    """
    if weighting == "tempered":
        weights = torch.softmax(log_prior / positions, dim=1)
        return LatentGaussian(weights @ means, weights @ stds), weights
    weights = torch.softmax(log_prior, dim=1)
    return LatentGaussian(weights @ means, (weights @ stds.square()).sqrt()), weights


def follow_reference(prior: LatentGaussian, z: Tensor, *, strength: float) -> FollowedGaussian:
    """Correct a Gaussian by the reference's own latent.

    Args:
        prior: The classes' Gaussian, ``(B, D)``.
        z: ``(B, D, h, w)`` latent of the reference.
        strength: n0, how many positions the classes' Gaussian is worth, > 0.
    """
    positions = z.shape[2] * z.shape[3]
    total = strength + positions
    mean = (strength * prior.mean + z.sum(dim=(2, 3))) / total
    scaled = (z - prior.mean[:, :, None, None]) / prior.std[:, :, None, None]
    overall = scaled.square().mean(dim=(1, 2, 3))[:, None]
    residual = z - mean[:, :, None, None]
    spread = residual.square().sum(dim=(2, 3))
    variance = (strength * overall * prior.std.square() + spread) / total
    energy = (residual.square() / variance[:, :, None, None]).mean(dim=1, keepdim=True)
    level = avg_pool2d(pad(energy, (1, 1, 1, 1), mode="replicate"), 3, stride=1).sqrt()
    rows = (residual / level).flatten(2)
    covariance = (strength * torch.diag_embed(variance) + rows @ rows.transpose(1, 2)) / total
    return FollowedGaussian(mean, torch.linalg.cholesky(covariance), level)
