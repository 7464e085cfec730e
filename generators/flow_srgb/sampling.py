"""Flow-sRGB as a generator: z ~ N(0, I), decoded with the clean image, camera and ISO.

The noise is returned neither clipped nor rounded. With ``moments: flow`` it is as the density has
it; otherwise brought to the mean and deviation of the training noise, where the weights carry those
(:mod:`generators.flow_srgb.calibration`). Either way what dequantisation added has mean zero
(:mod:`generators.flow_srgb.training`), so rounding to 8 bits afterwards shifts nothing.

Differs from the released code, which floors ``256 (clean + noise)`` of a clean image dequantised
anew: the pipeline rounds, once, and the condition is the clean image itself, so that samples are
draws from :meth:`FlowSRGBGenerator.log_prob`'s density. There, the temperature is read and ignored.

Source: Kousha et al. 2022, "Modeling sRGB Camera Noise with Normalizing Flows" (CVPR), section 4.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Literal, final

import torch
from torch import Tensor

from generators.base import (
    DensityGenerator,
    NoiseContext,
    NoiseRequest,
    NoiseSample,
    TrainedGenerator,
)
from generators.capture import CaptureMetadata, configuration_name
from generators.checks import check_choice, check_number
from generators.flow_srgb.calibration import corrected, moment_rows
from generators.flow_srgb.network import Cells, FlowSRGB, FlowSRGBConfig
from generators.seeds import standard_normal

__all__ = ["FlowSRGBGenerator"]

# Rows are decoded a few at a time: what one layer leaves is in the cache when the next reads it.
# Measured on 16x3x128x128, one thread: 0.20 s; half as much costs 18 %, four times as much 70 %.
_PIXELS = 1 << 16


@final
class FlowSRGBGenerator(TrainedGenerator[FlowSRGB], DensityGenerator):
    """A small flow over sRGB noise, conditioned on the clean image, camera and ISO.

    Args:
        model: The trained network.
        camera: Camera of every row, for photographs without metadata.
        iso: ISO of every row, likewise.
        temperature: Factor on the latent's deviation; 1 samples the model.
        moments: ``matched`` brings samples to the training noise's mean and deviation, where the
            weights carry them; ``flow`` leaves them as the paper samples.

    Raises:
        ValueError: If a parameter is out of range, or camera and ISO are not the weights'.
    """

    name = "flow-srgb"
    network_type = FlowSRGB
    config_type = FlowSRGBConfig
    revision = 1
    color_only = True
    needs = frozenset({"camera", "iso"})

    def __init__(
        self,
        model: FlowSRGB,
        *,
        camera: str | None = None,
        iso: int | None = None,
        temperature: float = 1.0,
        moments: Literal["matched", "flow"] = "matched",
    ) -> None:
        check_choice("moments", moments, ("matched", "flow"))
        check_number("temperature", temperature, low=0.0)
        # A copy: the network may be in training, and sampling must not leave that mode.
        self._model = deepcopy(model).eval().requires_grad_(False)
        self._temperature = temperature
        self._device = next(model.parameters()).device
        table = model.config.moments if moments == "matched" else ()
        self._moments = torch.tensor(table) if table else None
        self._pin("camera", "iso", camera=camera, iso=iso)
        if not self.needs:
            model.cells(CaptureMetadata.same(1, camera=camera, iso=iso))

    @property
    def configurations(self) -> tuple[str, ...]:
        """Names ``camera_ISO`` that the weights were trained on."""
        return self._model.config.known

    def _check_capture(self, capture: CaptureMetadata) -> None:
        self._model.cells(capture)

    @torch.inference_mode()
    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Draw a latent for each row and decode it onto the row's clean image.

        Args:
            request: sRGB, three channels, any height and width.
        """
        clean = request.context.clean
        capture = request.context.capture
        cells = self._model.cells(capture)
        z = self._temperature * standard_normal(request.seeds, clean.shape[1:], "latent")
        part = max(1, _PIXELS // (clean.shape[2] * clean.shape[3]))
        made = []
        for start in range(0, len(clean), part):
            rows = slice(start, start + part)
            drawn, _ = self._model.decode(
                z[rows].to(self._device), clean[rows].to(self._device), _select(cells, rows)
            )
            made.append(drawn.cpu())
        noise = torch.cat(made)
        if self._moments is not None:
            noise = corrected(noise, self._moments[moment_rows(self._model, capture)])
        config = self._model.config
        names = [
            configuration_name(config.cameras[camera], config.isos[iso])
            for camera, iso in zip(cells.camera.tolist(), cells.iso.tolist(), strict=True)
        ]
        return NoiseSample(
            clean=clean,
            noisy=clean + noise,
            params=[{"configuration": name} for name in names],
        )

    @torch.inference_mode()
    def _log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | clean, camera, ISO), ``(B,)`` in nats, white level 1."""
        clean = context.clean
        self._check_channels(clean)
        cells = self._model.cells(context.capture)
        noise = (noisy - clean).to(self._device)
        return self._model.log_prob(noise, clean.to(self._device), cells).cpu()

    def _check_channels(self, clean: Tensor) -> None:
        if clean.shape[1] != 3:
            raise ValueError(
                f"generator 'flow-srgb' takes colour images of 3 channels; clean has shape "
                f"{tuple(clean.shape)}."
            )


def _select(cells: Cells, rows: slice) -> Cells:
    return Cells(cells.camera[rows], cells.iso[rows], cells.cell[rows])
