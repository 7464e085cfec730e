"""Samples of a Flow-sRGB brought to the mean and deviation of the noise it was trained on.

The flow cannot undo all that a camera does to its noise (:mod:`generators.flow_srgb.network`), so
latents of real noise are not white, and samples drawn from white ones have other moments than the
training noise, whatever the likelihood. For each camera, ISO and channel a training therefore ends
by measuring mean m and deviation s of the training noise, and m', s' of samples on the same clean
images, and weights carry

    factor = s / s',   shift = m - factor m'        noise = factor * sample + shift

The density has no part in it: a corrected sample is no draw from ``log_prob``.

Differs from the paper, which samples as the flow has it: ``moments: flow``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from generators.capture import CaptureMetadata, configuration_name
from generators.flow_srgb.network import FlowSRGB
from generators.seeds import patch_seed, standard_normal
from generators.training import TrainingBatch, image

__all__ = ["corrected", "match_moments", "moment_rows"]

_BATCHES = 24
_FEWEST = 2.0  # samples without which a deviation says nothing


@torch.no_grad()
def match_moments(
    model: FlowSRGB, batches: Callable[[int], TrainingBatch]
) -> tuple[tuple[float, ...], ...]:
    """Measure what brings samples to the moments of the training noise.

    Args:
        model: The trained network; put into evaluation mode and back.
        batches: Training batches by number.

    Returns:
        Three factors and three shifts (R, G, B; white level 1) for each of the configuration's
        ``known``; 1 and 0 for one that no batch holds.
    """
    sums = torch.zeros(
        2, len(model.config.known), 3, 3, dtype=torch.float64
    )  # whose; where; channel; 1, x, x^2
    was_training = model.training
    model.eval()
    for number in range(_BATCHES):
        batch = batches(number)
        noisy, clean = image(batch, "noisy"), image(batch, "clean")
        seeds = [patch_seed(number, "moments", str(row)) for row in range(len(clean))]
        z = standard_normal(seeds, clean.shape[1:], "latent").to(clean.device)
        made, _ = model.decode(z, clean, model.cells(batch.capture))
        places = moment_rows(model, batch.capture)
        for whose, noise in enumerate((noisy - clean, made)):
            flat = noise.double().flatten(2).cpu()
            rows = torch.stack(
                [torch.full(flat.shape[:2], flat.shape[2]), flat.sum(2), flat.square().sum(2)], 2
            ).double()
            sums[whose].index_add_(0, places, rows)
    model.train(was_training)
    count, mean = sums[..., 0].clamp_min(_FEWEST), sums[..., 1] / sums[..., 0].clamp_min(_FEWEST)
    deviation = (sums[..., 2] / count - mean.square()).clamp_min(0).sqrt()
    seen = (sums[0, :, :, 0] > 0) & (deviation[1] > 0)
    factor = torch.where(seen, deviation[0] / deviation[1].clamp_min(1e-12), 1.0)
    shift = torch.where(seen, mean[0] - factor * mean[1], 0.0)
    return tuple(tuple(row) for row in torch.cat([factor, shift], dim=1).tolist())


def moment_rows(model: FlowSRGB, capture: CaptureMetadata) -> Tensor:
    """Return where each row's configuration stands among the known ones, ``(B,)`` int64.

    Raises:
        ValueError: If a row's camera and ISO are not known.
    """
    model.cells(capture)  # refuses what is not known
    known = list(model.config.known)
    names = [
        configuration_name(str(camera), int(iso or 0))
        for camera, iso in zip(capture.camera, capture.iso, strict=True)
    ]
    return torch.tensor([known.index(name) for name in names])


def corrected(noise: Tensor, moments: Tensor) -> Tensor:
    """Apply the correction.

    Args:
        noise: ``(B, 3, H, W)`` samples.
        moments: ``(B, 6)``, the rows' factors and shifts.
    """
    factor, shift = moments[:, :3, None, None], moments[:, 3:, None, None]
    return noise * factor + shift
