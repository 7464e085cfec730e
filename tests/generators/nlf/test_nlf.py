"""The table of noise levels as a density, as a generator and as a training task."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import generators
from generators.base import Likelihood, NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.nlf.calibration import NoiseLevel
from generators.nlf.network import NLF, NLFConfig
from generators.nlf.sampling import NLFGenerator
from generators.nlf.training import NLFTask, NoisyPairNLFTask
from generators.noise_model import NoiseModel
from generators.seeds import standard_normal, uniform
from generators.training import TrainingBatch, TrainingSetup
from generators.weights_file import save_weights
from noisemill.testing.generators import CHECKS, GeneratorCase

LEVELS = {"S6_00100": NoiseLevel(4e-4, 2e-6), "S6_00800": NoiseLevel(3e-3, 6e-5)}
CAPTURES = (("S6", 100), ("S6", 800))


def table(**config: Any) -> NLF:
    model = NLF(NLFConfig(configurations=tuple(LEVELS), **config))
    model.set_levels(LEVELS)
    return model


def generator_case(**config: Any) -> GeneratorCase:
    channels = 4 if config.get("domain", "raw") == "raw" else 3
    return GeneratorCase(make=lambda: NLFGenerator(table(**config)), channels=channels)


CASES = {
    "gaussian": generator_case(),
    "poisson-gaussian": generator_case(distribution="poisson-gaussian"),
    "srgb": generator_case(domain="srgb"),
    "own-shot": GeneratorCase(
        make=lambda: NLFGenerator(table(), camera="S6", iso=100), channels=4, camera="?", iso=1
    ),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_contract(case: GeneratorCase, check: Callable[[GeneratorCase], None]) -> None:
    check(case)


def mixed_batch(
    step: int, *, known: bool = True, rows: int = 4, side: int = 32, clip: bool = False
) -> TrainingBatch:
    """Return rows of both configurations in turn, of scenes from dark to bright."""
    seeds = [1000 * step + i for i in range(rows)]
    clean = uniform(seeds, (4, side, side), "clean").square()
    clean[:, :, : side // 2] *= uniform(seeds, (1, 1, 1), "shade")
    labels = torch.arange(rows) % 2
    pairs = torch.tensor(list(LEVELS.values()))[labels][:, :, None, None, None]
    spread = (pairs[:, 0] * clean + pairs[:, 1]).sqrt()
    capture = [clean + spread * standard_normal(seeds, (4, side, side), n) for n in ("1", "2")]
    capture = [capture.clamp(0.0, 1.0) if clip else capture for capture in capture]
    return TrainingBatch(
        capture=CaptureMetadata(
            camera=tuple(CAPTURES[label][0] for label in labels.tolist()),
            iso=tuple(CAPTURES[label][1] for label in labels.tolist()),
        ),
        labels=labels,
        clean=clean if known else None,
        noisy=capture[0],
        second=None if known else capture[1],
    )


def make_task(name: str, **params: Any) -> NLFTask:
    setup = TrainingSetup(captures=CAPTURES, seed=3, channels=4)
    made = generators.task(name).create(params, setup)
    assert isinstance(made, NLFTask)
    return made


def test_nll_is_the_density_a_dimension_and_the_gradient_reaches_everything() -> None:
    model, batch = table(), mixed_batch(1)
    assert isinstance(model, NoiseModel)
    assert batch.clean is not None
    assert batch.noisy is not None
    clean = batch.clean.requires_grad_()
    noise = (batch.noisy - batch.clean).detach().requires_grad_()
    nll = model.nll(noise, clean, batch.capture)
    assert nll.shape == (4,)
    nll.sum().backward()
    for leaf in (noise, clean, model.beta1, model.beta2):
        assert leaf.grad is not None
        assert bool(torch.isfinite(leaf.grad).all())
        assert float(leaf.grad.abs().max()) > 0
    expected = -model.log_prob(batch.noisy, clean.detach(), batch.capture) / noise[0].numel()
    torch.testing.assert_close(nll.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("distribution", ["gaussian", "poisson-gaussian"])
def test_samples_have_their_entropy(distribution: Any) -> None:
    generator = NLFGenerator(table(distribution=distribution))
    assert isinstance(generator, Likelihood)
    context = NoiseContext(
        clean=uniform([1, 2], (4, 64, 64), "clean"),
        capture=CaptureMetadata(camera=("S6",) * 2, iso=(100, 800)),
    )
    noisy = generator.sample(NoiseRequest(context=context, seeds=[5, 6])).noisy
    found = -generator.log_prob(noisy, context) / context.clean[0].numel()
    for row, level in enumerate(LEVELS.values()):
        v = (level.beta1 * context.clean[row] + level.beta2).double()
        noise = (noisy[row] - context.clean[row]).double()
        assert abs(float((noise.square() / v).mean()) - 1) < 5 * math.sqrt(2.2 / noise.numel())
        entropy = float(0.5 * (2 * math.pi * math.e * v).log().mean())
        # 5 standard errors; Poisson noise of 2500 electrons is normal but for what follows 1/2500.
        assert abs(float(found[row]) - entropy) < 5 / math.sqrt(2 * noise.numel()) + 2e-3


def test_each_row_has_its_own_level_and_unknown_shots_are_named() -> None:
    generator = NLFGenerator(table())
    clean = torch.full((2, 4, 64, 64), 0.4)
    context = NoiseContext(
        clean=clean, capture=CaptureMetadata(camera=("S6", "S6"), iso=(800, 100))
    )
    sample = generator.sample(NoiseRequest(context=context, seeds=[1, 2]))
    for row, name in enumerate(("S6_00800", "S6_00100")):
        expected = LEVELS[name].beta1 * 0.4 + LEVELS[name].beta2
        found = float((sample.noisy[row] - clean[row]).double().var())
        assert abs(found / expected - 1) < 5 * math.sqrt(2 / clean[row].numel())
        assert sample.params[row]["beta1"] == pytest.approx(LEVELS[name].beta1, rel=1e-5)
    unknown = NoiseContext(
        clean=clean, capture=CaptureMetadata(camera=("S6", "G4"), iso=(800, 800))
    )
    with pytest.raises(ValueError, match=r"'G4' at ISO 800.*S6 ISO 100, 800"):
        generator.sample(NoiseRequest(context=unknown, seeds=[1, 2]))
    with pytest.raises(ValueError, match="'S6' at ISO 200"):
        NLFGenerator(table(), camera="S6", iso=200)
    with pytest.raises(ValueError, match="equal shapes"):
        generator.log_prob(sample.noisy[..., :8], context)


def test_weights_go_to_disk_and_back(tmp_path: Path) -> None:
    task = make_task("nlf", distribution="poisson-gaussian")
    task.module.set_levels(LEVELS)
    part = task.parts()[""]
    path = tmp_path / "nlf.safetensors"
    save_weights(
        path, family=part.family, config=part.config, tensors=part.tensors, license="CC0-1.0"
    )
    loaded = generators.create("nlf", params={}, weights=path)
    own = task.generator()
    context = NoiseContext(
        clean=uniform([1], (4, 8, 8), "clean"),
        capture=CaptureMetadata.same(1, camera="S6", iso=800),
    )
    request = NoiseRequest(context=context, seeds=[9])
    assert torch.equal(loaded.sample(request).noisy, own.sample(request).noisy)
    tensors = {**part.tensors, "beta3": torch.zeros(2)}
    save_weights(path, family="nlf", config=part.config, tensors=tensors, license="CC0-1.0")
    with pytest.raises(ValueError, match="beta3"):
        NLFGenerator(NLFGenerator.load_network(path))
    wrong = {**part.config, "distribution": "cauchy"}
    save_weights(path, family="nlf", config=wrong, tensors=part.tensors, license="CC0-1.0")
    with pytest.raises(ValueError, match="cauchy"):
        NLFGenerator(NLFGenerator.load_network(path))


@pytest.mark.parametrize("name", ["nlf", "nlf-noisy-pairs"])
def test_finishing_finds_the_levels_of_every_configuration(name: str) -> None:
    task = make_task(name, batches=12)
    known = task.uses == "pairs"
    assert known or isinstance(task, NoisyPairNLFTask)

    def batches(step: int) -> TrainingBatch:
        return mixed_batch(step, known=known)

    task.initialise(batches(0))
    before = task.measure(mixed_batch(77), 0)["nll"]
    optimiser = torch.optim.Adam(task.module.parameters(), lr=0.005)
    first = last = float(task.loss(batches(0), 0).detach())
    for step in range(20):
        loss = task.loss(batches(step), step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        last = float(loss.detach())
    assert last < first
    task.finish(batches)
    assert task.measure(mixed_batch(77), 0)["nll"] < before
    told = task.findings()
    json.dumps(told)
    assert "not_fitted" not in told
    for configuration, level in LEVELS.items():
        found = told["levels"][configuration]
        for key, true in (("beta1", level.beta1), ("beta2", level.beta2)):
            assert found[f"{key}_error"] < 0.15 * true
            assert abs(found[key] - true) < 5 * found[f"{key}_error"]
        kept = task.module.levels()[configuration]
        assert kept.beta1 == pytest.approx(found["beta1"], rel=1e-5)


def test_what_was_never_drawn_is_told_and_not_invented() -> None:
    task = make_task("nlf", batches=2)
    before = task.module.levels()["S6_00800"]

    def only_the_first(step: int) -> TrainingBatch:
        batch = mixed_batch(step, rows=1, side=64)
        return TrainingBatch(
            capture=batch.capture, labels=batch.labels, clean=batch.clean, noisy=batch.noisy
        )

    task.finish(only_the_first)
    told = task.findings()
    assert list(told["levels"]) == ["S6_00100"]
    assert "raise `batches`" in told["not_fitted"]["S6_00800"]
    assert task.module.levels()["S6_00800"] == before


def test_a_noisy_pair_task_needs_no_clean_image_and_an_nlf_task_names_it() -> None:
    unseen = mixed_batch(1, known=False)
    assert bool(make_task("nlf-noisy-pairs").loss(unseen, 0).isfinite())
    with pytest.raises(ValueError, match="clean image"):
        make_task("nlf").loss(unseen, 0)


def test_mistakes_in_parameters_are_named() -> None:
    with pytest.raises(ValueError, match=r"'batch'.*Did you mean 'batches'"):
        make_task("nlf", batch=3)
    with pytest.raises(ValueError, match="batches must be a whole number"):
        make_task("nlf", batches=0)
    with pytest.raises(ValueError, match="distribution must be one of"):
        make_task("nlf", distribution="normal")
    with pytest.raises(ValueError, match="at least one camera"):
        NLFConfig(configurations=())
    with pytest.raises(ValueError, match="twice"):
        NLFConfig(configurations=("a_00100", "a_00100"))
    with pytest.raises(ValueError, match="no configuration 'x'"):
        table().set_levels({"x": NoiseLevel(1.0, 1.0)})
    with pytest.raises(ValueError, match="must be > 0"):
        table().set_levels({"S6_00100": NoiseLevel(1.0, 0.0)})


@torch.no_grad()
def test_signal_outside_the_range_is_clipped_for_the_density() -> None:
    model = table()
    capture = CaptureMetadata.same(1, camera="S6", iso=800)
    noise: Tensor = torch.full((1, 4, 2, 2), 0.01)
    low, zero, one, high = (
        float(model.nll(noise, torch.full_like(noise, x), capture)) for x in (-0.5, 0.0, 1.0, 1.5)
    )
    assert low == zero
    assert one == high
