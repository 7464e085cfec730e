"""Denoising with a density of clean images: the likeliest image, given the noisy one.

    estimate = argmax over C of   beta log N(noisy; C, sigma^2) + log p(C)

p is a Glow trained on clean photographs (:mod:`generators.glow`), log N the noise model's data term
(:mod:`denoisers.noise_terms`; white Gaussian noise unless another is given), and the maximum is
sought by Adam over the pixels of C. Nothing was trained for a noise level: one prior serves every
level and every noise model that has a density.

Why beta: at beta = 1 this is Bayes' rule, but p is only a model. A flow gives smooth images more
density than they deserve, so the plain maximum is too smooth, and more where there is much noise to
smooth away; a larger beta holds on to the noisy image.

The objective is followed for a fixed number of steps; the estimate is the *candidate with the
highest objective* on the way, so that a last step that overshoots costs nothing. Rows do not know
of each other: the objective is a sum over rows, and Adam works on each number by itself.

Source: "Image denoising with normalizing flow priors", the published table of which has Glow of 4
levels of 32 steps and beta in {1, 2, 4, 8}; steps, learning rate and start are not given there and
are parameters here.

Where the search begins decides which of many maxima is found. From a very noisy image it ends in a
poor one: at sigma 0.2 (beta 2, six photographs) at 18 dB, from the local mean at 29 dB and a far
higher objective. From the local mean of an image with little noise it must find each detail again.
So it begins, row by row, with the likelier of the two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from denoisers.base import DenoiserModule, PlainConfig
from denoisers.noise_level import estimate_sigma
from denoisers.noise_terms import Gaussian, NoiseTerm
from generators.checks import check_choice, check_number, check_whole
from generators.glow.network import Glow, load_glow

__all__ = ["FlowPrior", "FlowPriorConfig", "Start", "maximise"]

Start = Literal["likelier", "noisy", "smooth"]

_FAINTEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPriorConfig(PlainConfig):
    """How the maximum is sought.

    Args:
        beta: Weight of the noisy image against the prior, > 0.
        sigma: Noise level in white levels, > 0; ``None`` guesses each image's. Not used where
            another noise model is given.
        steps: Steps of Adam, >= 1.
        learning_rate: Of Adam, > 0; white levels a step, about.
        start: Where the search begins: ``noisy``, or ``smooth``, the noisy image's 3x3 mean, or
            ``likelier``, the one of them with the higher objective.

    Raises:
        ValueError: If a value is out of range.
    """

    beta: float = 1.0
    sigma: float | None = None
    steps: int = 200
    learning_rate: float = 0.02
    start: Start = "likelier"

    def __post_init__(self) -> None:
        check_number("beta", self.beta, low=0.0, open_low=True)
        if self.sigma is not None:
            check_number("sigma", self.sigma, low=0.0, high=1.0, open_low=True)
        check_whole("steps", self.steps)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_choice("start", self.start, get_args(Start))


class FlowPrior(DenoiserModule):
    """The likeliest image under a density of clean images (a Glow), given the noisy one.

    The MAP estimate; images of any size are mirrored out to what Glow halves.

    Args:
        prior: A trained Glow, whose weights stay as they are.
        config: How the maximum is sought.
        noise: The noise model; white Gaussian of ``config.sigma`` unless given. It sees images at
            their padded size.
    """

    name = "flow-prior"
    # Of large pictures: a search keeps every layer's activations, some kilobytes a pixel.
    tile = 128
    config_type: ClassVar = FlowPriorConfig
    trainable = False
    weights_family = "glow"

    def __init__(
        self, prior: Glow, config: FlowPriorConfig, *, noise: NoiseTerm | None = None
    ) -> None:
        super().__init__()
        self.prior = prior.eval().requires_grad_(False)
        self.config = config
        self.channels = prior.config.channels
        self.multiple = prior.config.multiple
        self._noise = noise

    @classmethod
    def from_weights(cls, path: Path, **params: Any) -> FlowPrior:
        """Load a Glow; parameters are the fields of :class:`FlowPriorConfig`.

        Raises:
            ValueError: If the file is damaged or of another family, or a parameter is wrong.
        """
        return cls(load_glow(path), FlowPriorConfig(**params))

    def with_sigma(self, sigma: float) -> FlowPrior:
        """Return the same prior for noise of one standard deviation, white levels."""
        return FlowPrior(self.prior, replace(self.config, sigma=sigma), noise=self._noise)

    def _estimate(self, image: Tensor) -> Tensor:
        """Return the estimate, not clipped and without gradient.

        Raises:
            FloatingPointError: If the objective is not finite from the start.
        """
        image = image.detach()
        noise = self._noise or Gaussian(self._sigma(image))
        return maximise(
            self.prior,
            image,
            noise,
            beta=self.config.beta,
            steps=self.config.steps,
            learning_rate=self.config.learning_rate,
            start=self._start(image, noise),
        )

    def _sigma(self, image: Tensor) -> Tensor:
        if self.config.sigma is not None:
            return image.new_full((len(image),), self.config.sigma)
        return estimate_sigma(image).clamp_min(_FAINTEST)

    def _start(self, image: Tensor, noise: NoiseTerm) -> Tensor:
        if self.config.start == "noisy":
            return image
        smooth = avg_pool2d(pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        if self.config.start == "smooth":
            return smooth
        with torch.no_grad():
            as_is, smoothed = (
                # Where there is no density, the other is likelier.
                (self.config.beta * noise(image, one) + self.prior.log_prob(one)).nan_to_num(
                    nan=-torch.inf
                )
                for one in (image, smooth)
            )
        return torch.where((smoothed > as_is)[:, None, None, None], smooth, image)


@torch.inference_mode(False)
@torch.enable_grad()
def maximise(
    prior: Glow,
    noisy: Tensor,
    noise: NoiseTerm,
    *,
    beta: float,
    steps: int,
    learning_rate: float,
    start: Tensor,
) -> Tensor:
    """Seek the image of the highest objective by Adam.

    Args:
        prior: The density of clean images.
        noisy: ``(B, C, H, W)``, sides that the prior takes.
        noise: The data term.
        beta: Its weight.
        steps: Steps of Adam.
        learning_rate: Of Adam.
        start: Same shape as ``noisy``.

    Returns:
        ``(B, C, H, W)``: of each row the candidate with the highest objective.

    Raises:
        FloatingPointError: If a row's objective is not finite from the start.
    """
    # A tensor made in inference mode takes no part in gradients, but its copy does.
    noisy, candidate = noisy.clone(), start.clone().requires_grad_()
    optimiser = torch.optim.Adam([candidate], lr=learning_rate)
    best = start.clone()
    highest = start.new_full((len(start),), -torch.inf)
    for step in range(steps + 1):
        objective = beta * noise(noisy, candidate) + prior.log_prob(candidate)
        with torch.no_grad():
            better = torch.isfinite(objective) & (objective > highest)
            highest = torch.where(better, objective, highest)
            best = torch.where(better[:, None, None, None], candidate, best)
        if step == 0 and not bool(better.all()):
            row = int((~better).nonzero()[0])
            value = float(objective[row].detach())
            raise FloatingPointError(
                f"the objective of row {row} is {value:g} at the start of the search. The "
                "noisy image lies where the prior or the noise model has no density; start from "
                "another image or use another prior."
            )
        if step < steps:
            (slope,) = torch.autograd.grad(-objective.sum(), candidate)
            # A pixel whose slope is not a number waits a step; it must not take the image along.
            candidate.grad = torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)
            optimiser.step()
    return best.detach()
