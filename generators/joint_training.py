"""Training a noise model and a denoiser together, where no clean image is known.

The denoiser D estimates the clean image, what is left over trains the noise model, and the noise
model's likelihood trains the denoiser in turn:

    loss = nll + lambda * mse,   lambda = 2^18

with ``nll`` in nats a dimension, a mean over rows, of the estimated noise under the noise model,
and ``mse`` the mean squared error of the denoiser against a noisy target. A subclass says where the
two come from: two shots (:mod:`generators.noise2noise_flow`), or one
(:mod:`generators.r2r_flow`). Gradients reach both networks. The first ``pretrain_steps`` steps
train the denoiser alone, on ``lambda * mse``.

**Collapse.** If a clean estimate knows the noise that is judged with it, both terms of the
likelihood can be had cheaply: the denoiser returns its input, no noise is left over, and the
density of nothing is infinite. So when training ends, the estimated noise is compared with a
measure of the noise that asks no network, ``noise_share`` = its mean square over that measure. It
is near 1, or above by the denoiser's error; below a quarter the training is reported as collapsed
(:meth:`JointTask.findings`). Nothing is raised: such weights are a result too.

Source: Maleky et al. 2022, "Noise2NoiseFlow: Realistic Camera Noise Modeling without Clean Images"
(CVPR), eq. 3-6.

Differs from the paper: sums of squares and of two likelihoods are means, as released, which keeps
their ratio; camera and ISO are those of each row.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from generators.base import Domain, NoiseGenerator
from generators.checks import check_choice, check_number, check_params, check_whole
from generators.joint_models import (
    domain_of,
    fresh_model,
    generator_of,
    part_of,
    start_from,
)
from generators.noise_model import NoiseModel
from generators.training import NoiseTask, Part, TrainingBatch, TrainingSetup, evaluating

__all__ = ["JointConfig", "JointTask", "Left", "read_config", "surroundings"]

PARAMS = (
    "arrangement",
    "denoiser",
    "denoiser_params",
    "lambda_",
    "noise_model",
    "pretrain_steps",
)
_LAMBDA = 2.0**18
_NOISE_MODELS = ("nlf", "noise-flow")
_COLLAPSED_BELOW = 0.25
_CHECKED_BATCHES = 8


class Left(NamedTuple):
    """What one batch leaves over.

    Args:
        mse: Scalar, the denoiser's error against its noisy targets.
        noise: Estimated noise, one ``(B, C, H, W)`` for each time that it is judged.
        clean: The clean estimates it is judged with, in [0, 1].
    """

    mse: Tensor
    noise: Sequence[Tensor]
    clean: Sequence[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class JointConfig:
    """What the joint trainings have in common.

    Args:
        noise_model: ``noise-flow`` or ``nlf``.
        denoiser: Name of the denoiser, for the setup that makes it.
        denoiser_params: Its arrangement, e.g. ``{"width": 32}``; what is left out has the
            denoiser's defaults.
        lambda_: Weight of the denoiser's error, > 0.
        pretrain_steps: Steps in which the denoiser trains alone; part of the schedule's steps.
        arrangement: Layers of a ``noise-flow``, e.g. ``"sdn|unc|gain|unc"``; ``None`` for the
            released ones.

    Raises:
        ValueError: If a value is unknown or out of range.
    """

    noise_model: str = "noise-flow"
    denoiser: str = "dncnn"
    denoiser_params: Mapping[str, Any] = field(default_factory=dict)
    lambda_: float = _LAMBDA
    pretrain_steps: int = 0
    arrangement: str | None = None

    def __post_init__(self) -> None:
        check_choice("noise_model", self.noise_model, _NOISE_MODELS)
        if not isinstance(self.denoiser_params, Mapping):
            raise ValueError(
                "denoiser_params must map names to values, e.g. {width: 32}; got "
                f"{self.denoiser_params!r}."
            )
        if set_elsewhere := sorted({"channels", "seed"} & set(self.denoiser_params)):
            raise ValueError(
                f"denoiser_params cannot set {' and '.join(set_elsewhere)}: the data and the "
                "training's seed do; leave it out."
            )
        check_number("lambda_", self.lambda_, low=0.0, open_low=True)
        check_whole("pretrain_steps", self.pretrain_steps, low=0)
        if self.arrangement is not None and self.noise_model != "noise-flow":
            raise ValueError("arrangement is of noise_model 'noise-flow' only; leave it out.")


class JointTask(NoiseTask):
    """A noise model and a denoiser that train each other.

    Args:
        noise_model: The density.
        denoiser: Images in, images out.
        config: See :class:`JointConfig`.
        seed: Seed of everything drawn.
        dtype: Precision of the denoiser's convolutions. bfloat16 has eight bits, which is enough
            for noise but not for an image, so only a denoiser that predicts the noise takes it.
    """

    domain: Domain = "raw"
    either_domain: ClassVar[bool] = True
    channels_last: ClassVar[bool] = True
    fits_first_guess: ClassVar[bool] = True

    def __init__(
        self,
        noise_model: nn.Module,
        denoiser: nn.Module,
        config: JointConfig,
        *,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not isinstance(noise_model, NoiseModel):
            raise TypeError(
                f"{type(noise_model).__name__} is no noise model: it lacks `nll`. "
                "See generators/noise_model.py."
            )
        self.module: nn.Module = nn.ModuleDict({"noise_model": noise_model, "denoiser": denoiser})
        self.config, self._seed = config, seed
        self._network, self._denoiser = noise_model, denoiser
        self._density: NoiseModel = noise_model
        self.domain = domain_of(noise_model)
        predicts_noise = bool(getattr(getattr(denoiser, "config", None), "residual", False))
        self._dtype = dtype if predicts_noise else torch.float32
        self._checked: tuple[float, float] | None = None

    @classmethod
    def networks(cls, config: JointConfig, setup: TrainingSetup) -> tuple[nn.Module, nn.Module]:
        """Make the noise model and the denoiser with fresh weights.

        Raises:
            ValueError: If the setup offers no denoisers, or the images do not suit the noise model.
        """
        if setup.denoiser is None:
            raise ValueError(
                "a joint training needs a denoiser, and this setup makes none; give "
                "TrainingSetup.denoiser."
            )
        model = fresh_model(config.noise_model, setup, arrangement=config.arrangement)
        made = setup.denoiser(config.denoiser, setup.seed, **config.denoiser_params)
        return model, made

    def initialise(self, batch: TrainingBatch) -> None:
        """Start the noise model from a rough guess at the noise of the batch of step 0."""
        noise, clean = self.guess(batch)
        start_from(
            self._network, noise, clean.clamp(0.0, 1.0), batch.capture, fitted=self.fits_first_guess
        )

    def loss(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return ``nll + lambda * mse``, or the second term alone while pre-training."""
        left = self.left_over(batch, step)
        if step < self.config.pretrain_steps:
            return self.config.lambda_ * left.mse
        return self._nll(left, batch) + self.config.lambda_ * left.mse

    @torch.no_grad()
    def measure(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Return validation figures of one batch, means over its rows.

        Returns:
            ``nll``: nats a dimension. Of the real noise given the clean image, with
            ``denoiser_mse``, where the batch has both; else of the estimated noise.
        """
        with evaluating(self.module):
            if batch.clean is None or batch.noisy is None:
                return {"nll": float(self._nll(self.left_over(batch, step), batch))}
            noise = batch.noisy - batch.clean
            nll = self._density.nll(noise, batch.clean, batch.capture).mean()
            error = (self.denoise(batch.noisy) - batch.clean).square().mean()
            return {"nll": float(nll), "denoiser_mse": float(error)}

    @torch.no_grad()
    def finish(self, batches: Callable[[int], TrainingBatch]) -> None:
        """Compare the estimated noise of some batches with a measure that asks no network."""
        estimated = measured = nll = 0.0
        with evaluating(self.module):
            for step in range(_CHECKED_BATCHES):
                batch = batches(step)
                left = self.left_over(batch, step)
                estimated += sum(float(e.double().square().mean()) for e in left.noise)
                measured += len(left.noise) * float(self.variance(batch))
                nll += float(self._nll(left, batch)) / _CHECKED_BATCHES
        self._checked = estimated / max(measured, 1e-30), nll

    def findings(self) -> dict[str, Any]:
        """Return ``noise_share``, and ``collapse`` where it tells of one."""
        if self._checked is None:
            return {}
        share, nll = self._checked
        told: dict[str, Any] = {"noise_share": _json(share)}
        healthy = math.isfinite(nll) and share >= _COLLAPSED_BELOW
        if not healthy:
            told["collapse"] = {
                "noise_share": _json(share),
                "nll": _json(nll),
                "what": (
                    "the denoiser leaves hardly any noise over, or numbers that are not finite, so "
                    "the noise model describes nothing; do not use these weights"
                ),
            }
        return told

    def parts(self) -> dict[str, Part]:
        """Return the noise model, and the denoiser under ``-denoiser``."""
        config: Any = getattr(self._denoiser, "config", None)
        values = config.to_dict() if hasattr(config, "to_dict") else {}
        denoiser = Part(
            family=self.config.denoiser, config=values, tensors=self._denoiser.state_dict()
        )
        return {"": part_of(self._network), "-denoiser": denoiser}

    def generator(self) -> NoiseGenerator | None:
        """Return the noise model as it stands as a generator of its own."""
        return generator_of(self._network)

    @abstractmethod
    def left_over(self, batch: TrainingBatch, step: int) -> Left:
        """Return the noise that the denoiser leaves over, and its error."""

    @abstractmethod
    def guess(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return noise of about the right level and a clean image of about the right brightness."""

    @abstractmethod
    def variance(self, batch: TrainingBatch) -> Tensor:
        """Return the mean variance of the noise as the images show it without a network, scalar."""

    def denoise(self, noisy: Tensor) -> Tensor:
        """Return the denoiser's estimate of the clean image, unclipped, float32."""
        context: AbstractContextManager[Any] = nullcontext()
        if self._dtype is not torch.float32:
            context = torch.autocast(noisy.device.type, dtype=self._dtype)
        with context:
            estimate: Tensor = self._denoiser(noisy)
        return estimate.float()

    def _nll(self, left: Left, batch: TrainingBatch) -> Tensor:
        found = [
            self._density.nll(noise, clean, batch.capture).mean()
            for noise, clean in zip(left.noise, left.clean, strict=True)
        ]
        return torch.stack(found).mean()


def read_config(name: str, params: Mapping[str, Any], more: tuple[str, ...]) -> JointConfig:
    """Read the common parameters.

    Args:
        name: The objective, for messages.
        params: A manifest's.
        more: Names of the objective's own parameters.

    Raises:
        ValueError: If a parameter is unknown or wrong.
    """
    check_params(name, params, (*PARAMS, *more))
    return JointConfig(**{key: params[key] for key in PARAMS if key in params})


def surroundings(image: Tensor) -> Tensor:
    """Return the mean of each pixel's eight neighbours, mirrored at the border, same shape."""
    padded = pad(image, (1, 1, 1, 1), mode="reflect")
    return (9.0 * avg_pool2d(padded, 3, stride=1) - image) / 8.0


def _json(value: float) -> float | None:
    """Return a number as JSON has it: not a number is none."""
    return round(value, 4) if math.isfinite(value) else None
