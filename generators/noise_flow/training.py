"""Noise Flow's training task: maximum likelihood of real noise given the clean image.

Camera and ISO enter through each row's capture metadata. In training, batch norms take the
statistics of the batch, as released; measuring and sampling take the running ones.

Two starts: ``fitted`` fits a signal-dependent first layer to the first batch, alone, by maximum
likelihood; ``released`` leaves it as released, at a deviation of 1, where real noise has about 0.01
and a slope and an offset some thousand steps apart. The others start as released either way.

Source: Abdelhamed et al. 2019, "Noise Flow: Noise Modeling with Conditional Normalizing Flows"
(ICCV), section 4; Adam at 1e-4 there, 1e-3 in the released PyTorch training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast, final, get_args

import torch
from torch import Tensor

from generators.base import Domain, NoiseGenerator
from generators.checks import check_choice, check_params
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from generators.noise_flow.sampling import NoiseFlowGenerator
from generators.training import DataUse, NoiseTask, TrainingBatch, TrainingSetup, image

__all__ = ["NoiseFlowTask", "Start"]

Start = Literal["fitted", "released"]
_PARAMS = ("arrangement", "start")


@final
class NoiseFlowTask(NoiseTask):
    """Maximum likelihood of raw noise given clean images: supervised training of a Noise Flow.

    Args:
        module: The network to train.
        start: How its first layer starts.
    """

    uses: ClassVar[DataUse] = "pairs"
    family: ClassVar[str] = "noise-flow"
    domain: Domain = "raw"

    def __init__(self, module: NoiseFlow, *, start: Start = "fitted") -> None:
        self.module: NoiseFlow = module
        self._start = start

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> NoiseFlowTask:
        """Make the task; see :class:`NoiseTask`.

        Args:
            params: ``arrangement``, e.g. ``"nlf|unc|unc"``, and ``start``, ``fitted`` by default.
            setup: Cameras and ISOs of the data become the network's. ``dtype`` is not used: with
                four channels nothing is to be gained from bfloat16.

        Raises:
            ValueError: If a parameter is unknown or wrong, or the images are not packed raw.
        """
        check_params("noise-flow", params, _PARAMS)
        start = check_choice("start", params.get("start", "fitted"), get_args(Start))
        if setup.channels != 4:
            raise ValueError(
                f"noise-flow is trained on packed raw of 4 channels; the data has {setup.channels}."
            )
        config = {
            "cameras": sorted({camera for camera, _ in setup.captures}),
            "isos": sorted({iso for _, iso in setup.captures}),
            "seed": setup.seed,
            **{name: value for name, value in params.items() if name != "start"},
        }
        return cls(NoiseFlow(NoiseFlowConfig.from_dict(config)), start=cast("Start", start))

    @torch.no_grad()
    def initialise(self, batch: TrainingBatch) -> None:
        """Fit the signal-dependent layer to the first batch, alone, unless told not to."""
        if self._start == "released":
            return
        noise, clean = self._noise(batch)
        self.module.warm_start(noise, clean, self.module.labels(batch.capture))

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the mean negative log-likelihood, nats a dimension."""
        noise, clean = self._noise(batch)
        return self.module.nll(noise, clean, batch.capture).mean()

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return ``nll``, nats a dimension, with the running statistics of the norms."""
        return {"nll": super().measure(batch, step)["loss"]}

    def generator(self) -> NoiseGenerator:
        """Return a copy of the network as it stands."""
        copy = NoiseFlow(self.module.config)
        copy.load_state_dict(self.module.state_dict())
        return NoiseFlowGenerator(copy)

    @staticmethod
    def _noise(batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        clean = image(batch, "clean")
        return image(batch, "noisy") - clean, clean
