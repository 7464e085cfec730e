"""FINO: the arrangement, its two codes, the losses, the training task and the weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import generators
from generators.capture import CaptureMetadata
from generators.fino.losses import LossWeights, correlation_loss, pair_losses
from generators.fino.network import Codes, Fino, FinoConfig, denoise, load_fino
from generators.fino.training import FINOTask
from generators.seeds import standard_normal, uniform
from generators.training import TrainingBatch, TrainingSetup
from generators.weights_file import save_weights


def pictures(rows: int, side: int = 16, *, seed: int = 1) -> Tensor:
    coarse = uniform([seed], (rows, 3, 3, 3), "pictures", low=0.2, high=0.8)[0]
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def white(rows: int, side: int = 16, *, sigma: float = 0.1, seed: int = 2) -> Tensor:
    return sigma * standard_normal([seed], (rows, 3, side, side), "white")[0]


def make(**values: Any) -> Fino:
    """Return a small network with every parameter moved: a fresh one is a plain Haar transform."""
    model = Fino(FinoConfig(**{"blocks": 2, "hidden": 8, **values}))
    rng = np.random.default_rng(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.03, parameter.shape)).float())
    return model


def test_the_papers_network_has_the_papers_parameters() -> None:
    assert sum(p.numel() for p in Fino(FinoConfig()).parameters()) == 3_961_440


def test_codes_are_three_to_one() -> None:
    codes = make().encode(pictures(2, 16))
    assert codes.content.shape == (2, 36, 4, 4)
    assert codes.noise.shape == (2, 12, 4, 4)


def test_codes_decode_to_their_image() -> None:
    model, images = make(), pictures(3) + white(3)
    torch.testing.assert_close(model.decode(model.encode(images)), images, atol=1e-5, rtol=0)


def test_a_fresh_network_is_the_identity_behind_two_haar_steps() -> None:
    """A quarter of white noise's variance is in the 12 of 48 channels that are its code."""
    model, clean = Fino(FinoConfig(blocks=1, hidden=4)), pictures(4, 32)
    noise = white(4, 32)
    swapped = model.decode(Codes(model.encode(clean).content, model.encode(clean + noise).noise))
    share = float(((swapped - clean).square().mean() / noise.square().mean()).detach())
    # 3072 numbers in the code's quarter: five standard errors of their mean square.
    assert abs(share - 0.25) < 0.25 * 5 * math.sqrt(2 / 3072)


@pytest.mark.parametrize("shape", [(1, 3, 6, 8), (1, 1, 8, 8), (3, 8, 8)])
def test_an_image_that_cannot_be_halved_twice_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="3 channels and sides divisible by 4"):
        make().encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"blocks": 0}, "blocks"),
        ({"hidden": 2.5}, "hidden"),
        ({"noise_channels": 48}, "1 to 47"),
        ({"code_std": -1.0}, "code_std"),
    ],
)
def test_a_wrong_arrangement_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FinoConfig(**values)


# Denoising


def test_denoising_ignores_the_noise_code() -> None:
    model, noisy = make(), pictures(2) + white(2)
    codes = model.encode(noisy)
    other = model.decode(Codes(codes.content, codes.noise + 0.3))
    torch.testing.assert_close(denoise(model, other), denoise(model, noisy), atol=1e-5, rtol=0)


def test_draws_are_averaged_and_follow_their_seeds() -> None:
    model, noisy = make(code_std=0.05), pictures(2) + white(2)
    one = denoise(model, noisy, seeds=[7, 8], draws=1)
    both = denoise(model, noisy, seeds=[7, 8], draws=2)
    alone = denoise(model, noisy[1:], seeds=[8], draws=2)
    assert not torch.allclose(one, both)
    torch.testing.assert_close(alone, both[1:], atol=1e-6, rtol=0)


def test_denoising_refuses_missing_seeds_and_no_draws() -> None:
    with pytest.raises(ValueError, match="one seed a row, 2"):
        denoise(make(code_std=0.1), pictures(2))
    with pytest.raises(ValueError, match="draws must be"):
        denoise(make(), pictures(2), draws=0)


# Losses


def test_white_noise_of_the_right_level_costs_its_sampling_error_only() -> None:
    noise = white(8, 64, sigma=0.1)
    positions = 8 * 62 * 62
    # E ||S - I||^2 / d = (d + 1) / N for independent positions; overlapping ones share pixels.
    assert float(correlation_loss(noise, sigma=0.1, patch=3)) < 10 * 28 / positions


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_the_correlation_loss_knows_level_and_correlation_in_any_unit(scale: float) -> None:
    noise = scale * white(4, 32, sigma=0.1)
    sigma = scale * 0.1
    # S = 4 I: ||3 I||^2 / d = 9.
    assert float(correlation_loss(2 * noise, sigma=sigma, patch=3)) == pytest.approx(9, rel=0.1)
    # Neighbours that share half of their noise: S of a row of 3 pixels has 1/2 beside the diagonal.
    tied = (noise + noise.roll(1, dims=3)) / math.sqrt(2)
    expected = 2 * 2 * 0.25 / 3
    assert float(correlation_loss(tied, sigma=sigma, patch=3)) == pytest.approx(expected, rel=0.2)


