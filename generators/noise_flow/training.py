"""Noise Flow's training task: maximum likelihood of real noise given the clean image.

Camera and ISO enter through the shots of each row. In training, batch norms take the statistics of
the batch, as released; measuring and sampling take the running ones.

Source: Abdelhamed et al. 2019, "Noise Flow: Noise Modeling with Conditional Normalizing Flows"
(ICCV), section 4; Adam at 1e-4 there, 1e-3 in the released PyTorch training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from generators.base import Domain, NoiseGenerator
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from generators.noise_flow.sampling import NoiseFlowGenerator
from generators.training import DataUse, NoiseTask, Part, TrainingBatch, TrainingSetup, image

__all__ = ["NoiseFlowTask"]


@final
class NoiseFlowTask(NoiseTask):
    """Supervised training of a Noise Flow.

    Args:
        module: The network to train.
    """

    uses: ClassVar[DataUse] = "pairs"
    domain: ClassVar[Domain] = "raw"

    def __init__(self, module: NoiseFlow) -> None:
        self.module: NoiseFlow = module

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> NoiseFlowTask:
        """Make the task; ``params`` may give ``arrangement``.

        Raises:
            ValueError: If a parameter is unknown or wrong, or the images are not packed raw.
        """
        if unknown := sorted(set(params) - {"arrangement"}):
            raise ValueError(
                f"noise-flow has no parameter {', '.join(map(repr, unknown))}; it has arrangement."
            )
        if setup.channels != 4:
            raise ValueError(
                f"noise-flow is trained on packed raw of 4 channels; the data has {setup.channels}."
            )
        config = {
            "cameras": sorted({camera for camera, _ in setup.shots}),
            "isos": sorted({iso for _, iso in setup.shots}),
            "seed": setup.seed,
            **params,
        }
        return cls(NoiseFlow(NoiseFlowConfig.from_dict(config)))

    @torch.no_grad()
    def initialise(self, batch: TrainingBatch) -> None:
        """Fit the signal-dependent layer to the first batch, alone."""
        noise, clean = self._noise(batch)
        self.module.warm_start(noise, clean, self.module.labels(batch.shots))

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the mean negative log-likelihood, nats a dimension."""
        noise, clean = self._noise(batch)
        return self.module.nll(noise, clean, batch.shots).mean()

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return ``nll``, nats a dimension, with the running statistics of the norms."""
        was_training = self.module.training
        self.module.eval()
        try:
            return {"nll": float(self.loss(batch, step))}
        finally:
            self.module.train(was_training)

    def parts(self) -> dict[str, Part]:
        """Return the network."""
        config = self.module.config.to_dict()
        return {"": Part(family="noise-flow", config=config, tensors=self.module.state_dict())}

    def generator(self) -> NoiseGenerator:
        """Return a copy of the network as it stands."""
        copy = NoiseFlow(self.module.config)
        copy.load_state_dict(self.module.state_dict())
        return NoiseFlowGenerator(copy)

    @staticmethod
    def _noise(batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        clean = image(batch, "clean")
        return image(batch, "noisy") - clean, clean
