"""A measured noise level function as a generator.

    gaussian           y = x + sqrt(beta1 * max(x, 0) + beta2) * z
    poisson-gaussian   y = beta1 * Poisson(x / beta1) + sqrt(beta2) * z

with z standard normal numbers, and beta1, beta2 of the row's camera and ISO. Nothing is clipped.
The noise is white: what a raw file shows, and what sRGB noise is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from torch import Tensor

from generators import exact
from generators.base import Domain, Need, NoiseContext, NoiseRequest, NoiseSample
from generators.capture import CaptureMetadata
from generators.checks import check_number, check_request
from generators.nlf.network import NLF, NLFConfig
from generators.seeds import standard_normal
from generators.sensor import photon_counts
from generators.weights_file import load_network

__all__ = ["NLFGenerator"]


@final
class NLFGenerator:
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
    revision = 2
    accepts: Domain = "raw"
    gives: Domain = "raw"
    needs: frozenset[Need] = frozenset({"camera", "iso"})

    def __init__(self, model: NLF, *, camera: str | None = None, iso: int | None = None) -> None:
        if iso is not None:
            check_number("iso", iso, low=0.0, open_low=True)
        self._model = model.eval().requires_grad_(False)
        self._camera, self._iso = camera, iso
        self.accepts = self.gives = model.config.domain
        needs: set[Need] = set()
        needs |= {"camera"} if camera is None else set()
        needs |= {"iso"} if iso is None else set()
        self.needs = frozenset(needs)
        if not needs:
            model.rows(CaptureMetadata.same(1, camera=camera, iso=iso))

    @staticmethod
    def load_network(path: Path) -> NLF:
        """Read a weights file.

        Raises:
            ValueError: If the file is damaged or of another family, or does not fit.
        """
        return load_network(
            path, family="nlf", build=lambda config: NLF(NLFConfig.from_dict(config))
        )

    @property
    def configurations(self) -> tuple[str, ...]:
        """Names ``camera_ISO`` that the weights know."""
        return self._model.config.configurations

    def check_capture(self, capture: CaptureMetadata) -> None:
        """Refuse cameras and ISOs that the weights do not know, before anything is made.

        Raises:
            ValueError: If there is one; the message names it and what is known.
        """
        self._model.levels_of(self._capture(capture))

    def sample(self, request: NoiseRequest) -> NoiseSample:
        """Add noise to each row; its ``beta1`` and ``beta2`` are recorded.

        Raises:
            ValueError: If the request lacks what :attr:`needs` names, the weights do not know a
                camera and ISO, or photons are to be counted at a negative clean value.
        """
        check_request(request, name=self.name, accepts=self.accepts, needs=self.needs)
        clean = request.context.clean.cpu()
        capture = self._capture(request.context.capture)
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

    def log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | clean, camera, ISO), ``(B,)`` nats, float64.

        Raises:
            ValueError: If the shapes differ or the weights do not know a camera and ISO.
        """
        if noisy.shape != context.clean.shape:
            raise ValueError(
                f"noisy is {tuple(noisy.shape)} and clean {tuple(context.clean.shape)}; a density "
                "needs equal shapes."
            )
        return self._model.log_prob(noisy, context.clean, self._capture(context.capture))

    def _capture(self, capture: CaptureMetadata) -> CaptureMetadata:
        return capture.given(camera=self._camera, iso=self._iso)
