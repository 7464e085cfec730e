"""A denoiser's training made ready in one process: its share of the data, and the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import denoisers
from pipeline.manifest.models import TrainDenoiserManifest
from pipeline.training.engine.denoiser import DenoiserTask
from pipeline.training.jobs.denoiser_data import (
    DenoisingBatches,
    denoising_batches,
    validation_batches,
)

__all__ = ["PreparedDenoiser", "prepare_denoiser"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDenoiser:
    """A training that could start.

    Args:
        task: What is trained.
        data: On what.
    """

    task: DenoiserTask
    data: DenoisingBatches


def prepare_denoiser(
    manifest: TrainDenoiserManifest, *, share: range, validated: bool, device: torch.device
) -> PreparedDenoiser:
    """Open the data and make the denoiser.

    Args:
        manifest: The training.
        share: Which rows of each batch this process takes.
        validated: Whether this process validates, if the manifest asks for it.
        device: Where the denoiser is trained.

    Raises:
        ValueError: If the data or the parameters are not fit for training.
        FileNotFoundError: If an input does not exist.
    """
    schedule, validation = manifest.schedule, manifest.validation
    data = denoising_batches(manifest, share)
    held_out = None
    if validation is not None and validated:
        held_out = validation_batches(manifest, data)
    try:
        denoiser = denoisers.create(
            manifest.denoiser,
            channels=data.batches.channels,
            seed=manifest.seed,
            **manifest.params,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"params: {error}") from error
    task = DenoiserTask(
        denoiser.to(device),
        data.batches,
        loss=manifest.loss,
        eps=manifest.charbonnier_eps,
        device=device,
        bf16=schedule.bf16,
        domain=data.domain,
        validation=held_out,
        validation_batches=0 if validation is None else validation.batches,
    )
    return PreparedDenoiser(task=task, data=data)
