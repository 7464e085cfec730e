"""Raw noise on sRGB photographs: back to the sensor, noise there, and developed again or not.

    photograph > unprocess > mosaic > raw generator > noisy raw   (> develop > noisy photograph)
                                    > nothing       > clean raw   (> develop > clean photograph)

A noise model of the sensor knows linear raw only. :class:`OnRaw` gives it what the sensor may have
seen of a photograph, so every raw generator, parametric or learned, also serves the many
photographs of which no raw file exists. With ``output="srgb"`` its noise reaches the photograph as
in a camera: bent by gamma and tone curve, and correlated by demosaicing.

The clean image of the pair goes the same way, so the pair differs by noise only. Development clips,
as cameras do; raw is left unclipped. Camera and ISO of a row are passed on: a photograph without
them needs the inner generator's own parameters.

Source: Brooks et al. 2019, "Unprocessing images for learned raw denoising", CVPR; steps and
deviations in :mod:`generators.isp` and :mod:`generators.rendering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor

from generators.base import (
    Domain,
    NoiseContext,
    NoiseGenerator,
    NoiseRequest,
    NoiseSample,
    Params,
)
from generators.capture import CaptureMetadata
from generators.checks import check_choice
from generators.isp import develop, mosaic, unprocess
from generators.rendering import RenderingChoice, rendering_of
from generators.seeds import patch_seed

__all__ = ["OnRaw"]

_REVISION = 2
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what "grey" means to image readers


@final
class OnRaw(NoiseGenerator):
    """A raw generator that reads sRGB photographs.

    Args:
        inner: The generator; it must read and give raw.
        output: ``srgb`` to develop the noisy raw again, ``raw`` to keep it, packed RGGB of half
            the photograph's size.
        matrix: As for :class:`generators.rendering.RenderingChoice`.
        white_balance: Likewise.
        brightness: Likewise.

    Raises:
        ValueError: If the generator is none of raw or follows a reference, or a parameter is wrong.
    """

    def __init__(
        self,
        inner: NoiseGenerator,
        *,
        output: Domain = "srgb",
        matrix: str = "random",
        white_balance: str | Sequence[float] = "random",
        brightness: str | float = "random",
    ) -> None:
        if inner.accepts != "raw" or inner.gives != "raw":
            raise ValueError(
                f"generator '{inner.name}' reads {inner.accepts} and gives {inner.gives}; only one "
                "that reads and gives raw can work behind `unprocess`. Remove `unprocess`, or set "
                "`params: {domain: raw}` where it has that."
            )
        if "reference" in inner.needs:
            raise ValueError(
                f"generator '{inner.name}' follows a raw reference, and the noisy partner of a "
                "photograph is none. Use it on a raw source, without `unprocess`."
            )
        check_choice("output", output, ("srgb", "raw"))
        self._inner, self._choice = (
            inner,
            RenderingChoice(matrix=matrix, white_balance=white_balance, brightness=brightness),
        )
        self.name = inner.name
        # Either may change the pixels, and neither ever goes down.
        self.revision = inner.revision + _REVISION - 1
        self.gives = output
        self.needs = inner.needs
        self.multiple = 2 * inner.multiple
        self.same_bits = inner.same_bits

    def place(self, device: str) -> None:
        """Move the inner generator to a device, if it can be moved."""
        self._inner.place(device)

    def _check_capture(self, capture: CaptureMetadata) -> None:
        self._inner.check_capture(capture)

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Put the inner generator's noise on the sensor's view of each row.

        Args:
            request: sRGB images, 3 channels or 1; H and W even and at least 4. A grey image is
                seen as a grey scene and its luma is returned.

        Returns:
            The developed pair in [0, 1], or, for raw, the clean mosaic in [0, 1] and the noisy raw.
            What the inner generator recorded and the rendering are recorded.

        Raises:
            ValueError: If H or W does not suit a Bayer mosaic, or the inner generator refuses.
        """
        return self._expose(request, [request.seeds])[0]

    def sample_twice(self, request: NoiseRequest) -> tuple[NoiseSample, Tensor]:
        """Shoot each row twice: the same scene and development, independent noise.

        Returns:
            What :meth:`sample` returns, and the noisy images of the second shot.
        """
        again = [patch_seed(seed, "second") for seed in request.seeds]
        first, second = self._expose(request, [request.seeds, again])
        return first, second.noisy

    def _expose(self, request: NoiseRequest, exposures: list[Sequence[int]]) -> list[NoiseSample]:
        """Return one sample for each list of seeds; the rendering follows the request's."""
        image = request.context.clean
        _check_size(image, self.name)
        drawn = [self._choice.draw(seed) for seed in request.seeds]
        raw = mosaic(unprocess(image.cpu().expand(-1, 3, -1, -1), rendering_of(drawn)))
        context = NoiseContext(clean=raw.to(image.device), capture=request.context.capture)
        return [
            self._develop(
                self._inner.sample(NoiseRequest(context=context, seeds=seeds)), drawn, image
            )
            for seeds in exposures
        ]

    def _develop(self, sample: NoiseSample, drawn: Sequence[Params], image: Tensor) -> NoiseSample:
        inner: Sequence[Params] = sample.params or [{}] * len(drawn)
        params = [{**a, **b} for a, b in zip(drawn, inner, strict=True)]
        if self.gives == "raw":
            return NoiseSample(clean=sample.clean, noisy=sample.noisy, params=params)
        grey = image.shape[1] == 1
        clean, noisy = (
            _to_photograph(raw.cpu(), drawn, grey=grey).to(image.device)
            for raw in (sample.clean, sample.noisy)
        )
        return NoiseSample(clean=clean, noisy=noisy, params=params)


def _to_photograph(raw: Tensor, params: Sequence[Params], *, grey: bool) -> Tensor:
    rgb = develop(raw, rendering_of(params))
    if not grey:
        return rgb
    r, g, b = rgb.unbind(1)
    return (_LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b)[:, None]


def _check_size(image: Tensor, name: str) -> None:
    height, width = image.shape[2:]
    if height % 2 or width % 2 or min(height, width) < 4:
        raise ValueError(
            f"generator '{name}' behind `unprocess` needs an even height and width of at least 4, "
            "because a Bayer mosaic repeats every 2 pixels; clean is "
            f"{height} by {width}. Use an even patch size."
        )
