"""Measuring noise level functions as a training task.

    objective          a batch carries              the fit
    nlf                clean and noisy              the likelihood of noisy given clean
    nlf-noisy-pairs    two noisy shots of a scene   the moments of their difference, told apart by
                                                    neighbours (:mod:`generators.nlf.calibration`)

The maximum of a likelihood with two numbers needs no descent. Steps are the loop's usual ones, on
the logarithms of beta1 and beta2, and are worth a look at the curve; when they end, the numbers are
fitted to a count of batches at once, each camera and ISO for itself, and that is what is saved.
``params: {batches: 200}`` says to how many; the same batches are drawn twice, first for the values
at which they are clipped.

The loss of a step on noisy pairs puts the mean of a pixel's neighbours in the place of its unknown
signal, which is right on flat ground and nearly so elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from generators.base import Domain
from generators.capture import configuration_name
from generators.checks import check_choice, check_params, check_whole
from generators.nlf.calibration import Calibration, NoiseLevel, NoisyPairStatistics, PairStatistics
from generators.nlf.network import NLF, Distribution, NLFConfig
from generators.nlf.sampling import NLFGenerator
from generators.training import DataUse, NoiseTask, Part, TrainingBatch, TrainingSetup, image

__all__ = [
    "NLFTask",
    "NoisyPairNLFTask",
    "copied",
    "nlf_part",
    "rough_start",
]

_PARAMS = ("batches", "distribution")
_BATCHES = 200
Statistics = PairStatistics | NoisyPairStatistics


class NLFTask(NoiseTask):
    """Maximum likelihood of beta1 and beta2 of each camera and ISO, from clean and noisy images.

    Args:
        module: The table to be filled.
        batches: How many batches the closing fit takes in.
    """

    uses: ClassVar[DataUse] = "pairs"
    domain: Domain = "raw"
    either_domain: ClassVar[bool] = True

    def __init__(self, module: NLF, *, batches: int) -> None:
        self.module: NLF = module
        self.domain = module.config.domain
        self._batches = batches
        self._found: dict[str, Calibration] = {}
        self._failed: dict[str, str] = {}

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> NLFTask:
        """Make the task; see :class:`NoiseTask`.

        Args:
            params: ``distribution``: ``gaussian`` (default) or ``poisson-gaussian``; ``batches`` of
                the closing fit, 200.
            setup: Cameras and ISOs of the data become the table's. ``dtype`` is not used.

        Raises:
            ValueError: If a parameter is unknown or wrong.
        """
        check_params("nlf", params, _PARAMS)
        distribution = params.get("distribution", "gaussian")
        check_choice("distribution", distribution, get_args(Distribution))
        config = NLFConfig(
            configurations=tuple(configuration_name(*capture) for capture in setup.captures),
            domain="srgb" if setup.channels == 3 else "raw",
            distribution=distribution,
        )
        return cls(NLF(config), batches=check_whole("batches", params.get("batches", _BATCHES)))

    def initialise(self, batch: TrainingBatch) -> None:
        """Start from the mean variance of the batch of step 0."""
        clean, half = self._signal(batch)
        rough_start(self.module, signal=clean, variance=half)

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the mean negative log-likelihood, nats a dimension."""
        del step
        clean, noisy = image(batch, "clean"), image(batch, "noisy")
        return self.module.nll(noisy - clean, clean, batch.capture).mean()

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return ``nll``, nats a dimension, of normal noise with the fitted variance."""
        if batch.clean is not None and batch.noisy is not None:
            noise = batch.noisy - batch.clean
            return {"nll": float(self.module.nll(noise, batch.clean, batch.capture).mean())}
        return {"nll": float(self.loss(batch, step))}

    def finish(self, batches: Callable[[int], TrainingBatch]) -> None:
        """Fit every camera and ISO to all batches at once and keep that.

        A configuration that cannot be fitted (never drawn, flat, clipped throughout) keeps what the
        steps found, and :meth:`findings` says so.
        """
        statistics: dict[int, Statistics] = {}
        for label, clip in self._limits(batches).items():
            statistics[label] = self._statistics(clip)
        for label, first, second in self._images(batches):
            statistics[label].add(first, second)
        names = self.module.config.configurations
        self._found, self._failed = {}, {}
        for label, name in enumerate(names):
            if label not in statistics:
                self._failed[name] = "no batch held it; raise `batches`."
                continue
            try:
                self._found[name] = statistics[label].fit()
            except ValueError as error:
                self._failed[name] = str(error)
        self.module.set_levels({name: found.level for name, found in self._found.items()})

    def findings(self) -> dict[str, Any]:
        """Return the fitted numbers with their standard errors, and what could not be fitted."""
        told: dict[str, Any] = {}
        if self._found:
            told["levels"] = {
                name: {
                    "beta1": found.beta1,
                    "beta1_error": found.error1,
                    "beta2": found.beta2,
                    "beta2_error": found.error2,
                    "values": found.pixels,
                }
                for name, found in self._found.items()
            }
        if self._failed:
            told["not_fitted"] = dict(self._failed)
        return told

    def parts(self) -> dict[str, Part]:
        """Return the table."""
        return {"": nlf_part(self.module)}

    def generator(self) -> NLFGenerator:
        """Return the table as it stands as a generator of its own."""
        return NLFGenerator(copied(self.module))

    def _limits(self, batches: Callable[[int], TrainingBatch]) -> dict[int, tuple[float, float]]:
        """Return the smallest and largest noisy value of each label."""
        limits: dict[int, tuple[float, float]] = {}
        for label, first, second in self._images(batches):
            ends = limits.get(label, (float("inf"), float("-inf")))
            for noisy in self._noisy(first, second):
                ends = min(ends[0], float(noisy.min())), max(ends[1], float(noisy.max()))
            limits[label] = ends
        return limits

    def _images(
        self, batches: Callable[[int], TrainingBatch]
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield the two images that the fit compares, label by label of each batch."""
        for step in range(self._batches):
            batch = batches(step)
            first, second = self._compared(batch)
            for label in sorted(set(batch.labels.tolist())):
                rows = batch.labels == label
                yield label, first[rows], second[rows]

    def _compared(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        return image(batch, "clean"), image(batch, "noisy")

    def _noisy(self, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        del first
        return (second,)

    def _statistics(self, clip: tuple[float, float]) -> Statistics:
        return PairStatistics(clip)

    def _signal(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return an estimate of the signal and the squared noise at each pixel."""
        clean = image(batch, "clean")
        return clean, (image(batch, "noisy") - clean).square()


class NoisyPairNLFTask(NLFTask):
    """Maximum likelihood of beta1 and beta2 from two noisy shots of each scene, no clean image."""

    uses: ClassVar[DataUse] = "noisy-pairs"

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return the mean negative log-likelihood of (n1 - n2) / sqrt(2), nats a dimension."""
        del step
        signal, half = self._signal(batch)
        return self.module.nll(half.sqrt(), signal, batch.capture).mean()

    def _compared(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        return image(batch, "noisy"), image(batch, "second")

    def _noisy(self, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        return first, second

    def _statistics(self, clip: tuple[float, float]) -> Statistics:
        return NoisyPairStatistics(clip)

    def _signal(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        first, second = image(batch, "noisy"), image(batch, "second")
        mean = 0.5 * (first + second)
        padded = pad(mean, (1, 1, 1, 1), mode="reflect")
        around = (9.0 * avg_pool2d(padded, 3, stride=1) - mean) / 8.0
        return around, 0.5 * (first - second).square()


@torch.no_grad()
def rough_start(model: NLF, *, signal: Tensor, variance: Tensor) -> None:
    """Set every configuration to half the mean variance from either term.

    Args:
        model: Written to.
        signal: Estimate of the clean image, any shape.
        variance: Estimate of the noise's variance, any shape; only its mean counts.
    """
    mean = max(float(variance.double().mean()), 1e-12)
    lit = max(float(signal.double().clamp(0.0, 1.0).mean()), 1e-3)
    level = NoiseLevel(0.5 * mean / lit, 0.5 * mean)
    model.set_levels(dict.fromkeys(model.config.configurations, level))


def nlf_part(model: NLF) -> Part:
    """Return a table as a weights file."""
    return Part(family="nlf", config=model.config.to_dict(), tensors=model.state_dict())


def copied(model: NLF) -> NLF:
    """Return a table of its own with the same numbers."""
    copy = NLF(model.config)
    copy.load_state_dict(model.state_dict())
    return copy
