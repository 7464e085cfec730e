"""InvDN's training task: the released objective on crops of clean/noisy pairs.

One step encodes the noisy crop, draws z, decodes the low-resolution part with it, and weighs the
four terms of :mod:`generators.invdn.losses`. The loss is their sum divided by the elements of a
row, so its size does not change with the crop; the released one is not divided.

The low-resolution target of the paper is the bicubic of the whole photograph. A crop knows that of
its own interior exactly, of :func:`~generators.invdn.bicubic.border` pixels at each side not, so
the forward term is measured in the interior and scaled to the whole.

Convolutions run in bfloat16 where the setup says so; the flow's own path, the log-determinants and
the losses stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from generators.base import Domain, NoiseGenerator
from generators.capture import configuration_name
from generators.checks import check_flag, check_number, check_params
from generators.flows.recompute import Memory
from generators.invdn.bicubic import border, downscale
from generators.invdn.denoise import denoise
from generators.invdn.losses import (
    LossWeights,
    backward_loss,
    forward_loss,
    gradient_loss,
    structure_loss,
)
from generators.invdn.network import InvDN, InvDNConfig, channels_last
from generators.invdn.prior import ANY, Differences, LatentPrior, fit_prior
from generators.invdn.sampling import InvDNGenerator
from generators.invdn.weights import InvDNWeights
from generators.seeds import batch_rng, patch_seed
from generators.training import DataUse, NoiseTask, Part, TrainingBatch, TrainingSetup, image

__all__ = ["InvDNTask"]

# Positions of 4x4 pixels that the prior is fitted on: some thousand a configuration.
_PRIOR_POSITIONS = 1 << 17


@dataclass(frozen=True, slots=True)
class _Terms:
    """The four terms, each divided by the elements of a row."""

    forward: Tensor
    backward: Tensor
    gradient: Tensor
    structure: Tensor

    def weighed(self, weights: LossWeights) -> Tensor:
        named = [field.name for field in fields(LossWeights)]
        return torch.stack([getattr(weights, name) * getattr(self, name) for name in named]).sum()


class InvDNTask(NoiseTask):
    """Forward and backward objectives of an InvDN on clean/noisy pairs.

    Args:
        module: The network to train.
        setup: Seed, precision and the configurations of the data.
        weights: Of the loss's terms.
        recompute: Rebuild activations from the inverse: memory for a third more time.
    """

    uses: ClassVar[DataUse] = "pairs"
    domain: Domain = "srgb"
    channels_last: ClassVar[bool] = True

    def __init__(
        self,
        module: InvDN,
        setup: TrainingSetup,
        *,
        weights: LossWeights | None = None,
        recompute: bool = False,
    ) -> None:
        self.module: InvDN = channels_last(module)
        self._setup = setup
        self._weights = LossWeights() if weights is None else weights
        self._recompute = recompute
        self._prior: LatentPrior | None = None

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> InvDNTask:
        """Make the task.

        Args:
            params: Fields of :class:`InvDNConfig` but for the seed; ``recompute``; ``weights``, a
                mapping of the loss's terms to their weights.
            setup: What it is made for.

        Raises:
            ValueError: If a parameter is unknown or wrong, or the images are not sRGB.
        """
        if setup.channels != 3:
            raise ValueError(
                f"invdn is trained on sRGB images of 3 channels; the data has {setup.channels}."
            )
        arrangement = {field.name for field in fields(InvDNConfig)} - {"seed"}
        check_params("invdn", params, arrangement | {"recompute", "weights"})
        recompute = check_flag("recompute", params.get("recompute", False))
        given = {name: value for name, value in params.items() if name in arrangement}
        if "blocks" in given:
            given["blocks"] = _whole_numbers(given["blocks"])
        config = InvDNConfig(seed=setup.seed, **given)
        weights = _loss_weights(params.get("weights", {}))
        return cls(InvDN(config), setup, weights=weights, recompute=recompute)

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the weighed terms of a step."""
        return self._terms(batch, step).weighed(self._weights)

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return ``loss``, its terms, and ``psnr`` of the clipped estimate, dB, mean over rows."""
        terms = self._terms(batch, step)
        clean, noisy = image(batch, "clean"), image(batch, "noisy")
        seeds = [patch_seed(step, "measure", str(row)) for row in range(len(noisy))]
        with self._precision(noisy.device):
            estimate = denoise(self.module, noisy, seeds=seeds)
        error = (estimate.clamp(0, 1) - clean).square().mean(dim=(1, 2, 3))
        return {
            "loss": float(terms.weighed(self._weights)),
            **{f"loss_{field.name}": float(getattr(terms, field.name)) for field in fields(terms)},
            "psnr": float((-10 * torch.log10(error.clamp(min=1e-10))).mean()),
        }

    @torch.no_grad()
    def finish(self, batches: Callable[[int], TrainingBatch]) -> None:
        """Fit the distribution of what noise does to the encoding, one for each configuration."""
        found: list[Differences] = []
        positions = 0
        while positions < _PRIOR_POSITIONS:
            batch = batches(len(found))
            clean, _ = self.module.encode(image(batch, "clean"))
            noisy, _ = self.module.encode(image(batch, "noisy"))
            found.append(Differences(batch.labels, clean, noisy - clean))
            positions += clean.shape[0] * clean.shape[2] * clean.shape[3]
        self._prior = fit_prior(found, len(self._setup.captures))

    def findings(self) -> dict[str, Any]:
        """Return how large noise is in the encoding, for each configuration."""
        if self._prior is None:
            return {}
        deviations = self._prior.field[:, 0].diagonal(dim1=1, dim2=2).mean(dim=1).sqrt()
        names = [*self._names(), ANY]
        return {
            "latent_noise": {n: round(float(d), 5) for n, d in zip(names, deviations, strict=True)}
        }

    def parts(self) -> dict[str, Part]:
        """Return the network, and the prior once it is fitted."""
        config = {**self.module.config.to_dict(), "configurations": self._names()}
        tensors = self.module.state_dict()
        if self._prior is not None:
            tensors = {**tensors, **self._prior.tensors()}
        return {"": Part(family="invdn", config=config, tensors=tensors)}

    def generator(self) -> NoiseGenerator | None:
        """Return the network drawing new noise; ``None`` before the prior is fitted."""
        if self._prior is None:
            return None
        weights = InvDNWeights(self.module, tuple(self._names()), self._prior)
        return InvDNGenerator(weights, mode="resample")

    def _names(self) -> list[str]:
        return [configuration_name(camera, iso) for camera, iso in self._setup.captures]

    def _terms(self, batch: TrainingBatch, step: int) -> _Terms:
        clean, noisy = image(batch, "clean"), image(batch, "noisy")
        memory: Memory = "recompute" if self._recompute else "keep"
        with self._precision(noisy.device):
            encoded, _ = self.module.encode(noisy, memory=memory)
            low = encoded[:, :3]
            z = self._draw(step, encoded[:, 3:])
            decoded, _ = self.module.decode(torch.cat([low, z], dim=1), memory=memory)
        factor, elements = self.module.config.factor, clean[0].numel()
        target = downscale(clean, factor)
        inside, share = _interior(target, border(factor))
        return _Terms(
            forward=forward_loss(low[inside], target[inside]) / (share * elements),
            backward=backward_loss(clean, decoded) / elements,
            gradient=gradient_loss(clean, decoded) / elements,
            structure=structure_loss(clean, decoded) / elements,
        )

    def _draw(self, step: int, like: Tensor) -> Tensor:
        rng = batch_rng(self._setup.seed, step, "invdn")
        z = torch.from_numpy(rng.standard_normal(like.shape, dtype="float32"))
        return z.to(like.device, memory_format=torch.channels_last)

    def _precision(self, device: torch.device) -> torch.autocast:
        low = self._setup.dtype == torch.bfloat16
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=low)


def _interior(image: Tensor, margin: int) -> tuple[tuple[slice, ...], float]:
    """Return where an image is more than a margin from its sides, and what share that is."""
    height, width = image.shape[2], image.shape[3]
    if min(height, width) <= 2 * margin:
        return (slice(None),) * 4, 1.0
    inside = slice(margin, -margin)
    share = (height - 2 * margin) * (width - 2 * margin) / (height * width)
    return (slice(None), slice(None), inside, inside), share


def _loss_weights(given: object) -> LossWeights:
    if not isinstance(given, Mapping):
        raise ValueError(f"weights must map terms of the loss to numbers; it is {given!r}.")
    check_params("invdn's loss", given, {field.name for field in fields(LossWeights)})
    return LossWeights(
        **{name: check_number(f"weights.{name}", value, low=0.0) for name, value in given.items()}
    )


def _whole_numbers(given: object) -> tuple[int, ...]:
    if not isinstance(given, list | tuple) or not all(type(value) is int for value in given):
        raise ValueError(f"blocks must be a list of whole numbers, e.g. [8, 8]; it is {given!r}.")
    return tuple(given)
