"""NAFlow's training task: what one step draws, and its loss in nats a dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from generators.naflow.network import GREY_LEVELS, NAFlow, nll, perturb
from generators.seeds import batch_rng

__all__ = ["NAFlowTask", "TrainingBatch"]


class TrainingBatch(Protocol):
    """Clean and noisy images and the index of their configuration."""

    @property
    def clean(self) -> Tensor:
        """``(B, 3, H, W)`` float32 in [0, 1]."""
        ...

    @property
    def noisy(self) -> Tensor:
        """Same shape."""
        ...

    @property
    def labels(self) -> Tensor:
        """``(B,)`` int64."""
        ...


class NAFlowTask:
    """Maximum likelihood of noisy images given clean ones.

    Args:
        module: The network to train.
        batch: Returns the training batch of a step, on the network's device.
        seed: Seed of dequantisation and condition noise.
        dtype: Precision of the subnetworks; the flow's path and the density stay float32.
    """

    def __init__(
        self,
        module: NAFlow,
        batch: Callable[[int], TrainingBatch],
        *,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.module: NAFlow = module
        self._batch, self._seed, self._dtype = batch, seed, dtype

    def initialise(self) -> None:
        """Set every ActNorm from the batch of step 0."""
        batch = self._batch(0)
        x, clean = batch.noisy, batch.clean
        uniform, normal = self._draw(0, x)
        x = x + (uniform - 0.5) / GREY_LEVELS
        if self.module.config.models == "noise":
            x = x - clean
        self.module.initialise(x, perturb(clean, normal, self.module.config.condition_noise))

    def loss(self, step: int) -> Tensor:
        """Return the mean negative log-likelihood of a step, nats a dimension."""
        batch = self._batch(step)
        uniform, normal = self._draw(step, batch.noisy)
        return nll(
            self.module,
            noisy=batch.noisy,
            clean=batch.clean,
            labels=batch.labels,
            dequantisation=uniform,
            condition_noise=normal,
            dtype=self._dtype,
        ).mean()

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Return nothing: sampling quality is measured by the evaluator."""
        return {}

    def _draw(self, step: int, like: Tensor) -> tuple[Tensor, Tensor]:
        rng = batch_rng(self._seed, step, "naflow")
        uniform = torch.from_numpy(rng.random(like.shape, dtype="float32"))
        normal = torch.from_numpy(rng.standard_normal(like.shape, dtype="float32"))
        return uniform.to(like.device), normal.to(like.device)
