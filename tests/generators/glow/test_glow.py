"""Glow: its density is that of its samples, its arrangement, its training task and its weights."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import generators
from generators.capture import CaptureMetadata
from generators.glow.network import Glow, GlowConfig, bits_per_dimension, load_glow
from generators.glow.training import GlowTask
from generators.seeds import standard_normal
from generators.training import TrainingBatch, TrainingSetup
from generators.weights_file import save_weights


def photographs(rows: int, side: int, *, seed: int = 3) -> Tensor:
    """Return smooth random pictures in 8-bit values / 255."""
    coarse = np.random.default_rng(seed).uniform(0.2, 0.8, (rows, 3, 4, 4)).astype(np.float32)
    size = (side, side)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), size, mode="bilinear")
    return (smooth * 255).round() / 255


def moved(model: Glow, *, size: float = 0.02) -> Glow:
    """Return the model with every parameter moved, so that no layer is an identity."""
    rng = np.random.default_rng(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, size, parameter.shape)).to(parameter))
    return model


def make(**values: Any) -> Glow:
    model = Glow(GlowConfig(**{"levels": 2, "steps": 2, "hidden": 8, **values}))
    model.initialise(photographs(8, 16))
    return moved(model)


def test_the_defaults_are_those_of_the_shipped_manifest() -> None:
    counted = sum(p.numel() for p in Glow(GlowConfig()).parameters())
    assert counted == 740_208


def test_the_arrangement_of_flow_prior_denoising_has_four_levels_of_channels() -> None:
    model = Glow(GlowConfig(levels=4, steps=1, hidden=4))
    level, widths = model.flow, []
    while level is not None:
        widths.append(len(level.steps[0].actnorm.bias))
        level = level.below  # type: ignore[assignment]
    assert widths == [12, 24, 48, 96]


def test_actnorm_starts_from_the_first_batch() -> None:
    model, images = Glow(GlowConfig(levels=2, steps=3, hidden=8)), photographs(16, 16)
    model.initialise(images)
    z = model(images, images)[0].detach()
    # The last coupling multiplies half of the channels by sigmoid(2) behind the last ActNorm.
    assert abs(float(z.mean())) < 0.1
    assert 0.8 < float(z.std()) < 1.1


def test_samples_cost_what_the_density_says() -> None:
    """Encoded again, samples are N(0, 1) numbers, and -log p is the entropy of those numbers and
    the mean log-determinant, but for a chi-squared term."""
    model, rows = make().double(), 64
    images = model.sample(range(rows), height=8, width=8)
    z, ladj = model(images, images)
    drawn = standard_normal(range(rows), (3, 8, 8), "glow").double()
    torch.testing.assert_close(z, drawn, atol=1e-8, rtol=1e-8)
    n = z[0].numel()
    entropy = 0.5 * n * (1 + math.log(2 * math.pi)) - ladj.mean()
    surprise = -model.log_prob(images).mean()
    assert abs(float((surprise - entropy).detach())) < 5 * math.sqrt(n / 2 / rows)


def test_the_density_integrates_to_one_along_importance_samples() -> None:
    """Samples of a wider latent, weighted by p / q, must have mean weight 1: a missing factor in
    either log-determinant would multiply it."""
    model = make(levels=1).double()
    rows, width = 4000, 1.1
    z = width * standard_normal(range(rows), (3, 2, 2), "wide").double()
    images, ladj = model.inverse(z, z)
    n = z[0].numel()
    log_q = -0.5 * (z / width).square().sum((1, 2, 3)) - n * math.log(width)
    log_q = log_q - 0.5 * n * math.log(2 * math.pi) - ladj
    weights = (model.log_prob(images) - log_q).detach().exp()
    assert abs(float(weights.mean()) - 1) < 5 * float(weights.std()) / math.sqrt(rows)


def test_temperature_scales_the_latent() -> None:
    model = make()
    warm = model.sample([5], height=8, width=12)
    cool = model.sample([5], height=8, width=12, temperature=0.5)
    torch.testing.assert_close(model(cool, cool)[0], 0.5 * model(warm, warm)[0], atol=1e-4, rtol=0)
    pair = model.sample([4, 5], height=8, width=12)
    torch.testing.assert_close(pair[1:], warm, atol=1e-5, rtol=0)


def test_the_image_can_climb_its_own_density() -> None:
    model = make().eval().requires_grad_(False)
    image = photographs(1, 16, seed=8).requires_grad_()
    optimiser = torch.optim.Adam([image], lr=1e-3)
    first = float(model.log_prob(image).detach())
    for _ in range(5):
        optimiser.zero_grad()
        loss = -model.log_prob(image).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(model.log_prob(image).detach()) > first + 1


def test_bits_of_a_uniform_guess_are_eight() -> None:
    flat = torch.tensor([12 * math.log(255 / 256)])  # every pixel one of 256 values of width 1/255
    torch.testing.assert_close(bits_per_dimension(flat, 12), torch.tensor([8.0]))


@pytest.mark.parametrize("shape", [(1, 3, 6, 8), (1, 1, 8, 8), (3, 8, 8), (1, 3, 0, 8)])
def test_an_image_that_cannot_be_squeezed_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"divisible by 4"):
        make().log_prob(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "words"),
    [({"levels": 0}, "levels"), ({"levels": 7}, "1 to 6"), ({"steps": 1.5}, "steps")],
)
def test_a_wrong_arrangement_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GlowConfig(**values)


def saved_bytes(model: Glow, images: Tensor) -> int:
    """Return what autograd keeps for the backward pass, parameters aside."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.log_prob(images).sum()
    del loss
    gc.collect()
    return sum(kept.values())


