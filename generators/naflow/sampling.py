"""NAFlow as a generator: choosing a latent distribution, drawing from it, decoding it.

Four ways to choose the distribution (:mod:`generators.naflow.latent`):

    label        that of the row's camera and ISO
    random       one class drawn uniformly a row
    rank         the k-th most likely class for a noisy reference
    noise-aware  a blend that suits a noisy reference, no metadata needed (the paper's Algorithm 1)

With the ``reference`` weighting the decoded noise is finally brought to the reference's own level:
it is multiplied by the ratio of the two standard deviations. What a flow has not learnt of a scene
is mostly its level, and this one number is measured to a few percent on a 64x64 patch. Where the
reference is another picture, the ratio is measured by decoding onto that picture.

Source: Kim et al. 2024, "sRGB Real Noise Modeling via Noise-Aware Sampling with Normalizing Flows"
(ICLR), section 4.3 and Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal, final, get_args

import torch
from torch import Tensor

from generators.base import (
    DensityGenerator,
    Need,
    NoiseContext,
    NoiseRequest,
    NoiseSample,
    Params,
    TrainedGenerator,
)
from generators.capture import CaptureMetadata, configuration_row
from generators.checks import check_choice, check_number
from generators.naflow.config import NAFlowConfig
from generators.naflow.fused import FoldedNAFlow
from generators.naflow.latent import (
    LatentDistribution,
    LatentGaussian,
    Weighting,
    blend,
    follow_reference,
)
from generators.naflow.network import GREY_LEVELS, NAFlow, perturb
from generators.seeds import standard_normal, stream_rng, uniform

__all__ = ["NAFlowGenerator", "Sampling"]

Sampling = Literal["noise-aware", "label", "rank", "random"]
# A ratio of levels beyond this means that reference and clean image do not belong together.
_LEVELS = (0.5, 2.0)
_NEEDS: dict[Sampling, tuple[Need, ...]] = {
    "noise-aware": ("reference",),
    "rank": ("reference",),
    "label": ("camera", "iso"),
    "random": (),
}


@final
class NAFlowGenerator(TrainedGenerator[NAFlow], DensityGenerator):
    """A trained normalizing flow with one latent Gaussian per camera and ISO.

    Args:
        model: The trained network.
        sampling: How the latent Gaussian is chosen.
        weighting: How ``noise-aware`` blends.
        camera: Camera of every row, for photographs without metadata.
        iso: ISO of every row, likewise.
        rank: k of ``rank``, 1 for the most likely.
        strength: n0 of the ``reference`` weighting: how many latent positions (8x8 pixels each)
            the class is worth against the reference.
        temperature: Factor on the drawn deviation; 1 samples the model. With the ``reference``
            weighting, factor on the noise itself.
        precision: ``bf16`` runs the subnetworks in bfloat16; the flow's path stays float32.

    Raises:
        ValueError: If a parameter is out of range or the configuration is unknown.
    """

    name = "naflow"
    network_type = NAFlow
    config_type = NAFlowConfig
    revision = 2
    color_only = True

    def __init__(
        self,
        model: NAFlow,
        *,
        sampling: Sampling = "noise-aware",
        weighting: Weighting = "reference",
        camera: str | None = None,
        iso: int | None = None,
        rank: int = 1,
        strength: float = 64.0,
        temperature: float = 1.0,
        precision: Literal["float32", "bf16"] = "float32",
    ) -> None:
        check_choice("sampling", sampling, get_args(Sampling))
        check_choice("weighting", weighting, get_args(Weighting))
        check_choice("precision", precision, ("float32", "bf16"))
        check_number("strength", strength, low=0.0, open_low=True)
        check_number("temperature", temperature, low=0.0)
        gaussians = model.prior_mean.shape[0]
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= gaussians:
            raise ValueError(
                f"rank must be a whole number from 1 to {gaussians}, the number of the weights' "
                f"Gaussians; it is {rank!r}."
            )
        # A copy: the network may be in training, and what is folded here would not follow it.
        self._model = deepcopy(model).eval().requires_grad_(False)
        self._sampling, self._weighting, self._rank = sampling, weighting, rank
        self._strength, self._temperature = strength, temperature
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = model.prior_mean.device
        self._pin(*_NEEDS[sampling], camera=camera, iso=iso)
        if sampling == "label" and not self.needs:
            self._rows_of(CaptureMetadata.same(1, camera=camera, iso=iso))
        self.multiple = 1 << model.config.levels
        self._folded = FoldedNAFlow(self._model, dtype=self._dtype)

    @property
    def configurations(self) -> tuple[str, ...]:
        """Names ``camera_ISO`` that the weights know."""
        return self._model.config.configurations

    def _check_capture(self, capture: CaptureMetadata) -> None:
        if self._sampling == "label":
            self._rows_of(capture)

    def place(self, device: str) -> None:
        """Move the network to a device, e.g. ``"cuda:0"``; base noise stays the same."""
        super().place(device)
        self._folded = FoldedNAFlow(self._model, dtype=self._dtype)

    @torch.inference_mode()
    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Draw a latent for each row and decode it onto the row's clean image.

        Args:
            request: sRGB, three channels, height and width divisible by :attr:`multiple`.
        """
        clean = request.context.clean
        self._model.config.check_image(clean)
        latent, params = self._choose(request)
        follows = self._sampling == "noise-aware" and self._weighting == "reference"
        factor = 1.0 if follows else self._temperature
        noise = self._decode(latent, clean, request.seeds, stream="latent", factor=factor)
        if follows:
            level = self._level(noise, latent, request)
            noise = noise * (self._temperature * level[:, None, None, None])
            params = [
                {**row, "level": round(float(one), 4)}
                for row, one in zip(params, level, strict=True)
            ]
        # The condition was perturbed; the noise is added to the clean image as it came.
        return NoiseSample(clean=clean, noisy=clean + noise.contiguous().cpu(), params=params)

    def _decode(
        self,
        latent: LatentDistribution,
        clean: Tensor,
        seeds: Sequence[int],
        *,
        stream: str,
        factor: float,
    ) -> Tensor:
        """Draw latents and return the noise that they decode to on a clean image."""
        clean = clean.to(self._device)
        size = (clean.shape[2] // self.multiple, clean.shape[3] // self.multiple)
        shape = (self._model.config.latent_channels, *size)
        eps = standard_normal(seeds, shape, stream).to(self._device)
        x = self._folded.decode(
            latent.draw(factor * eps), self._perturbed(clean, seeds, f"{stream}-condition")
        )
        return x if self._model.config.models == "noise" else x - clean

    def _level(self, noise: Tensor, latent: LatentDistribution, request: NoiseRequest) -> Tensor:
        """Return what brings each row's noise to its reference's level, ``(B,)``."""
        reference, partner = request.pair
        clean = request.context.clean
        level = _spread(noise)
        # Row by row: whether a neighbour's reference is another picture must not matter to a row.
        own = [torch.equal(a, b) for a, b in zip(partner, clean, strict=True)]
        if not all(own):
            elsewhere = self._decode(latent, partner, request.seeds, stream="level", factor=1.0)
            level = torch.where(torch.tensor(own).to(level.device), level, _spread(elsewhere))
        return (_spread((reference - partner).to(level)) / level).clamp(*_LEVELS)

    @torch.inference_mode()
    def _log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | clean, camera, ISO), in nats, at the unperturbed condition."""
        rows = self._rows_of(context.capture)
        x, clean = noisy.to(self._device), context.clean.to(self._device)
        if self._model.config.models == "noise":
            x = x - clean
        z, ladj = self._folded.encode(x, clean)
        likelihood = self._model.log_prior(z).gather(1, rows[:, None])[:, 0]
        return (likelihood + ladj).cpu()

    def _choose(self, request: NoiseRequest) -> tuple[LatentDistribution, Sequence[Params]]:
        """Return one Gaussian a row and what to record of the choice."""
        if self._sampling in ("noise-aware", "rank"):
            return self._from_reference(request)
        if self._sampling == "label":
            rows = self._rows_of(request.context.capture)
        else:
            classes = self._model.prior_mean.shape[0]
            drawn = [int(stream_rng(s, "class").integers(classes)) for s in request.seeds]
            rows = torch.tensor(drawn, device=self._device)
        gaussian = LatentGaussian(self._model.prior_mean[rows], self._model.prior_std[rows])
        names = [self._name(int(row)) for row in rows]
        return gaussian, [{"configuration": name} for name in names]

    def _from_reference(self, request: NoiseRequest) -> tuple[LatentDistribution, Sequence[Params]]:
        z = self._encode_reference(request)
        log_prior = self._model.log_prior(z)
        means, stds = self._model.prior_mean, self._model.prior_std
        if self._sampling == "rank":
            rows = log_prior.argsort(dim=1, descending=True)[:, self._rank - 1]
            gaussian = LatentGaussian(means[rows], stds[rows])
            return gaussian, [{"configuration": self._name(int(row))} for row in rows]
        positions = z.shape[2] * z.shape[3]
        gaussian, weights = blend(
            log_prior, means, stds, positions=positions, weighting=self._weighting
        )
        best = weights.argmax(dim=1)
        params: list[dict[str, float | int | str]] = [
            {"likeliest": self._name(int(row)), "weight": round(float(weights[i, row]), 4)}
            for i, row in enumerate(best)
        ]
        if self._weighting == "reference":
            return follow_reference(gaussian, z, strength=self._strength), params
        return gaussian, params

    def _encode_reference(self, request: NoiseRequest) -> Tensor:
        reference, clean = (image.to(self._device) for image in request.pair)
        u = uniform(request.seeds, reference.shape[1:], "dequantisation").to(self._device)
        x = reference + (u - 0.5) / GREY_LEVELS
        if self._model.config.models == "noise":
            x = x - clean
        condition = self._perturbed(clean, request.seeds, "reference-condition")
        return self._folded.encode(x, condition)[0]

    def _perturbed(self, clean: Tensor, seeds: Sequence[int], stream: str) -> Tensor:
        level = self._model.config.condition_noise
        if level == 0:
            return clean.clamp(0.0, 1.0)
        normal = standard_normal(seeds, clean.shape[1:], stream).to(self._device)
        return perturb(clean, normal, level)

    def _rows_of(self, capture: CaptureMetadata) -> Tensor:
        known = self._model.config.configurations
        who, remedy = "generator 'naflow'", "sample by a reference (`noise-aware`)"
        rows = [
            configuration_row(camera, iso, known, who=who, remedy=remedy)
            for camera, iso in zip(capture.camera, capture.iso, strict=True)
        ]
        if self._model.config.single_prior:
            rows = [0] * len(rows)
        return torch.tensor(rows, device=self._device)

    def _name(self, row: int) -> str:
        return "all" if self._model.config.single_prior else self._model.config.configurations[row]


def _spread(noise: Tensor) -> Tensor:
    """Return each row's standard deviation around its channels' means, ``(B,)``."""
    centred = noise - noise.mean(dim=(2, 3), keepdim=True)
    return centred.square().mean(dim=(1, 2, 3)).sqrt()
