"""R2RFlow: a noise model and a denoiser from single noisy images.

Recorrupted-to-recorrupted makes two shots out of one. Of a noisy image y = x + n it takes, with
noise z of the same law as n and a number alpha > 0,

    a = y + alpha * z          b = y - z / alpha

The noises of the two, n + alpha z and n - z / alpha, have covariance Var n - Var z = 0. For normal
noise they are then independent, and a denoiser D trained to take a to b is as good as trained to
take a to x. (In the source D^T and D^-1 stand for alpha and 1 / alpha, any invertible matrix.)

The law of n is what the noise model is to learn, so z is drawn from the model as it stands, given
the present clean estimate, without gradient. With d = D(a), c = d clipped to [0, 1]:

    mse = mean (d - b)^2
    nll = -ln p((b - c) / sqrt(1 + 1 / alpha^2) | c)        a dimension
    loss = nll + lambda * mse

b - c = n - z / alpha + (x - c), in which c knows nothing of n - z / alpha, as the two shots of
Noise2NoiseFlow know nothing of each other; divided by the root it has the variance of the noise.

**Why this learns the level.** Let Var n = v, Var z = w, and D the best linear estimate on flat
ground, where x is known. D keeps the share k = (v - w) / (v + alpha^2 w) of the noise of a, since b
holds it too, and what the noise model is shown has the variance

    w' = v w (1 + alpha^2) / (v + alpha^2 w)

which is above w if w < v, below if w > v: the model's level moves to that of the noise and stays.
The obvious choice y - c instead has w' = alpha^2 w for small w, and with alpha < 1 shrinks to
nothing. Of shown noise a share alpha^2 / (1 + alpha^2) is real and the rest the model's own, so the
*shape* of the noise (skewness) is learnt worse than from two shots.

**What keeps it from running away.** The model's own draws come back to it, so two things are
bounded: a draw lies within six robust deviations of its row's noise, and a Noise Flow starts with
half of the variance from either term instead of a fit, because an offset fitted to noise and
brightness as poor as one image shows them makes dark pixels impossible. Still, the level that it
finds holds the denoiser's squared error, and the two train each other: pre-train for long.

Sources: Maleky et al. 2022, "Noise2NoiseFlow" (CVPR), section 4.4; Pang et al. 2021,
"Recorrupted-to-Recorrupted: Unsupervised Deep Learning for Image Denoising" (CVPR), eq. 6-9.

Differs from the paper: it does not print the noise model's loss; the one above is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from generators.checks import check_number
from generators.joint_models import draw_from
from generators.joint_training import JointConfig, JointTask, Left, read_config, surroundings
from generators.seeds import batch_rng
from generators.training import DataUse, TrainingBatch, TrainingSetup, image

__all__ = ["R2RFlowTask"]

_ALPHA = 0.5
_PLAUSIBLE = 6.0  # robust deviations of a row's noise; no draw goes beyond
_MEDIAN_OF_SQUARE = 0.454936  # of a standard normal number


@final
class R2RFlowTask(JointTask):
    """Joint training of noise model and denoiser from one noisy image a scene.

    Args:
        noise_model: The density.
        denoiser: Images in, images out.
        config: What joint trainings have in common.
        alpha: How much noise goes into the denoiser's input; its target gets 1 / alpha.
        seed: Seed of the recorruption.
        dtype: Precision of the denoiser.
    """

    uses: ClassVar[DataUse] = "single-noisy"
    fits_first_guess: ClassVar[bool] = False  # edges are among its noise, noise in its brightness

    def __init__(
        self,
        noise_model: nn.Module,
        denoiser: nn.Module,
        config: JointConfig,
        *,
        alpha: float = _ALPHA,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(noise_model, denoiser, config, seed=seed, dtype=dtype)
        self._alpha = check_number("alpha", alpha, low=0.0, open_low=True)

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> R2RFlowTask:
        """Make the task; see :class:`NoiseTask`.

        Args:
            params: ``alpha``, 0.5; ``noise_model``, ``denoiser``, ``lambda_``, ``pretrain_steps``
                and ``arrangement`` as of Noise2NoiseFlow.
            setup: Cameras and ISOs of the data become the noise model's.

        Raises:
            ValueError: If a parameter is unknown or wrong, or the images do not suit the model.
        """
        config = read_config("r2r-flow", params, ("alpha",))
        alpha = check_number("alpha", params.get("alpha", _ALPHA), low=0.0, open_low=True)
        model, denoiser = cls.networks(config, setup)
        return cls(model, denoiser, config, alpha=alpha, seed=setup.seed, dtype=setup.dtype)

    def left_over(self, batch: TrainingBatch, step: int) -> Left:
        """Return the recorrupted target's noise; see the module."""
        noisy = image(batch, "noisy")
        z = self._draw(batch, step)
        estimate = self.denoise(noisy + self._alpha * z)
        target = noisy - z / self._alpha
        clean = estimate.clamp(0.0, 1.0)
        noise = (target - clean) / (1.0 + self._alpha**-2) ** 0.5
        return Left(mse=(estimate - target).square().mean(), noise=(noise,), clean=(clean,))

    def guess(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return what a pixel has on its neighbours, scaled to :meth:`variance`, and their mean."""
        noisy = image(batch, "noisy")
        around = surroundings(noisy)
        detail = noisy - around
        scale = (self.variance(batch) / detail.double().square().mean().clamp_min(1e-30)).sqrt()
        return detail * scale.float(), around

    def variance(self, batch: TrainingBatch) -> Tensor:
        """Return a robust measure of what a pixel has on its neighbours.

        Noise of variance v differs from the mean of eight others by 9 v / 8; edges do not move the
        median. Channels and rows are measured apart and averaged, so that bright and dark rows
        both count.
        """
        return self._deviation(image(batch, "noisy").double()).square().mean()

    def _deviation(self, noisy: Tensor) -> Tensor:
        """Return the robust deviation of each row and channel, ``(B, C, 1, 1)``."""
        squared = (noisy - surroundings(noisy)).square().flatten(2)
        found = squared.median(dim=2).values / (_MEDIAN_OF_SQUARE * 1.125)
        return found.sqrt()[..., None, None]

    @torch.no_grad()
    def _draw(self, batch: TrainingBatch, step: int) -> Tensor:
        """Return noise of the model as it stands, given the present clean estimate."""
        noisy = image(batch, "noisy")
        was_training = self._denoiser.training
        self._denoiser.eval()  # norms must not count the images themselves among their inputs
        clean = self.denoise(noisy).clamp(0.0, 1.0)
        self._denoiser.train(was_training)
        rng = batch_rng(self._seed, step, "r2r-flow")
        normal = torch.from_numpy(rng.standard_normal(noisy.shape, dtype="float32"))
        drawn = draw_from(self._network, normal.to(noisy.device), clean, batch.capture)
        bound = _PLAUSIBLE * self._deviation(noisy)
        return torch.nan_to_num(drawn).clamp(-bound, bound)