def test_recomputing_gives_the_same_gradients() -> None:
    images = photographs(2, 16)
    found = []
    for memory in ("keep", "recompute"):
        model = Glow(GlowConfig(levels=2, steps=3, hidden=8), memory=memory)
        model.initialise(photographs(8, 16))
        moved(model)
        x = images.clone().requires_grad_()
        loss = model.log_prob(x).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        found.append([x.grad, *(p.grad for p in model.parameters())])
    for kept, rebuilt in zip(*found, strict=True):
        assert kept is not None
        assert rebuilt is not None
        scale = float(kept.abs().max()) + 1e-6
        torch.testing.assert_close(rebuilt / scale, kept / scale, atol=2e-3, rtol=0)


def test_recomputed_memory_does_not_grow_with_depth() -> None:
    images = photographs(2, 32)
    sizes = {
        steps: saved_bytes(
            Glow(GlowConfig(levels=1, steps=steps, hidden=16), memory="recompute"), images
        )
        for steps in (8, 16)
    }
    assert sizes[16] < 1.1 * sizes[8]
    kept = [
        saved_bytes(Glow(GlowConfig(levels=1, steps=steps, hidden=16)), images) for steps in (8, 16)
    ]
    assert kept[1] > 1.7 * kept[0] > 5 * sizes[8]


def task(**params: Any) -> GlowTask:
    given = {"levels": 2, "steps": 2, "hidden": 8, **params}
    return GlowTask.create(given, TrainingSetup(captures=(), seed=4))


def batch(step: int = 0, *, rows: int = 8) -> TrainingBatch:
    return TrainingBatch(
        capture=CaptureMetadata.same(rows, camera=None, iso=None),
        labels=torch.zeros(rows, dtype=torch.int64),
        clean=photographs(rows, 16, seed=step),
    )


def test_training_lowers_the_loss_and_repeats_itself() -> None:
    def run() -> list[float]:
        made = task()
        made.initialise(batch())
        optimiser = torch.optim.Adam(made.module.parameters(), lr=3e-3)
        losses = []
        for step in range(12):
            optimiser.zero_grad()
            loss = made.loss(batch(step), step)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
        return losses

    losses = run()
    assert losses[-1] < losses[0] - 0.2
    assert losses == run()


def test_the_task_reports_nats_and_bits() -> None:
    made = task()
    made.initialise(batch())
    measured = made.measure(batch(), 0)
    assert measured["bits"] == pytest.approx(measured["nll"] / math.log(2))
    assert made.generator() is None
    assert generators.task("glow") is GlowTask


def test_the_task_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="no parameter 'depth'; it has hidden, levels"):
        task(depth=3)
    with pytest.raises(ValueError, match="recompute must be true or false"):
        task(recompute=1)


def test_weights_come_back(tmp_path: Path) -> None:
    made, path = task(), tmp_path / "prior.safetensors"
    made.initialise(batch())
    part = made.parts()[""]
    save_weights(path, family=part.family, config=part.config, tensors=part.tensors, license="CC0")
    loaded = load_glow(path)
    images = photographs(2, 16)
    assert torch.equal(loaded.log_prob(images), made.module.log_prob(images).detach())
    assert not any(p.requires_grad for p in loaded.parameters())


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    part, path = task().parts()[""], tmp_path / "prior.safetensors"
    fewer = dict(part.tensors)
    lost = fewer.popitem()[0]
    save_weights(path, family="glow", config=part.config, tensors=fewer, license="CC0")
    with pytest.raises(ValueError, match=lost):
        load_glow(path)
    odd = {**part.config, "depth": 2}
    save_weights(path, family="glow", config=odd, tensors=part.tensors, license="CC0")
    with pytest.raises(ValueError, match="not that of this version's 'glow'"):
        load_glow(path)
    save_weights(path, family="naflow", config={}, tensors=part.tensors, license="CC0")
    with pytest.raises(ValueError, match="'naflow', not of 'glow'"):
        load_glow(path)
