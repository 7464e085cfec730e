"""FINO's training task: pairs in, the sum of its losses out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from generators.base import Domain
from generators.checks import check_flag, check_number, check_params, check_whole
from generators.fino.losses import Losses, LossWeights, pair_losses
from generators.fino.network import Fino, FinoConfig
from generators.fino.sampling import FINOGenerator
from generators.flows.recompute import Memory
from generators.seeds import batch_rng
from generators.training import DataUse, NoiseTask, TrainingBatch, TrainingSetup, image

__all__ = ["FINOTask"]

_NETWORK = ("blocks", "hidden", "noise_channels", "code_std")
_WEIGHTS = ("alpha", "beta", "gamma", "sigma", "patch")


@final
class FINOTask(NoiseTask):
    """Training of a FINO's two codes, content and noise, from clean/noisy pairs.

    Args:
        module: The network.
        weights: How the losses are added.
        memory: Keep activations, or rebuild them from the inverse.
        seed: Seed of the noise codes drawn where ``code_std`` > 0.
        dtype: Precision of the convolutions.
    """

    uses: ClassVar[DataUse] = "pairs"
    family: ClassVar[str] = "fino"
    domain: Domain = "srgb"
    channels_last: ClassVar[bool] = True

    def __init__(
        self,
        module: Fino,
        weights: LossWeights,
        *,
        seed: int,
        memory: Memory = "keep",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.module: Fino = module
        self._weights, self._memory = weights, memory
        self._seed, self._dtype = seed, dtype

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> FINOTask:
        """Make the task.

        Args:
            params: ``blocks``, ``hidden``, ``noise_channels``, ``code_std`` of the network;
                ``alpha``, ``beta``, ``gamma`` of the losses; ``sigma`` in grey levels of 255, where
                the noise is synthetic and white; ``patch`` of the correlation loss; ``recompute``.
            setup: Seed and precision.

        Raises:
            ValueError: If a parameter is unknown or wrong, or images are not sRGB.
        """
        check_params("fino", params, (*_NETWORK, *_WEIGHTS, "recompute"))
        if setup.channels != 3:
            raise ValueError(f"FINO is trained on images of 3 channels; got {setup.channels}.")
        recompute = check_flag("recompute", params.get("recompute", False))
        network = {name: params[name] for name in _NETWORK if name in params}
        return cls(
            Fino(FinoConfig(**network, seed=setup.seed)),
            _loss_weights(params),
            seed=setup.seed,
            memory="recompute" if recompute else "keep",
            dtype=setup.dtype,
        )

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return L of :mod:`generators.fino.losses`."""
        return self._losses(batch, step).total(self._weights)

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return the loss, how well codes denoise, and how much noise the noise code carries.

        Returns:
            ``loss``; ``psnr`` of the denoised image, dB; ``level``: standard deviation of the noise
            decoded from the noise code over that of the real noise, 1 if all of it is carried.
        """
        losses = self._losses(batch, step)
        clean, noisy = image(batch, "clean"), image(batch, "noisy")
        error = (losses.denoised.clamp(0.0, 1.0) - clean).square().mean(dim=(1, 2, 3))
        carried = (losses.transferred - clean).std() / (noisy - clean).std()
        return {
            "loss": float(losses.total(self._weights)),
            "psnr": float(-10.0 * error.clamp_min(1e-10).log10().mean()),
            "level": float(carried),
        }

    def generator(self) -> FINOGenerator:
        """Return a copy of the network as it stands, as a generator."""
        return FINOGenerator(deepcopy(self.module))

    def _losses(self, batch: TrainingBatch, step: int) -> Losses:
        clean, noisy = image(batch, "clean"), image(batch, "noisy")
        with self._precision(clean.device):
            return pair_losses(
                self.module,
                clean=clean,
                noisy=noisy,
                code=self._code(clean, step),
                weights=self._weights,
                memory=self._memory,
            )

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(device.type, dtype=self._dtype)

    def _code(self, clean: Tensor, step: int) -> Tensor:
        config = self.module.config
        rows, _, height, width = clean.shape
        shape = (rows, config.noise_channels, height // 4, width // 4)
        if config.code_std == 0.0:
            return clean.new_zeros(shape)
        drawn = batch_rng(self._seed, step, "fino").standard_normal(shape, dtype="float32")
        return config.code_std * torch.from_numpy(drawn).to(clean)


def _loss_weights(params: Mapping[str, Any]) -> LossWeights:
    given = {
        name: check_number(name, params[name], low=0.0)
        for name in ("alpha", "beta", "gamma")
        if name in params
    }
    sigma = params.get("sigma")
    if sigma is not None:
        sigma = check_number("sigma", sigma, low=0.0, open_low=True) / 255.0
    patch = check_whole("patch", params.get("patch", 3))
    return LossWeights(**given, sigma=sigma, patch=patch)
