"""NAFlow's training task: maximum likelihood of noisy images given clean ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from generators.base import Domain, NoiseGenerator
from generators.capture import configuration_name
from generators.checks import check_flag, check_params
from generators.flows.recompute import Memory
from generators.naflow.config import NAFlowConfig
from generators.naflow.network import GREY_LEVELS, NAFlow, nll, perturb
from generators.naflow.sampling import NAFlowGenerator
from generators.seeds import batch_rng
from generators.training import DataUse, NoiseTask, TrainingBatch, TrainingSetup, image

__all__ = ["NAFlowTask"]


class NAFlowTask(NoiseTask):
    """Maximum likelihood of noisy images given clean ones.

    Args:
        module: The network to train.
        seed: Seed of dequantisation and condition noise.
        dtype: Precision of the subnetworks; the flow's path and the density stay float32.
        memory: ``recompute`` rebuilds activations from the inverse: half as long again a step, in
            memory that does not grow with the number of steps of the flow.
    """

    uses: ClassVar[DataUse] = "pairs"
    family: ClassVar[str] = "naflow"
    domain: Domain = "srgb"

    def __init__(
        self,
        module: NAFlow,
        *,
        seed: int,
        dtype: torch.dtype = torch.float32,
        memory: Memory = "keep",
    ) -> None:
        self.module: NAFlow = module
        self._seed, self._dtype = seed, dtype
        self._memory: Memory = memory

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> NAFlowTask:
        """Make the task; ``params`` are the fields of :class:`NAFlowConfig`, and ``recompute``.

        Raises:
            ValueError: If a parameter is unknown or wrong, or the data has one camera and ISO only
                and ``single_prior`` does not say that this is meant: noise-aware sampling compares
                a reference with several.
        """
        names = tuple(configuration_name(camera, iso) for camera, iso in setup.captures)
        own = {field.name for field in fields(NAFlowConfig)} - {"configurations", "seed"}
        check_params("naflow", params, own | {"recompute"})
        recompute = check_flag("recompute", params.get("recompute", False))
        network = {name: value for name, value in params.items() if name != "recompute"}
        if len(names) == 1 and not network.get("single_prior", False):
            ((camera, iso),) = setup.captures
            raise ValueError(
                f"the training data has one camera and ISO only, {camera} at ISO {iso}. naflow "
                "learns one Gaussian for each and samples by comparing a reference with all of "
                "them; with one there is nothing to compare. Add pairs of other cameras or ISOs, "
                "or set single_prior: true for a model of this one."
            )
        config = NAFlowConfig(configurations=names, seed=setup.seed, **network)
        memory: Memory = "recompute" if recompute else "keep"
        return cls(NAFlow(config), seed=setup.seed, dtype=setup.dtype, memory=memory)

    def initialise(self, batch: TrainingBatch) -> None:
        """Set every ActNorm from the batch of step 0."""
        x, clean = image(batch, "noisy"), image(batch, "clean")
        uniform, normal = self._draw(0, x)
        x = x + (uniform - 0.5) / GREY_LEVELS
        if self.module.config.models == "noise":
            x = x - clean
        self.module.initialise(x, perturb(clean, normal, self.module.config.condition_noise))

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the mean negative log-likelihood, nats a dimension."""
        return self._nll(batch, step).mean()

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return ``nll``, nats a dimension."""
        return {"nll": float(self._nll(batch, step).mean())}

    def generator(self) -> NoiseGenerator:
        """Return a copy of the network as it stands, sampling noise-aware."""
        return NAFlowGenerator(self.module)

    def _nll(self, batch: TrainingBatch, step: int) -> Tensor:
        noisy = image(batch, "noisy")
        uniform, normal = self._draw(step, noisy)
        return nll(
            self.module,
            noisy=noisy,
            clean=image(batch, "clean"),
            labels=batch.labels,
            dequantisation=uniform,
            condition_noise=normal,
            dtype=self._dtype,
            memory=self._memory,
        )

    def _draw(self, step: int, like: Tensor) -> tuple[Tensor, Tensor]:
        rng = batch_rng(self._seed, step, "naflow")
        uniform = torch.from_numpy(rng.random(like.shape, dtype="float32"))
        normal = torch.from_numpy(rng.standard_normal(like.shape, dtype="float32"))
        return uniform.to(like.device), normal.to(like.device)
