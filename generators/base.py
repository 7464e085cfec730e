"""What every noise generator is: a function from a clean image and seeds to a noisy image.

Notation: B rows, C channels, H by W pixels, ``noise = noisy - clean``. Images are float32 with the
white level at 1. Two *domains* exist:

    srgb   (B, 3, H, W), or (B, 1, H, W) grey, encoded (gamma) values as in a PNG, in [0, 1]
    raw    (B, 4, H/2, W/2), linear sensor values after black-level subtraction, white level 1,
           packed R, G (red row), G (blue row), B

Generators never clip or quantise (but for what is part of a device that they simulate): both
destroy the statistics that likelihoods and metrics need, so they are a stage of the pipeline.
Randomness comes in with the request, one seed a row; a generator holds none, so row i of the result
depends on row i and seed i only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from generators.capture import CaptureMetadata, CaptureValue
from generators.checks import check_request
from generators.request import Domain, Need, NoiseContext, NoiseRequest, NoiseSample, Params
from generators.seeds import patch_seed
from generators.weights_file import load_network

__all__ = [
    "DensityGenerator",
    "Domain",
    "Likelihood",
    "Need",
    "NoiseContext",
    "NoiseGenerator",
    "NoiseRequest",
    "NoiseSample",
    "Params",
    "TrainedGenerator",
    "as_generator",
]

Network = TypeVar("Network", bound=nn.Module)


class NoiseGenerator(ABC):
    """The seam between noise models and everything else; a model implements :meth:`_sample`.

    Attributes:
        name: Registry name, e.g. ``"naflow"``.
        revision: Goes up whenever the pixels for the same request change.
        accepts: Domain of the request's clean image.
        gives: Domain of the sample.
        needs: What every row must carry beside the clean image: columns of capture metadata, or
            ``"reference"``. Checked before work starts.
        multiple: What H and W must be divisible by.
        color_only: Whether grey sRGB is refused.
        same_bits: Whether noise has the same bits on every processor (:mod:`generators.exact`).
    """

    name: str
    revision: int
    accepts: Domain = "srgb"
    gives: Domain = "srgb"
    needs: frozenset[Need] = frozenset()
    multiple: int = 1
    color_only: bool = False
    same_bits: bool = False
    _pinned: Mapping[str, CaptureValue] = {}

    @abstractmethod
    def _sample(self, request: NoiseRequest) -> NoiseSample:
        """Put noise on each row of a checked request; row i depends on row i and seed i only.

        Returns:
            The noisy images; a network's come back from its device to the CPU.

        Raises:
            ValueError: If the model does not know a row's capture metadata, or cannot take a shape.
        """

    def _check_capture(self, capture: CaptureMetadata) -> None:  # noqa: B027 - a default, no duty
        """Refuse capture metadata that the model does not know; by default any is served."""

    def place(self, device: str) -> None:  # noqa: B027 - likewise
        """Move what can be moved to a device, e.g. ``"cuda:0"``; base noise stays the same."""

    def sample(self, request: NoiseRequest) -> NoiseSample:
        """Put noise on each row of the request.

        Raises:
            ValueError: If the images are not of :attr:`accepts`, a row lacks what :attr:`needs`
                names, or the model does not know a row's capture metadata.
        """
        check_request(
            request,
            name=self.name,
            accepts=self.accepts,
            needs=self.needs,
            color_only=self.color_only,
        )
        context = replace(request.context, capture=self._told(request.context.capture))
        return self._sample(replace(request, context=context))

    def sample_twice(self, request: NoiseRequest) -> tuple[NoiseSample, Tensor]:
        """Return what :meth:`sample` returns, and noisy images of the same scenes taken again.

        A generator that draws more than noise (white balance, development) draws that once.
        """
        again = replace(request, seeds=[patch_seed(seed, "second") for seed in request.seeds])
        return self.sample(request), self.sample(again).noisy

    def check_capture(self, capture: CaptureMetadata) -> None:
        """Refuse capture metadata that the model does not know, before anything is made.

        Raises:
            ValueError: If there is a row of such; the message names it and what is known.
        """
        self._check_capture(self._told(capture))

    def _pin(self, *needs: Need, **values: CaptureValue | None) -> None:
        """Take columns from the parameters where given, and need the others of every row.

        Args:
            needs: What a row must carry where no parameter gives it.
            values: The parameters, by column; they hold for every row and go before its own.
        """
        self._pinned = {name: value for name, value in values.items() if value is not None}
        self.needs = frozenset(needs) - self._pinned.keys()

    def _told(self, capture: CaptureMetadata) -> CaptureMetadata:
        """Return capture metadata with what parameters say in place of the rows' own."""
        return capture.given(**self._pinned) if self._pinned else capture


