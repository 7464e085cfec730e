"""What makes FINO's codes mean content and noise.

A pair is a clean image x and its noisy partner y = x + n; ``*_x`` and ``*_y`` are their codes. With
the decoder f of two codes and z_r the noise code of "no noise":

    L_reg    = |f(c_y, z_r) - x|                            the content of y decodes to x
    L_rec    = |(f(c_x, n_y) - x) - n| + |f(c_y, n_x) - x|   codes may be swapped within a pair
    L_cnt    = |c_x - c_y|                                  noise leaves no trace in the content
    L_noise  = ||S / sigma^2 - I||_F^2 / d                  white noise stays white
    L        = L_reg + alpha L_rec + beta L_cnt + gamma L_noise

``|.|`` is the mean absolute value, images have white = 1. ``S`` is the mean outer product of the
patches of the decoded noise ``f(c_x, n_y) - x``: all overlapping p x p squares of all channels,
d = 3 p^2 numbers each. Real noise is not white: L_noise is dropped where sigma is not given.

Source: "FINO: Flow-based Joint Image and Noise Model", eq. 7-14; alpha = beta = 1, gamma = 0.1.

Differs from the paper: L_noise is divided by sigma^4 d. A fourth power of grey values changes
with the unit of the image by 255^4, and the paper states neither that unit nor the size of its
patches; in this form gamma means the same in every unit and for every sigma.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, unfold

from generators.fino.network import Codes, Fino
from generators.flows.recompute import Memory

__all__ = ["LossWeights", "Losses", "correlation_loss", "pair_losses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How the losses are added.

    Args:
        alpha: Of the swapped reconstruction.
        beta: Of the content alignment.
        gamma: Of the noise correlation.
        sigma: Standard deviation of the synthetic white noise, white = 1; ``None`` for real noise.
        patch: Side p of the noise patches.
    """

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.1
    sigma: float | None = None
    patch: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The terms of one batch, scalars, and what was decoded.

    Args:
        regression: L_reg.
        reconstruction: L_rec.
        content: L_cnt.
        correlation: L_noise; 0 for real noise.
        denoised: ``f(c_y, z_r)``.
        transferred: ``f(c_x, n_y)``.
    """

    regression: Tensor
    reconstruction: Tensor
    content: Tensor
    correlation: Tensor
    denoised: Tensor
    transferred: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        """Return L."""
        return (
            self.regression
            + weights.alpha * self.reconstruction
            + weights.beta * self.content
            + weights.gamma * self.correlation
        )


def pair_losses(
    model: Fino,
    *,
    clean: Tensor,
    noisy: Tensor,
    code: Tensor,
    weights: LossWeights,
    memory: Memory = "keep",
) -> Losses:
    """Encode a batch of pairs, swap their codes, and measure every term.

    Args:
        model: The network.
        clean: x, ``(B, 3, H, W)``.
        noisy: y, same shape.
        code: z_r, ``(B, noise_channels, H / 4, W / 4)``.
        weights: sigma and patch are used here, the factors in :meth:`Losses.total`.
        memory: As in :meth:`Fino.encode`.
    """
    both = model.encode(torch.cat([clean, noisy]), memory=memory)
    content_x, content_y = both.content.chunk(2)
    noise_x, noise_y = both.noise.chunk(2)
    contents = torch.cat([content_y, content_x, content_y])
    noises = torch.cat([code, noise_y, noise_x])
    denoised, transferred, cleaned = model.decode(Codes(contents, noises), memory=memory).chunk(3)
    correlation = clean.new_zeros(())
    if weights.sigma is not None and weights.gamma > 0:
        correlation = correlation_loss(
            transferred - clean, sigma=weights.sigma, patch=weights.patch
        )
    return Losses(
        regression=l1_loss(denoised, clean),
        # (transferred - clean) - (noisy - clean): the noise itself cancels out of the difference.
        reconstruction=l1_loss(transferred, noisy) + l1_loss(cleaned, clean),
        content=l1_loss(content_x, content_y),
        correlation=correlation,
        denoised=denoised,
        transferred=transferred,
    )


def correlation_loss(noise: Tensor, *, sigma: float, patch: int) -> Tensor:
    """Measure how far noise is from white noise of a known level.

    Args:
        noise: ``(B, C, H, W)``, zero mean expected.
        sigma: Its standard deviation should be, > 0.
        patch: Side p of the patches; d = C p^2.

    Returns:
        Scalar, ``||S / sigma^2 - I||_F^2 / d``. White noise over N positions gives about d / N,
        which is the error of estimating S.
    """
    columns = unfold(noise / sigma, patch).transpose(0, 1).flatten(1)
    second_moment = columns @ columns.T / columns.shape[1]
    identity = torch.eye(len(columns), dtype=noise.dtype, device=noise.device)
    return (second_moment - identity).square().sum() / len(columns)
