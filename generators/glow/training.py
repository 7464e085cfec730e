"""Glow's training task: maximum likelihood of clean photographs.

The pixels are 8-bit values k / 255. A density of such numbers could grow without limit around
each of them, so every pixel is spread evenly over its bin first (*dequantisation*):

    x = k / 255 + (u - 0.5) / 255,   u ~ U[0, 1);      nll = ln 255 - log p(x) / dimensions

``nll`` is then an upper bound of the code length of the 8-bit image, nats a dimension.

Source: Kingma and Dhariwal 2018, "Glow", eq. 1-2; Theis et al. 2016, "A note on the evaluation of
generative models", section 3.1, for the bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from generators.base import Domain
from generators.checks import check_flag, check_params
from generators.glow.network import GREY_STEPS, Glow, GlowConfig
from generators.seeds import batch_rng
from generators.training import DataUse, NoiseTask, TrainingBatch, TrainingSetup, image

__all__ = ["GlowTask"]


@final
class GlowTask(NoiseTask):
    """Maximum likelihood of clean images: the training of a Glow, a prior.

    Args:
        module: The flow.
        seed: Seed of the dequantisation.
    """

    uses: ClassVar[DataUse] = "clean"
    family: ClassVar[str] = "glow"
    domain: Domain = "srgb"
    channels_last: ClassVar[bool] = True

    def __init__(self, module: Glow, *, seed: int) -> None:
        self.module: Glow = module
        self._seed = seed

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> GlowTask:
        """Make the task.

        Args:
            params: ``levels``, ``steps``, ``hidden`` of :class:`GlowConfig`; ``recompute`` rebuilds
                activations from the inverse.
            setup: Channels, seed and precision.

        Raises:
            ValueError: If a parameter is unknown or wrong.
        """
        check_params("glow", params, ("levels", "steps", "hidden", "recompute"))
        recompute = check_flag("recompute", params.get("recompute", False))
        network = {name: value for name, value in params.items() if name != "recompute"}
        model = Glow(
            GlowConfig(**network, channels=setup.channels, seed=setup.seed),
            precision=None if setup.dtype == torch.float32 else setup.dtype,
            memory="recompute" if recompute else "keep",
        )
        return cls(model, seed=setup.seed)

    def initialise(self, batch: TrainingBatch) -> None:
        """Set every ActNorm from the first batch."""
        self.module.initialise(self._spread(batch, 0))

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the mean negative log-likelihood, nats a dimension of the 8-bit image."""
        x = self._spread(batch, step)
        return math.log(GREY_STEPS) - self.module.log_prob(x).mean() / x[0].numel()

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return ``nll``, nats a dimension, and the same in ``bits``."""
        nll = float(self.loss(batch, step))
        return {"nll": nll, "bits": nll / math.log(2)}

    def _spread(self, batch: TrainingBatch, step: int) -> Tensor:
        """Spread each pixel over its 8-bit bin."""
        clean = image(batch, "clean")
        drawn = batch_rng(self._seed, step, "glow").random(clean.shape, dtype="float32")
        return clean + (torch.from_numpy(drawn).to(clean) - 0.5) / GREY_STEPS