class TrainedGenerator(NoiseGenerator, Generic[Network]):
    """A generator whose constructor's first argument is what :meth:`load_network` reads.

    Attributes:
        network_type: The network's class, made from a ``config_type``.
        config_type: Its arrangement's, with ``from_dict``.
    """

    network_type: ClassVar[Any]
    config_type: ClassVar[Any]
    _model: Network
    _device: torch.device

    @classmethod
    def load_network(cls, path: Path) -> Any:
        """Read a weights file.

        Raises:
            ValueError: If the file is damaged or of another family, or does not fit.
        """
        return load_network(
            path,
            family=cls.name,
            build=lambda config: cls.network_type(cls.config_type.from_dict(config)),
        )

    @property
    def configurations(self) -> tuple[str, ...]:
        """Names ``camera_ISO`` that the weights know; none where they are told neither."""
        return ()

    def place(self, device: str) -> None:
        """Move the network to a device, e.g. ``"cuda:0"``; base noise stays the same."""
        self._device = torch.device(device)
        self._model.to(self._device)


@runtime_checkable
class Likelihood(Protocol):
    """A noise model with an exact density."""

    def log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | context) of each row, shape ``(B,)``, in nats."""
        ...


class DensityGenerator(NoiseGenerator):
    """A generator with an exact density; a model implements :meth:`_log_prob`."""

    @abstractmethod
    def _log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | context) of each row of images of one shape."""

    def log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        """Return log p(noisy | context) of each row, shape ``(B,)``, in nats at white level 1.

        Args:
            noisy: Float32, of the shape of ``context.clean``.
            context: Clean images and capture metadata.

        Raises:
            ValueError: If the shapes differ, or the model does not know a row's capture metadata.
        """
        clean = context.clean
        if noisy.shape != clean.shape:
            raise ValueError(
                f"noisy is {tuple(noisy.shape)} and clean {tuple(clean.shape)}; a density needs "
                "equal shapes."
            )
        return self._log_prob(noisy, replace(context, capture=self._told(context.capture)))


def as_generator(generator: Any) -> NoiseGenerator:
    """Return a generator as the pipeline knows it, also one that is a plain class.

    Args:
        generator: A :class:`NoiseGenerator`, or anything with ``name``, ``revision``, ``accepts``,
            ``gives``, ``needs`` and ``sample(request)``; what else it lacks has the base's default.

    Raises:
        TypeError: If one of those is missing.
    """
    if isinstance(generator, NoiseGenerator):
        return generator
    lacking = [name for name in _LEAST if not hasattr(generator, name)]
    if lacking:
        raise TypeError(
            f"{type(generator).__name__} is no noise generator: it has no {', '.join(lacking)}. "
            "Derive it from generators.base.NoiseGenerator, or give it these."
        )
    return _PlainDensity(generator) if hasattr(generator, "log_prob") else _Plain(generator)


_LEAST = ("name", "revision", "accepts", "gives", "needs", "sample")


class _Plain(NoiseGenerator):
    """A generator of another package that does not derive from the base; it checks for itself."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        for name in (*_LEAST[:-1], "multiple", "color_only", "same_bits"):
            setattr(self, name, getattr(inner, name, getattr(self, name, None)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # a copy that is being made has no inner generator yet
            raise AttributeError(name)
        return getattr(self._inner, name)

    def _sample(self, request: NoiseRequest) -> NoiseSample:
        sample: NoiseSample = self._inner.sample(request)
        return sample

    def sample(self, request: NoiseRequest) -> NoiseSample:
        return self._sample(request)

    def sample_twice(self, request: NoiseRequest) -> tuple[NoiseSample, Tensor]:
        if hasattr(self._inner, "sample_twice"):
            sample, second = self._inner.sample_twice(request)
            return sample, second
        return super().sample_twice(request)

    def place(self, device: str) -> None:
        if hasattr(self._inner, "place"):
            self._inner.place(device)

    def _check_capture(self, capture: CaptureMetadata) -> None:
        for name in ("check_capture", "check_shots"):  # the second is its former name
            if hasattr(self._inner, name):
                getattr(self._inner, name)(capture)
                return


class _PlainDensity(_Plain):
    """The same, with a density."""

    def log_prob(self, noisy: Tensor, context: NoiseContext) -> Tensor:
        density: Tensor = self._inner.log_prob(noisy, context)
        return density
