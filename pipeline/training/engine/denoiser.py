"""A denoiser's task: its losses, and what the validation measures.

    l1            |estimate - clean|
    l2            (estimate - clean)^2
    charbonnier   sqrt((estimate - clean)^2 + eps^2)
    noise2noise   (estimate - second)^2: the best guess of another noisy shot is the clean image

each a mean over all samples of the batch. Estimates are compared as they are, without clipping.

Sources: Charbonnier et al. 1994, "Two deterministic half-quadratic regularization algorithms for
computed imaging", ICIP (the penalty; eps of 1e-3 is Lai et al. 2017's); Lehtinen et al. 2018,
"Noise2Noise: learning image restoration without clean data", ICML.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor, nn

from denoisers.base import Denoiser
from generators.base import Domain
from generators.training import Part, TrainingBatch, evaluating, image
from pipeline.training.data.batches import Batches
from pipeline.training.engine.task import Example, pixels, single_row, unfitness

__all__ = ["PSNR_CONVENTION", "DenoiserTask", "LossName", "distance", "mean_psnr"]

LossName = Literal["l1", "l2", "charbonnier", "noise2noise"]
PSNR_CONVENTION: dict[Domain, str] = {
    "srgb": "mean over crops; estimate clipped and rounded to 8 bits; peak 255; no border left out",
    "raw": "mean over crops; estimate clipped to [0, 1], not rounded; peak 1; no border left out",
}


class DenoiserTask:
    """Joins a denoiser with the batches it is trained and validated on.

    The batch of the next step is made in another thread while this one is computed.

    Args:
        denoiser: What is trained; it lives on ``device``.
        data: Training batches (of this process).
        loss: Which loss.
        eps: Of the Charbonnier loss.
        device: Where batches go.
        bf16: Autocast to bfloat16.
        domain: Of the images.
        validation: Held-out batches; ``None`` for none.
        validation_batches: How many of them a validation takes, always the same.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        data: Batches,
        *,
        loss: LossName,
        eps: float = 1e-3,
        device: torch.device,
        bf16: bool = False,
        domain: Domain = "srgb",
        validation: Batches | None = None,
        validation_batches: int = 8,
    ) -> None:
        # Convolutions with many channels run faster in this order of memory, in bf16 most of all.
        self.module = denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward: Callable[[Tensor], Tensor] = self.module
        self.domain = domain
        self.waited_s = 0.0
        self._data, self._device, self._bf16 = data, device, bf16
        self._loss, self._eps = loss, eps
        self._validation, self._count = validation, validation_batches
        threads = torch.get_num_threads()
        # The number of threads is each thread's own, and a network's last bits depend on it.
        self._ahead = ThreadPoolExecutor(
            1, thread_name_prefix="batches", initializer=torch.set_num_threads, initargs=(threads,)
        )
        self._coming: tuple[int, Future[TrainingBatch]] | None = None

    def initialise(self) -> None:
        """Leave fresh weights as they are: they follow from the denoiser's seed."""

    def parts(self) -> dict[str, Part]:
        """Return what is saved."""
        network = self.module
        assert isinstance(network, Denoiser)
        config = network.config.to_dict()
        return {"": Part(family=network.name, config=config, tensors=self.module.state_dict())}

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Take other weights."""
        self.module.load_state_dict(state)

    def loss(self, step: int) -> Tensor:
        """Return the scalar loss of a step."""
        batch = self._next(step)
        noisy = self._placed(image(batch, "noisy"))
        target = self._placed(image(batch, "second" if self._loss == "noise2noise" else "clean"))
        return distance(self._estimate(self.forward, noisy), target, loss=self._loss, eps=self._eps)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Measure the module as it stands on the held-out batches.

        Returns:
            Means over the crops: ``loss``, the squared error of the estimate as it is;
            ``psnr`` and, of the noisy crops themselves, ``psnr_noisy``, dB, by
            :data:`PSNR_CONVENTION`. Empty without validation data.
        """
        if self._validation is None:
            return {}
        rows: list[tuple[float, float, float]] = []
        with evaluating(self.module):
            for number in range(self._count):
                batch = self._validation.batch(number)
                noisy, clean = (self._placed(image(batch, n)) for n in ("noisy", "clean"))
                estimate = self._estimate(self.module, noisy)
                rows.append(
                    (
                        float((estimate - clean).square().mean()),
                        mean_psnr(clean, estimate, self.domain),
                        mean_psnr(clean, noisy, self.domain),
                    )
                )
        loss, psnr, noisy_psnr = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        return {"loss": loss, "psnr": psnr, "psnr_noisy": noisy_psnr}

    @torch.no_grad()
    def examples(self, count: int) -> list[Example]:
        """Return held-out crops beside their estimates, the most gently textured ones.

        Args:
            count: How many at most; none without validation data.
        """
        if self._validation is None:
            return []
        crops = [
            (unfitness(row), row)
            for number in range(self._count)
            for batch in [self._validation.batch(number)]
            for row in (single_row(batch, place) for place in range(len(batch.capture)))
        ]
        crops.sort(key=lambda one: one[0])
        with evaluating(self.module):
            return [self._example(row) for _, row in crops[:count]]

    def _example(self, row: TrainingBatch) -> Example:
        noisy = self._placed(image(row, "noisy"))
        clean = pixels(image(row, "clean")[0])
        return Example(
            camera=row.capture.camera[0] or "",
            iso=row.capture.iso[0] or 0,
            domain=self.domain,
            clean=clean,
            noisy=pixels(noisy[0]),
            made_from=clean,
            made=pixels(self._estimate(self.module, noisy)[0].clamp(0.0, 1.0)),
        )

    def close(self) -> None:
        """End the thread that makes batches."""
        self._ahead.shutdown(wait=True, cancel_futures=True)

    def _estimate(self, network: Callable[[Tensor], Tensor], noisy: Tensor) -> Tensor:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16):
            return network(noisy).float()

    def _next(self, step: int) -> TrainingBatch:
        started = time.perf_counter()
        if self._coming is None or self._coming[0] != step:
            self._coming = step, self._ahead.submit(self._data.batch, step)
        batch = self._coming[1].result()
        self._coming = step + 1, self._ahead.submit(self._data.batch, step + 1)
        self.waited_s += time.perf_counter() - started
        return batch

    def _placed(self, images: Tensor) -> Tensor:
        return images.to(self._device).contiguous(memory_format=torch.channels_last)


def distance(estimate: Tensor, target: Tensor, *, loss: LossName, eps: float) -> Tensor:
    """Return a loss as a scalar.

    Args:
        estimate: ``(B, C, H, W)``.
        target: Same shape: the clean image, or for noise2noise the second noisy one.
        loss: Which loss.
        eps: Of the Charbonnier loss.
    """
    difference = estimate - target
    if loss == "l1":
        return difference.abs().mean()
    if loss == "charbonnier":
        return (difference.square() + eps * eps).sqrt().mean()
    return difference.square().mean()


def mean_psnr(clean: Tensor, estimate: Tensor, domain: Domain) -> float:
    """Return the mean PSNR of the rows, dB, by :data:`PSNR_CONVENTION`; 100 where rows are equal.

    Args:
        clean: ``(B, C, H, W)``, white level 1.
        estimate: Same shape.
        domain: Of the images.
    """
    shown = estimate.double().clamp(0.0, 1.0)
    if domain == "srgb":
        shown = (shown * 255.0).round() / 255.0
    errors = (shown - clean.double()).square().flatten(1).mean(dim=1)
    # 100 dB and more is one grey level in a whole picture: equal, for all that anybody can see.
    return float((-10.0 * errors.clamp_min(1e-10).log10()).mean())
