"""Flow-sRGB's training task: dequantised noise and its likelihood.

Stored images are whole grey levels, and a density of whole numbers can grow without bound. So each
step spreads them over their level, uniformly, and takes the noise of that:

    noisy  n + (u - 1/2) / 255      u uniform on [0, 1)
    both   the clean image as well, with an own u: the noise then carries 1/12 of a squared grey
           level of the clean image's, as in the released code

Either way the noise keeps its mean. Sampling returns the noise as the density has it; when 8-bit
storage rounds it, ``noisy`` gives back the real noise's variance, and ``both`` 1/4 of a squared
grey level more (the released code, which rounds down what it has dequantised, 1/3).

In training mode the norms use the batch's statistics, when measuring and sampling the running ones;
measuring those once more at the end, with the averaged weights, changed the density by less than
0.001 nats a dimension on PolyU, so it is not done.

Source: Kousha et al. 2022, "Modeling sRGB Camera Noise with Normalizing Flows", section 4;
dequantisation as released.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from generators.base import Domain
from generators.capture import configuration_name
from generators.checks import check_params
from generators.flow_srgb.calibration import match_moments
from generators.flow_srgb.network import GREY_NATS, PUBLISHED, FlowSRGB, FlowSRGBConfig
from generators.flow_srgb.sampling import FlowSRGBGenerator
from generators.seeds import batch_rng
from generators.training import DataUse, NoiseTask, TrainingBatch, TrainingSetup, image

__all__ = ["FlowSRGBTask", "dequantised"]

_PARAMS = ("arrangement", "dequantisation")


@final
class FlowSRGBTask(NoiseTask):
    """Maximum likelihood of sRGB noise given the clean image, camera and ISO.

    Args:
        module: The network.
        seed: Seed of the dequantisation.
    """

    uses: ClassVar[DataUse] = "pairs"
    family: ClassVar[str] = "flow-srgb"
    domain: Domain = "srgb"

    def __init__(self, module: FlowSRGB, *, seed: int) -> None:
        self.module: FlowSRGB = module
        self._seed = seed

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> FlowSRGBTask:
        """Make the task; see :class:`NoiseTask`.

        Args:
            params: ``arrangement``, e.g. ``"CL2|CAC|CAC"``, and ``dequantisation``, ``noisy`` by
                default.
            setup: Cameras and ISOs of the data become the network's. ``dtype`` is not used: with
                four channels nothing is to be gained from bfloat16.

        Raises:
            ValueError: If a parameter is unknown or wrong, or the images have no three channels.
        """
        check_params("flow-srgb", params, _PARAMS)
        if setup.channels != 3:
            raise ValueError(
                f"flow-srgb models sRGB noise of 3 channels; the data has {setup.channels}. Use "
                "'noise-flow' for raw images."
            )
        config = {
            "arrangement": "|".join(PUBLISHED),
            "dequantisation": "noisy",
            **params,
            "cameras": sorted({camera for camera, _ in setup.captures}),
            "isos": sorted({iso for _, iso in setup.captures}),
            "configurations": [configuration_name(*capture) for capture in setup.captures],
            "seed": setup.seed,
        }
        return cls(FlowSRGB(FlowSRGBConfig.from_dict(config)), seed=setup.seed)

    @torch.no_grad()
    def initialise(self, batch: TrainingBatch) -> None:
        """Set the linear layers from the batch of step 0."""
        noise, clean = self._draw(batch, 0)
        self.module.initialise(noise, clean, self.module.cells(batch.capture))

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the mean negative log-likelihood, nats a dimension, white level 1.

        Raises:
            ValueError: If the batch has one row only: its norms compare rows.
        """
        if self.module.training and len(batch.capture) < 2:
            raise ValueError(
                "flow-srgb normalises over the rows of a batch; set batch_size to 2 or more."
            )
        noise, clean = self._draw(batch, step)
        return self.module.nll(noise, clean, batch.capture).mean()

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return ``nll``, nats a dimension, and ``nll_grey``, the same in the published unit."""
        nll = super().measure(batch, step)["loss"]
        return {"nll": nll, "nll_grey": nll + GREY_NATS}

    def finish(self, batches: Callable[[int], TrainingBatch]) -> None:
        """Measure what brings samples to the moments of the training noise."""
        moments = match_moments(self.module, batches)
        self.module.config = replace(self.module.config, moments=moments)

    def generator(self) -> FlowSRGBGenerator:
        """Return the network, as it is now, as a generator."""
        return FlowSRGBGenerator(self.module)

    def _draw(self, batch: TrainingBatch, step: int) -> tuple[Tensor, Tensor]:
        """Return a step's noise and clean image, dequantised."""
        noisy, clean = image(batch, "noisy"), image(batch, "clean")
        rng = batch_rng(self._seed, step, "flow-srgb")
        u = torch.from_numpy(rng.random(noisy.shape, dtype="float32")).to(noisy.device)
        if self.module.config.dequantisation == "noisy":
            return dequantised(noisy, u) - clean, clean
        v = torch.from_numpy(rng.random(noisy.shape, dtype="float32")).to(noisy.device)
        clean = dequantised(clean, v)
        return dequantised(noisy, u) - clean, clean


def dequantised(image: Tensor, u: Tensor) -> Tensor:
    """Spread 8-bit values, white level 1, over their grey level: ``image + (u - 1/2) / 255``."""
    return image + (u - 0.5) / 255.0
