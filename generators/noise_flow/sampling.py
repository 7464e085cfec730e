"""Noise Flow as a generator: z ~ N(0, I), decoded with the clean image, camera and ISO.

Source: Abdelhamed et al. 2019, "Noise Flow", section 4.4. The released wrappers draw at temperature
0.6 with norms in training mode (Noise Flow) and at 1 (Noise2NoiseFlow); ours draws at 1 unless told
otherwise, and always in evaluation mode.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from generators.base import (
    DensityGenerator,
    Domain,
    NoiseContext,
    NoiseRequest,
    NoiseSample,
    TrainedGenerator,
)
from generators.capture import CaptureMetadata, configuration_name
from generators.checks import check_number
from generators.noise_flow.fused import FoldedNoiseFlow
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from generators.seeds import standard_normal
from generators.threads import on_threads

__all__ = ["NoiseFlowGenerator"]

# Pixels that are decoded at a time, on one thread; fewer rows are filled up to it. With twice as
# many, 64x4x32x32 is a single part whose every layer is split between threads: on a busy machine
# that took 0.2 to 10 units of benchmarks/noise_flow_rate.py.
_PIXELS = 1 << 15


@final
class NoiseFlowGenerator(TrainedGenerator[NoiseFlow], DensityGenerator):
    """A small normalizing flow over raw noise, conditioned on clean image, camera and ISO.

    Args:
        model: The trained network.
        camera: Camera of every row, for photographs without metadata.
        iso: ISO of every row, likewise.
        temperature: Factor on the latent's deviation; 1 samples the model.

    Raises:
        ValueError: If a parameter is out of range, or the weights do not know the camera or ISO.
    """

    name = "noise-flow"
    network_type = NoiseFlow
    config_type = NoiseFlowConfig
    revision = 1
    accepts: Domain = "raw"
    gives: Domain = "raw"
    needs = frozenset({"camera", "iso"})

    def __init__(
        self,
        model: NoiseFlow,
        *,
        camera: str | None = None,
        iso: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        self._temperature = check_number("temperature", temperature, low=0.0)
        self._model = model.eval().requires_grad_(False)
        self._pin("camera", "iso", camera=camera, iso=iso)
        config = model.config
        some = (
            config.cameras[0] if camera is None else camera,
            config.isos[0] if iso is None else iso,
        )
        model.labels(
            CaptureMetadata.same(1, camera=some[0], iso=some[1])
        )  # refuses what is not known
        self._device = next(model.parameters()).device
        self._folded = FoldedNoiseFlow(model)

    @property
    def configurations(self) -> tuple[str, ...]:
        """Names ``camera_ISO`` that the weights know."""
        config = self._model.config
        return tuple(configuration_name(c, i) for c in config.cameras for i in config.isos)

    def _check_capture(self, capture: CaptureMetadata) -> None:
        self._model.labels(capture)

    def place(self, device: str) -> None:
        """Move the network to a device, e.g. ``"cuda:0"``; base noise stays the same."""
        super().place(device)
        self._folded = FoldedNoiseFlow(self._model)

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Draw a latent for each row and decode it with the row's clean image.

        Args:
            request: Packed raw, four channels, any height and width.
        """
        capture = request.context.capture
        labels = self._model.labels(capture)
        clean = request.context.clean
        rows, shape = len(clean), clean.shape[1:]
        part = rows
        if self._device.type == "cpu":
            part = max(1, _PIXELS // (shape[1] * shape[2]))

        decode = self._folded.at((shape[1], shape[2]))

        def one(start: int) -> Tensor:
            # Always equally many rows: convolutions of another batch size round otherwise.
            mine = [min(start + row, rows - 1) for row in range(part)]
            kept = min(part, rows - start)
            z = torch.empty((part, *shape))
            z[:kept] = standard_normal([request.seeds[row] for row in mine[:kept]], shape, "latent")
            z[kept:] = 0.0
            noise = decode(
                z.mul_(self._temperature).to(self._device),
                clean[mine].to(self._device),
                labels.select(mine),
            )
            return clean[start : start + kept] + noise[:kept].cpu()

        noisy = torch.cat(on_threads(one, range(0, rows, part)))
        names = zip(capture.camera, capture.iso, strict=True)
        params = [{"configuration": configuration_name(str(c), int(i or 0))} for c, i in names]
        return NoiseSample(clean=clean, noisy=noisy.clone(), params=params)

    @torch.no_grad()
    def _log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | clean, camera, ISO), ``(B,)`` in nats, white level 1."""
        labels = self._model.labels(context.capture)
        clean = context.clean
        noise = (noisy - clean).to(self._device)
        return self._model.log_prob(noise, clean.to(self._device), labels).cpu()
