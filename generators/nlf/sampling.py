"""A measured noise level function as a generator.

    gaussian           y = x + sqrt(beta1 * max(x, 0) + beta2) * z
    poisson-gaussian   y = beta1 * Poisson(x / beta1) + sqrt(beta2) * z

with z standard normal numbers, and beta1, beta2 of the row's camera and ISO. Nothing is clipped.
The noise is white: what a raw file shows, and what sRGB noise is not.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from generators import exact
from generators.base import (
    DensityGenerator,
    Domain,
    NoiseContext,
    NoiseRequest,
    NoiseSample,
    TrainedGenerator,
)
from generators.capture import CaptureMetadata
from generators.checks import check_number
from generators.nlf.network import NLF, NLFConfig
from generators.seeds import standard_normal
from generators.sensor import photon_counts

__all__ = ["NLFGenerator"]


@final
class NLFGenerator(TrainedGenerator[NLF], DensityGenerator):
    """Noise with a variance linear in the signal, as measured for each camera and ISO.

    Its domain, the cameras and the ISO speeds are the weights'.

    Args:
        model: The measured noise level functions.
        camera: Camera of every row, for photographs without metadata.
        iso: ISO of every row, likewise.

    Raises:
        ValueError: If camera and ISO are given and unknown.
    """

    name = "nlf"
    network_type = NLF
    config_type = NLFConfig
    revision = 2
    same_bits = True
    accepts: Domain = "raw"
    gives: Domain = "raw"
    needs = frozenset({"camera", "iso"})

    def __init__(self, model: NLF, *, camera: str | None = None, iso: int | None = None) -> None:
        if iso is not None:
            check_number("iso", iso, low=0.0, open_low=True)
        self._model = model.eval().requires_grad_(False)
        self.accepts = self.gives = model.config.domain
        self._pin("camera", "iso", camera=camera, iso=iso)
        if not self.needs:
            model.rows(CaptureMetadata.same(1, camera=camera, iso=iso))

    @property
    def configurations(self) -> tuple[str, ...]:
        """Names ``camera_ISO`` that the weights know."""
        return self._model.config.configurations

    def _check_capture(self, capture: CaptureMetadata) -> None:
        self._model.levels_of(capture)

    def place(self, device: str) -> None:
        """Stay on the CPU: a table is looked up, and photons are counted one by one there."""

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Add noise to each row; its ``beta1`` and ``beta2`` are recorded.

        Raises:
            ValueError: If the request lacks what :attr:`needs` names, the weights do not know a
                camera and ISO, or photons are to be counted at a negative clean value.
        """
        clean = request.context.clean.cpu()
        capture = request.context.capture
        levels = self._model.levels_of(capture)
        normal = standard_normal(request.seeds, clean.shape[1:], "noise")
        pairs = torch.tensor(levels, dtype=torch.float64)[:, :, None, None, None]
        beta1, beta2 = pairs.unbind(1)
        if self._model.config.distribution == "gaussian":
            spread = exact.sqrt(beta1 * clean.double().clamp_min(0.0) + beta2)
            noisy = clean + (spread * normal.double()).float()
        else:
            electrons = photon_counts(clean.double() / beta1, request.seeds, "photons")
            noisy = (electrons * beta1 + exact.sqrt(beta2) * normal.double()).float()
        device = request.context.clean.device
        return NoiseSample(
            clean=request.context.clean,
            noisy=noisy.to(device),
            params=[{"beta1": level.beta1, "beta2": level.beta2} for level in levels],
        )

    def _log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        return self._model.log_prob(noisy, context.clean, context.capture)