def test_the_losses_are_what_their_formulas_say() -> None:
    model, clean = make(), pictures(2)
    noisy = clean + white(2)
    code = 0.1 * torch.ones(2, 12, 4, 4)
    weights = LossWeights(alpha=2.0, beta=3.0, gamma=0.5, sigma=0.1, patch=3)
    with torch.no_grad():
        found = pair_losses(model, clean=clean, noisy=noisy, code=code, weights=weights)
        x, y = model.encode(clean), model.encode(noisy)
        regression = (model.decode(Codes(y.content, code)) - clean).abs().mean()
        noise = model.decode(Codes(x.content, y.noise)) - clean
        cleaned = model.decode(Codes(y.content, x.noise))
        reconstruction = (noise - (noisy - clean)).abs().mean() + (cleaned - clean).abs().mean()
        content = (x.content - y.content).abs().mean()
        correlation = correlation_loss(noise, sigma=0.1, patch=3)
    torch.testing.assert_close(found.regression, regression, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.reconstruction, reconstruction, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.content, content, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.correlation, correlation, atol=1e-5, rtol=1e-3)
    total = regression + 2 * reconstruction + 3 * content + 0.5 * correlation
    torch.testing.assert_close(found.total(weights), total, atol=1e-5, rtol=1e-3)


def test_real_noise_has_no_correlation_loss() -> None:
    clean = pictures(1)
    found = pair_losses(
        make(),
        clean=clean,
        noisy=clean + white(1),
        code=torch.zeros(1, 12, 4, 4),
        weights=LossWeights(),
    )
    assert float(found.correlation) == 0.0


# Training


def task(**params: Any) -> FINOTask:
    given = {"blocks": 2, "hidden": 8, **params}
    return FINOTask.create(given, TrainingSetup(captures=(), seed=4))


def batch(step: int = 0, *, rows: int = 4) -> TrainingBatch:
    clean = pictures(rows, seed=step)
    return TrainingBatch(
        capture=CaptureMetadata.same(rows, camera=None, iso=None),
        labels=torch.zeros(rows, dtype=torch.int64),
        clean=clean,
        noisy=clean + white(rows, seed=step),
    )


@pytest.mark.parametrize("params", [{}, {"code_std": 0.1, "sigma": 25.5, "patch": 2}])
def test_training_lowers_the_loss_and_repeats_itself(params: dict[str, Any]) -> None:
    def run() -> list[float]:
        made = task(**params)
        optimiser = torch.optim.Adam(made.module.parameters(), lr=2e-3)
        losses = []
        for _ in range(8):
            optimiser.zero_grad()
            loss = made.loss(batch(), 0)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
        return losses

    losses = run()
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])
    assert losses == run()


def test_recomputing_gives_the_same_gradients() -> None:
    found = []
    for recompute in (False, True):
        made = task(recompute=recompute, blocks=3)
        rng = np.random.default_rng(4)
        with torch.no_grad():
            for parameter in made.module.parameters():
                parameter.add_(torch.from_numpy(rng.normal(0, 0.03, parameter.shape)).float())
        made.loss(batch(), 0).backward()  # type: ignore[no-untyped-call]
        found.append([p.grad for p in made.module.parameters()])
    for kept, rebuilt in zip(*found, strict=True):
        assert kept is not None
        assert rebuilt is not None
        scale = float(kept.abs().max()) + 1e-6
        torch.testing.assert_close(rebuilt / scale, kept / scale, atol=2e-3, rtol=0)


def test_recomputed_memory_does_not_grow_with_depth() -> None:
    sizes = {blocks: saved_bytes(task(blocks=blocks, recompute=True)) for blocks in (8, 16)}
    assert sizes[16] < 1.1 * sizes[8]
    kept = [saved_bytes(task(blocks=blocks)) for blocks in (8, 16)]
    assert kept[1] > 1.8 * kept[0] > 10 * sizes[8]


def saved_bytes(made: FINOTask) -> int:
    """Return what autograd keeps for the backward pass, parameters aside."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in made.module.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = made.loss(batch(rows=2), 0)
    del loss
    return sum(kept.values())


def test_the_task_measures_denoising_and_the_share_of_noise_in_the_code() -> None:
    measured = task().measure(batch(), 0)
    assert measured.keys() == {"loss", "psnr", "level"}
    assert measured["level"] == pytest.approx(0.5, rel=0.1)  # a fresh network: a quarter, squared
    assert generators.task("fino") is FINOTask


def test_a_tasks_generator_is_a_copy() -> None:
    made = task()
    made.generator()
    assert all(p.requires_grad for p in made.module.parameters())


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"lambda": 1}, "no parameter 'lambda'; it has alpha"),
        ({"sigma": 0}, "sigma must be"),
        ({"patch": 0}, "patch must be"),
        ({"gamma": -1}, "gamma must be"),
        ({"recompute": "yes"}, "recompute must be true or false"),
    ],
)
def test_the_task_refuses_wrong_parameters(params: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        task(**params)


def test_the_task_refuses_raw_images() -> None:
    with pytest.raises(ValueError, match="3 channels; got 4"):
        FINOTask.create({}, TrainingSetup(captures=(), seed=0, channels=4))


# Weights


def test_weights_come_back(tmp_path: Path) -> None:
    made, path = task(), tmp_path / "codes.safetensors"
    part = made.parts()[""]
    save_weights(path, family=part.family, config=part.config, tensors=part.tensors, license="CC0")
    loaded = load_fino(path)
    images = pictures(2)
    assert torch.equal(loaded.encode(images).noise, made.module.encode(images).noise)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    part, path = task().parts()[""], tmp_path / "codes.safetensors"
    fewer = dict(part.tensors)
    lost = fewer.popitem()[0]
    save_weights(path, family="fino", config=part.config, tensors=fewer, license="CC0")
    with pytest.raises(ValueError, match=lost):
        load_fino(path)
    odd = {**part.config, "depth": 2}
    save_weights(path, family="fino", config=odd, tensors=part.tensors, license="CC0")
    with pytest.raises(ValueError, match="not that of this version's 'fino'"):
        load_fino(path)
