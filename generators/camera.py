"""A simulated camera: the photograph is taken again, by a sensor with noise.

    photograph > unprocess > mosaic > sensor at an ISO speed > develop > noisy photograph
                                    > no sensor              > develop > clean photograph

The noise is made where it arises, on the sensor's electrons (:mod:`generators.sensor`), and
reaches sRGB through demosaicing, colour matrix, gamma and tone curve (:mod:`generators.isp`). It is
therefore correlated between neighbours and channels, strongest where the curves are steepest, and
gone in blown highlights: what white noise on sRGB lacks.

The clean image of the pair is developed too, from the noiseless mosaic, so that the pair differs by
noise and not by what mosaic and demosaic do to edges.

Nothing is clipped or quantised that a camera would not: the converter and the development are part
of the device. White balance, brightness and colour matrix are drawn for each row as in the paper:
red gain U[1.9, 2.4], blue gain U[1.5, 1.9], brightness gain 1 / N(0.8, 0.1), and a random mixture
of four cameras' matrices.

Differs from the paper: the brightness divisor is kept within [0.5, 1], since a gain below 1 would
need a sensor brighter than white; shot and read noise follow from a sensor and an ISO speed instead
of a fitted log-linear law; row noise and quantisation are added.

Everything runs on the CPU, whatever the request's device: photons are counted one by one there, in
operations whose bits are the same on every processor (:mod:`generators.exact`).

Source: Brooks et al. 2019, "Unprocessing images for learned raw denoising", CVPR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, final

from torch import Tensor

from generators.base import Domain, NoiseGenerator, NoiseRequest, NoiseSample, Params
from generators.checks import check_choice, check_number, check_range
from generators.isp import develop, mosaic, unprocess
from generators.rendering import RenderingChoice, rendering_of
from generators.seeds import patch_seed, stream_rng
from generators.sensor import SENSORS, Sensor

__all__ = ["SimulatedCamera"]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what "grey" means to image readers


@final
class SimulatedCamera(NoiseGenerator):
    """Unprocess a photograph, expose a noisy sensor with it, and develop it again.

    Args:
        camera: Name of a generic sensor (``phone``, ``compact``, ``full-frame``), or a mapping with
            all fields of :class:`generators.sensor.Sensor`.
        iso: ISO speed; ``[low, high]`` to draw one for each row, uniformly in log ISO and rounded;
            ``{one_of: [...]}`` to choose one for each row; or ``"shot"`` for the row's own, which
            is then needed.
        output: ``srgb`` for a photograph, ``raw`` for packed RGGB of half the size.
        matrix: ``random``, or the name of one camera's colour matrix (``generators.isp.MATRICES``).
        white_balance: ``random``, or ``[red gain, blue gain]``, each >= 1.
        brightness: ``random``, or the brightness gain, >= 1.

    Raises:
        ValueError: If a parameter is unknown or out of range.

    Example:
        >>> sorted(SimulatedCamera(iso="shot").needs)
        ['iso']
    """

    name = "camera"
    multiple = 2
    revision = 2
    same_bits = True

    def __init__(
        self,
        *,
        camera: str | Mapping[str, Any] = "phone",
        iso: float | str | Sequence[float] | Mapping[str, Any] = 1600,
        output: Domain = "srgb",
        matrix: str = "random",
        white_balance: str | Sequence[float] = "random",
        brightness: str | float = "random",
    ) -> None:
        self._camera, self._sensor = _read_sensor(camera)
        self._speeds = _Speeds(iso, self._sensor)
        if self._speeds.from_capture:
            self.needs = frozenset({"iso"})
        check_choice("output", output, ("srgb", "raw"))
        self.gives = output
        self._rendering = RenderingChoice(
            matrix=matrix, white_balance=white_balance, brightness=brightness
        )

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Take each row's photograph again.

        Args:
            request: sRGB images, 3 channels or 1; H and W even and at least 4. A grey image is
                photographed as a grey scene and its luma is returned.

        Returns:
            The developed pair in [0, 1], or, for raw, the clean mosaic in [0, 1] and the noisy raw,
            which may be negative. Sensor, ISO and development are recorded.

        Raises:
            ValueError: If H or W does not suit a Bayer mosaic, or an ISO is below the base.
        """
        image = request.context.clean
        _check_size(image)
        isos = self._speeds.draw(request)
        params = [self._draw(seed, iso) for seed, iso in zip(request.seeds, isos, strict=True)]
        clean, noisy = self._photograph(image.cpu(), params, request.seeds)
        return NoiseSample(
            clean=clean.to(image.device), noisy=noisy.to(image.device), params=params
        )

    def sample_twice(self, request: NoiseRequest) -> tuple[NoiseSample, Tensor]:
        """Take each row's photograph twice: the same scene and development, independent noise.

        Returns:
            What :meth:`sample` returns, and the noisy images of the second exposure.
        """
        first = self.sample(request)
        image = request.context.clean
        again = [patch_seed(seed, "second") for seed in request.seeds]
        return first, self._photograph(image.cpu(), first.params, again)[1].to(image.device)

    def _photograph(
        self, image: Tensor, params: Sequence[Params], seeds: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return the clean and the noisy picture of each row."""
        rendering = rendering_of(params)
        clean = mosaic(unprocess(image.expand(-1, 3, -1, -1), rendering))
        noisy = self._sensor.expose(clean, [float(row["iso"]) for row in params], seeds)
        if self.gives == "raw":
            return clean, noisy
        clean, noisy = develop(clean, rendering), develop(noisy, rendering)
        return (_luma(clean), _luma(noisy)) if image.shape[1] == 1 else (clean, noisy)

    def _draw(self, seed: int, iso: int) -> Params:
        """Return what one row is taken and developed with, as JSON scalars."""
        return {"camera": self._camera, "iso": iso, **self._rendering.draw(seed)}


class _Speeds:
    """Where the ISO speed of a row comes from."""

    def __init__(self, iso: object, sensor: Sensor) -> None:
        self.from_capture = iso == "shot"
        self._choices: list[int] = []
        self._range: tuple[float, float] | None = None
        if self.from_capture:
            return
        if isinstance(iso, list | tuple):
            self._range = check_range("iso", iso, low=sensor.base_iso)
        elif isinstance(iso, Mapping):
            self._choices = _read_choices(iso, sensor)
        elif isinstance(iso, str):
            raise ValueError(
                "iso must be a number, a range [low, high], {one_of: [...]} or 'shot'; "
                f"it is {iso!r}."
            )
        else:
            self._choices = [_read_speed("iso", iso, sensor)]

    def draw(self, request: NoiseRequest) -> list[int]:
        """Return the ISO speed of each row."""
        if self.from_capture:
            return [int(iso or 0) for iso in request.context.capture.iso]
        rngs = (stream_rng(seed, "iso") for seed in request.seeds)
        if self._range is None:
            return [self._choices[int(rng.integers(len(self._choices)))] for rng in rngs]
        low, high = (math.log(end) for end in self._range)
        return [round(math.exp(rng.uniform(low, high))) for rng in rngs]


def _read_sensor(camera: object) -> tuple[str, Sensor]:
    """Return the label and the sensor of the ``camera`` parameter."""
    if isinstance(camera, Mapping):
        expected = {field.name for field in fields(Sensor)}
        if set(camera) != expected:
            raise ValueError(
                f"camera as a mapping needs exactly {', '.join(sorted(expected))}; "
                f"it has {', '.join(sorted(map(str, camera))) or 'nothing'}."
            )
        return "custom", Sensor(**camera)
    name = check_choice("camera", camera, tuple(SENSORS))
    return name, SENSORS[name]


def _read_choices(iso: Mapping[str, Any], sensor: Sensor) -> list[int]:
    speeds = iso.get("one_of")
    if set(iso) != {"one_of"} or not isinstance(speeds, list | tuple) or not speeds:
        raise ValueError(f"iso as a mapping must be {{one_of: [speed, ...]}}; it is {dict(iso)!r}.")
    return [_read_speed(f"iso.one_of[{i}]", speed, sensor) for i, speed in enumerate(speeds)]


def _read_speed(name: str, value: object, sensor: Sensor) -> int:
    speed = check_number(name, value, low=1.0)
    sensor.electrons_at_white(speed)
    return round(speed)


def _check_size(image: Tensor) -> None:
    height, width = image.shape[2:]
    if height % 2 or width % 2 or min(height, width) < 4:
        raise ValueError(
            f"generator 'camera' needs an even height and width of at least 4, because a Bayer "
            f"mosaic repeats every 2 pixels; clean is {height} by {width}. Use an even patch size."
        )


def _luma(rgb: Tensor) -> Tensor:
    r, g, b = rgb.unbind(1)
    return (_LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b)[:, None]
