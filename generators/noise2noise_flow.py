"""Noise2NoiseFlow: a noise model and a denoiser from pairs of noisy shots, without a clean image.

Two shots n1, n2 of one scene, D the denoiser, estimates d1 = D(n1), d2 = D(n2), clipped to [0, 1]
c1, c2, p the noise model's density given clean image, camera and ISO:

    mse      = (mean (d1 - n2)^2 + mean (d2 - n1)^2) / 2                          eq. 4
    crossed    nll = -(ln p(n1 - c2 | c2) + ln p(n2 - c1 | c1)) / 2               eq. 5
    self       nll = -(ln p(n1 - c1 | c1) + ln p(n2 - c2 | c2)) / 2               eq. 6

with ln p a dimension, and loss = nll + lambda * mse. The other shot's estimate knows nothing of the
noise that is judged with it, so nothing is to be gained from leaving noise in it. With ``self``
there is: at D(n) = n the noise is 0 and the likelihood infinite, and only lambda stands against it.

What the crossed noise measures is not quite the noise: n1 - c2 = e1 + (x - c2), and as c2 knows
nothing of e1 its variance is that of the noise *plus the denoiser's squared error*. A denoiser
13 dB better than its input costs 5 % of variance. The self noise errs as much to the other side:
for the best denoiser the residual n - D(n) is uncorrelated with D(n), hence

    E (n1 - c2)^2 = v + E (D - x)^2        E (n1 - c1)^2 = v - E (D - x)^2

    balanced   nll = the mean of crossed and self                                 (ours)

in which the two errors cancel, as far as the denoiser is the best at that brightness: errors that
owe nothing to the noise (texture smoothed away) stay. Measured (tools/nlf_recovery.py, a denoiser
with an error of a tenth of the noise): crossed gives 10 % too much variance, as the formula says;
balanced the right variance at middle brightness, and beta1 4 % low, beta2 8 % high. By half it has
the self objective's weakness.

    difference   nll = -ln p((n1 - n2) / sqrt 2 | (c1 + c2) / 2)                   (ours)

The scene cancels whatever the denoiser does, so variance and correlation are exactly those of the
noise, and the likelihood cannot be had by leaving noise in the estimate; the denoiser only says how
bright the scene is. The price: a difference of two shots is symmetric and nearer to a Gaussian than
one shot, so skewed noise (few photons, clipped darks) loses its skew.

Source: Maleky et al. 2022, "Noise2NoiseFlow: Realistic Camera Noise Modeling without Clean Images"
(CVPR), eq. 3-6, lambda = 2^18; means instead of sums, clipping and the unclipped error as released.

Differs from the paper: the objectives ``balanced`` and ``difference``; see
:mod:`generators.joint_training` too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final, get_args

import torch
from torch import Tensor, nn

from generators.checks import check_choice
from generators.joint_training import JointConfig, JointTask, Left, read_config
from generators.training import DataUse, TrainingBatch, TrainingSetup, image

__all__ = ["Noise2NoiseFlowTask"]

Objective = Literal["crossed", "self", "balanced", "difference"]


@final
class Noise2NoiseFlowTask(JointTask):
    """Joint training of noise model and denoiser from two noisy shots a scene.

    Args:
        noise_model: The density.
        denoiser: Images in, images out.
        config: What joint trainings have in common.
        objective: Whose clean estimate the noise is judged with: ``crossed``, the other shot's,
            ``self``, ``balanced``, both, or ``difference``, the two shots' difference.
        seed: Seed of everything drawn.
        dtype: Precision of the denoiser.
    """

    uses: ClassVar[DataUse] = "noisy-pairs"

    def __init__(
        self,
        noise_model: nn.Module,
        denoiser: nn.Module,
        config: JointConfig,
        *,
        objective: Objective = "crossed",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(noise_model, denoiser, config, seed=seed, dtype=dtype)
        check_choice("objective", objective, get_args(Objective))
        self._objective = objective

    @classmethod
    def create(cls, params: Mapping[str, Any], setup: TrainingSetup) -> Noise2NoiseFlowTask:
        """Make the task; see :class:`NoiseTask`.

        Args:
            params: ``noise_model``: ``noise-flow`` (default) or ``nlf``; ``denoiser``: ``dncnn``
                (default) or ``unet``; ``lambda_``: 2^18; ``pretrain_steps``: 0; ``objective``:
                ``crossed`` (default), ``self``, ``balanced`` or ``difference``; ``arrangement`` of
                the Noise Flow; ``denoiser_params``.
            setup: Cameras and ISOs of the data become the noise model's.

        Raises:
            ValueError: If a parameter is unknown or wrong, or the images do not suit the model.
        """
        config = read_config("noise2noise-flow", params, ("objective",))
        objective = params.get("objective", "crossed")
        check_choice("objective", objective, get_args(Objective))
        model, denoiser = cls.networks(config, setup)
        return cls(model, denoiser, config, objective=objective, seed=setup.seed, dtype=setup.dtype)

    def left_over(self, batch: TrainingBatch, step: int) -> Left:
        """Return the noise of both shots; see the module."""
        del step
        first, second = image(batch, "noisy"), image(batch, "second")
        one, two = self.denoise(first), self.denoise(second)
        mse = 0.5 * ((one - second).square().mean() + (two - first).square().mean())
        c1, c2 = one.clamp(0.0, 1.0), two.clamp(0.0, 1.0)
        judged = {
            "crossed": [(first, c2), (second, c1)],
            "self": [(first, c1), (second, c2)],
        }
        judged["balanced"] = judged["crossed"] + judged["self"]
        if self._objective == "difference":
            difference = (first - second) / math.sqrt(2.0)
            return Left(mse=mse, noise=[difference], clean=[0.5 * (c1 + c2)])
        chosen = judged[self._objective]
        return Left(
            mse=mse,
            noise=[noisy - clean for noisy, clean in chosen],
            clean=[clean for _, clean in chosen],
        )

    def guess(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return (n1 - n2) / sqrt(2), which has the noise's variance, and the mean of the shots."""
        first, second = image(batch, "noisy"), image(batch, "second")
        return (first - second) * 0.5**0.5, 0.5 * (first + second)

    def variance(self, batch: TrainingBatch) -> Tensor:
        """Return half the mean square of the shots' difference."""
        difference = image(batch, "noisy").double() - image(batch, "second").double()
        return 0.5 * difference.square().mean()
