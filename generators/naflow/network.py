"""NAFlow: one normalizing flow, one latent Gaussian per camera and ISO.

A noisy image x is mapped to a latent z, given its clean image; the latents of each *configuration*
(camera and ISO) follow their own Gaussian, one mean and one standard deviation a channel, shared by
all positions. To make noise, draw z from one of the Gaussians (or from a blend that suits a noisy
reference, :mod:`generators.naflow.sampling`) and decode it with another clean image.

    log p(x | clean, c) = sum log N(z; mu_c, sigma_c^2) + log|det dz/dx|

The flow has L levels; each squeezes, then mixes channels in ``transitions`` ActNorm + 1x1 steps
and ``coupled`` ActNorm + 1x1 + conditional coupling steps. The latent is
``(B, 3 * 4^L, H/2^L, W/2^L)``.

Source: Kim et al. 2024, "sRGB Real Noise Modeling via Noise-Aware Sampling with Normalizing Flows"
(ICLR), section 4 and Algorithm 1. Tested against conformance vectors of the released network.

Differs from the paper, as the released code does: coupling scales are ``sigmoid(. + 2) + 0.001``
and divide when encoding; the condition carries N(0, (3/255)^2) noise, also when sampling; the
embedding has three 1x1 steps, the first without ActNorm. Differs from the released code: runs of
1x1 steps and the linear condition network are folded into one product each (same result, a third of
the time); the dequantisation constant counts every channel; and ``models="noise"`` encodes
``noisy - clean`` instead of ``noisy``, a unit-determinant change of variables that spares the flow
learning to subtract its own condition (docs/decisions.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from generators.flows.bijection import Bijection
from generators.flows.condition import ConditionNet, draw_weights
from generators.flows.coupling import ConditionalCoupling, Entered
from generators.flows.pointwise import (
    ActNorm,
    AffineMap,
    Invertible1x1,
    Pointwise,
    PointwiseRun,
    fold,
    fold_inverse,
)
from generators.flows.recompute import Memory, run_chain
from generators.naflow.config import NAFlowConfig
from generators.naflow.latent import log_prior

__all__ = [
    "ConditionNet",
    "Maps",
    "NAFlow",
    "NAFlowConfig",
    "Prepared",
    "nll",
    "perturb",
]

GREY_LEVELS = 256


class CoupledStep(nn.Module):
    """ActNorm, invertible 1x1 convolution and conditional coupling."""

    def __init__(self, channels: int, condition: int, hidden: int, *, seed: int) -> None:
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.mix = Invertible1x1(channels, seed=seed)
        self.coupling = ConditionalCoupling(channels, condition, hidden, seed=seed)


class Level(nn.Module):
    """One level behind its squeeze: transitions, then coupled steps."""

    def __init__(self, channels: int, config: NAFlowConfig, *, seed: int) -> None:
        super().__init__()
        transitions = nn.ModuleList()
        for step in range(config.transitions):
            transitions.extend([ActNorm(channels), Invertible1x1(channels, seed=seed + step)])
        self.transitions = cast("Sequence[Pointwise]", transitions)
        steps = nn.ModuleList(
            CoupledStep(
                channels, config.condition_channels, config.hidden, seed=seed + 100 * (step + 1)
            )
            for step in range(config.coupled)
        )
        self.steps = cast("Sequence[CoupledStep]", steps)

    def runs(self) -> list[list[Pointwise]]:
        """Return the pointwise layers in front of each coupling."""
        heads: list[list[Pointwise]] = [[step.actnorm, step.mix] for step in self.steps]
        heads[0] = [*self.transitions, *heads[0]]
        return heads

    def chain(self) -> list[Bijection]:
        """Return the level as a chain of bijections, each of which reads the condition image."""
        steps = zip(self.runs(), self.steps, strict=True)
        return [layer for run, step in steps for layer in (PointwiseRun(run), step.coupling)]

    def enter(self, condition: Tensor) -> list[Entered]:
        """Take the level's condition into all its couplings with one convolution."""
        couplings = [step.coupling for step in self.steps]
        weights, biases = zip(*(coupling.enter_weights() for coupling in couplings), strict=True)
        weight, bias = torch.cat(weights).to(condition), torch.cat(biases).to(condition)
        entered = nn.functional.conv2d(condition, weight[:, :, None, None], bias)
        parts = entered.chunk(len(couplings), dim=1)
        return [c.prepare(part) for c, part in zip(couplings, parts, strict=True)]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The clean image taken into every coupling; valid for encoding and decoding any latent."""

    clean: Tensor
    levels: list[list[Entered]]


@dataclass(frozen=True, slots=True)
class Maps:
    """The folded pointwise layers, one map in front of each coupling."""

    embedding: AffineMap
    levels: list[list[AffineMap]]


class NAFlow(nn.Module):
    """The network: condition, flow and latent Gaussians.

    Args:
        config: Its arrangement.
    """

    def __init__(self, config: NAFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.condition = ConditionNet(config.condition_channels, config.levels, seed=config.seed)
        embedding = nn.ModuleList([Invertible1x1(3, seed=config.seed)])
        for step in range(1, config.embedding):
            embedding.extend([ActNorm(3), Invertible1x1(3, seed=config.seed + step)])
        self.embedding = cast("Sequence[Pointwise]", embedding)
        levels = nn.ModuleList(
            Level(3 * 4 ** (level + 1), config, seed=config.seed + 1000 * (level + 1))
            for level in range(config.levels)
        )
        self.levels = cast("Sequence[Level]", levels)
        gaussians = 1 if config.single_prior else len(config.configurations)
        shape = (gaussians, config.latent_channels)
        self.prior_mean = nn.Parameter(torch.full(shape, 1e-6))
        # A standard deviation whose sign is free, as released: its square enters the likelihood.
        self.prior_std = nn.Parameter(torch.ones(shape))
        self.prior_mean.requires_grad_(config.trainable_mean)
        self.prior_std.requires_grad_(config.trainable_std)
        # Registered in the released network and used by nothing; kept so that its checkpoints and
        # parameter counts agree.
        self.unused_identity = nn.Parameter(torch.eye(config.latent_channels), requires_grad=False)
        self.unused_conv = nn.Conv2d(config.hidden, 2 * config.latent_channels, 1)
        draw_weights(self.unused_conv, seed=config.seed, stream="unused")
        self.unused_conv.requires_grad_(False)

    def prepare(self, clean: Tensor, *, dtype: torch.dtype = torch.float32) -> Prepared:
        """Take a clean image into every coupling.

        Args:
            clean: ``(B, 3, H, W)`` float32 in [0, 1], condition noise already added.
            dtype: Precision of the networks; the flow's own path stays float32.
        """
        self.config.check_image(clean)
        features = self.condition(clean.contiguous(memory_format=torch.channels_last))
        levels = zip(self.levels, features, strict=True)
        return Prepared(clean, [level.enter(f.to(dtype)) for level, f in levels])

    def encoder_maps(self) -> Maps:
        """Fold every run of pointwise layers, data to latent; once a training step is cheap."""
        return Maps(
            fold(self.embedding),
            [[fold(run) for run in level.runs()] for level in self.levels],
        )

    def decoder_maps(self) -> Maps:
        """Fold every run of pointwise layers, latent to data; compute once, then decode often."""
        return Maps(
            fold_inverse(self.embedding),
            [[fold_inverse(run) for run in level.runs()] for level in self.levels],
        )

    def encode(self, x: Tensor, prepared: Prepared, maps: Maps) -> tuple[Tensor, Tensor]:
        """Map images to latents.

        Args:
            x: ``(B, 3, H, W)`` noisy images, or noise where ``models`` is ``"noise"``.
            prepared: Their clean images.
            maps: From :meth:`encoder_maps`.

        Returns:
            ``(B, D, H / 2^L, W / 2^L)`` and log|det dz/dx|, ``(B,)``, in nats.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        x, ladj = maps.embedding(x), maps.embedding.ladj * (x.shape[2] * x.shape[3])
        for level, mixes, entered in zip(self.levels, maps.levels, prepared.levels, strict=True):
            x = pixel_unshuffle(x, 2)
            for mix, step, ready in zip(mixes, level.steps, entered, strict=True):
                x, step_ladj = step.coupling.encode(mix(x), ready)
                ladj = ladj + step_ladj + mix.ladj * (x.shape[2] * x.shape[3])
        return x, ladj

    def encode_recomputing(
        self, x: Tensor, clean: Tensor, *, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """Map images to latents, keeping no activations but each level's last.

        Training rebuilds the others from the inverse (:mod:`generators.flows.recompute`): memory
        does not grow with ``coupled``, and a step takes about 1.6 times as long.

        Args:
            x: As :meth:`encode` takes it.
            clean: As :meth:`prepare` takes it.
            dtype: Likewise.

        Returns:
            What :meth:`encode` returns, but for rounding.
        """
        self.config.check_image(clean)
        features = self.condition(clean.contiguous(memory_format=torch.channels_last))
        x = x.contiguous(memory_format=torch.channels_last)
        x, ladj = PointwiseRun(self.embedding)(x, x)
        for level, condition in zip(self.levels, features, strict=True):
            x = pixel_unshuffle(x, 2)
            x, level_ladj = run_chain(level.chain(), x, condition.to(dtype), memory="recompute")
            ladj = ladj + level_ladj
        return x, ladj

    def decode(self, z: Tensor, prepared: Prepared, maps: Maps) -> tuple[Tensor, Tensor]:
        """Map latents to images; the inverse of :meth:`encode`.

        Args:
            z: ``(B, D, H / 2^L, W / 2^L)``.
            prepared: The clean images to decode onto.
            maps: From :meth:`decoder_maps`.

        Returns:
            ``(B, 3, H, W)`` as :meth:`encode` takes it, and log|det dx/dz|, ``(B,)``, in nats.
        """
        ladj = z.new_zeros(z.shape[0])
        x = z.contiguous(memory_format=torch.channels_last)
        levels = list(zip(self.levels, maps.levels, prepared.levels, strict=True))
        for level, mixes, entered in reversed(levels):
            for mix, step, ready in reversed(list(zip(mixes, level.steps, entered, strict=True))):
                x, step_ladj = step.coupling.decode(x, ready)
                x = mix(x)
                ladj = ladj + step_ladj + mix.ladj * (x.shape[2] * x.shape[3])
            x = pixel_shuffle(x, 2)
        return maps.embedding(x), ladj + maps.embedding.ladj * (x.shape[2] * x.shape[3])

    def log_prior(self, z: Tensor) -> Tensor:
        """Return the log-density of each row's latent under each Gaussian.

        Args:
            z: ``(B, D, h, w)``.

        Returns:
            ``(B, K)``, in nats, summed over channels and positions.
        """
        return log_prior(z, self.prior_mean, self.prior_std)

    @torch.no_grad()
    def initialise(self, x: Tensor, clean: Tensor) -> None:
        """Set every ActNorm from the first training batch, layer by layer.

        Args:
            x: ``(B, 3, H, W)`` as :meth:`encode` takes it.
            clean: The batch's condition images.
        """
        features = self.condition(clean)
        x = _initialise_run(self.embedding, x)
        for level, condition in zip(self.levels, features, strict=True):
            x = pixel_unshuffle(x, 2)
            for run, step in zip(level.runs(), level.steps, strict=True):
                x = step.coupling.initialise(_initialise_run(run, x), condition)


def nll(
    model: NAFlow,
    *,
    noisy: Tensor,
    clean: Tensor,
    labels: Tensor,
    dequantisation: Tensor,
    condition_noise: Tensor,
    dtype: torch.dtype = torch.float32,
    memory: Memory = "keep",
) -> Tensor:
    """Return NAFlow's objective, the negative log-likelihood a dimension.

    Args:
        model: The network.
        noisy: ``(B, 3, H, W)`` 8-bit values / 255.
        clean: ``(B, 3, H, W)`` in [0, 1].
        labels: ``(B,)`` int64 index of each row's configuration.
        dequantisation: ``(B, 3, H, W)`` uniform on [0, 1).
        condition_noise: ``(B, 3, H, W)`` standard normal.
        dtype: Precision of the subnetworks.
        memory: ``recompute`` rebuilds activations in the backward pass instead of keeping them.

    Returns:
        ``(B,)``, nats a dimension of the 8-bit image (a uniform guess costs ln 256 = 5.55).
    """
    dimensions = noisy[0].numel()
    condition = perturb(clean, condition_noise, model.config.condition_noise)
    x = noisy + (dequantisation - 0.5) / GREY_LEVELS
    if model.config.models == "noise":
        x = x - clean
    if memory == "recompute":
        z, ladj = model.encode_recomputing(x, condition, dtype=dtype)
    else:
        z, ladj = model.encode(x, model.prepare(condition, dtype=dtype), model.encoder_maps())
    rows = torch.zeros_like(labels) if model.config.single_prior else labels
    likelihood = model.log_prior(z).gather(1, rows[:, None])[:, 0]
    return math.log(GREY_LEVELS) - (likelihood + ladj) / dimensions


def perturb(clean: Tensor, normal: Tensor, grey_levels: float) -> Tensor:
    """Add the condition noise to a clean image and clip it to [0, 1], as training does."""
    return (clean + normal * (grey_levels / 255.0)).clamp(0.0, 1.0)


def _initialise_run(run: Sequence[Pointwise], x: Tensor) -> Tensor:
    for layer in run:
        if isinstance(layer, ActNorm):
            layer.initialise(x)
        x = layer(x, x)[0]
    return x
