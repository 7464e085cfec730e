"""NAFlow as a generator: the contract, what each way of sampling draws, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import generators
from generators.base import Likelihood, NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.naflow.sampling import NAFlowGenerator
from generators.seeds import standard_normal
from generators.weights_file import bundled, save_weights
from noisemill.testing.generators import CHECKS, GeneratorCase

NAMES = ("S6_00400", "S6_00800", "Nikon D800_06400")


def images(rows: int, height: int, width: int, *, seed: int = 5) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(0.2, 0.8, (rows, 3, height, width)).astype(np.float32))


def noise(rows: int, height: int, width: int, *, sigma: float, seed: int = 6) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, sigma, (rows, 3, height, width)).astype(np.float32))


def make_model(**values: object) -> NAFlow:
    """Return a small network for noise of 0.05; its classes are 0.5, 1 and 2 times as noisy."""
    given: dict[str, object] = {
        "configurations": NAMES,
        "levels": 2,
        "condition_channels": 8,
        "hidden": 8,
        "models": "noise",
        **values,
    }
    model = NAFlow(NAFlowConfig.from_dict(given))
    clean, x = images(8, 32, 32), noise(8, 32, 32, sigma=0.05)
    model.initialise(x if model.config.models == "noise" else clean + x, clean)
    rng = np.random.default_rng(7)
    with torch.no_grad():
        for parameter in model.levels.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.003, parameter.shape)))
        for row, factor in enumerate((0.5, 1.0, 2.0)[: len(model.prior_std)]):
            model.prior_std[row] *= factor
    return model


def make(**params: Any) -> NAFlowGenerator:
    return NAFlowGenerator(make_model(), **params)


def ask(
    clean: Tensor,
    *,
    seeds: list[int] | None = None,
    reference: Tensor | None = None,
    reference_clean: Tensor | None = None,
    iso: int = 800,
) -> NoiseRequest:
    return NoiseRequest(
        context=NoiseContext(
            clean=clean, capture=CaptureMetadata.same(len(clean), camera="S6", iso=iso)
        ),
        seeds=seeds or list(range(len(clean))),
        reference=reference,
        reference_clean=reference_clean,
    )


def levels(generator: NAFlowGenerator, request: NoiseRequest) -> Tensor:
    """Return each row's standard deviation of noise."""
    sample = generator.sample(request)
    return (sample.noisy - sample.clean).flatten(1).std(1)


# The contract.

CASES: dict[str, Callable[[], NAFlowGenerator]] = {
    "follows-reference": make,
    "tempered": lambda: make(weighting="tempered"),
    "rank": lambda: make(sampling="rank", rank=2),
    "label": lambda: make(sampling="label"),
    "random": lambda: make(sampling="random"),
    "bf16": lambda: make(precision="bf16"),
    "models-noisy": lambda: NAFlowGenerator(make_model(models="noisy")),
    "one-prior": lambda: NAFlowGenerator(make_model(single_prior=True)),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_contract(
    made: Callable[[], NAFlowGenerator], check: Callable[[GeneratorCase], None]
) -> None:
    generator = made()  # a generator keeps no state, so that one serves all of a check's calls
    sides = (16, 24)
    # Products over a batch are rounded in another order than over a row.
    check(GeneratorCase(make=lambda: generator, size=sides, tolerance=2e-6))


def test_a_neighbour_with_another_picture_for_reference_does_not_matter() -> None:
    generator, clean = make(), images(2, 32, 32)
    reference = clean + noise(2, 32, 32, sigma=0.05)
    foreign = clean.clone()
    foreign[1] = 0.5
    both = generator.sample(ask(clean, reference=reference, reference_clean=clean))
    mixed = generator.sample(ask(clean, reference=reference, reference_clean=foreign))
    torch.testing.assert_close(mixed.noisy[0], both.noisy[0], atol=1e-6, rtol=0)
    assert not torch.equal(mixed.noisy[1], both.noisy[1])


def test_initial_weights_follow_the_seed_alone() -> None:
    one, same, other = (NAFlow(NAFlowConfig(configurations=NAMES, seed=s)) for s in (1, 1, 2))
    weights = one.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in same.state_dict().items())
    assert not torch.equal(one.condition.lift.weight, other.condition.lift.weight)
    assert not torch.equal(one.embedding[0].lower, other.embedding[0].lower)


def test_a_network_in_training_stays_so() -> None:
    model = make_model()
    generator = NAFlowGenerator(model, sampling="random")
    assert model.training
    assert model.prior_std.requires_grad
    with torch.no_grad():
        model.prior_std.mul_(3.0)
    # What was made from it does not change either.
    again = NAFlowGenerator(model, sampling="random")
    clean = images(2, 16, 24)
    assert float(levels(again, ask(clean)).mean()) > 2 * float(levels(generator, ask(clean)).mean())


# What is drawn.


def test_sampling_by_label_decodes_the_seeds_own_latent() -> None:
    model = make_model(condition_noise=0.0)
    generator, clean = NAFlowGenerator(model, sampling="label"), images(3, 16, 24)
    made = generator.sample(ask(clean, seeds=[1, 2, 3], iso=400))
    assert made.params == [{"configuration": "S6_00400"}] * 3
    z, _ = model.encode(made.noisy - clean, model.prepare(clean), model.encoder_maps())
    eps = (z - model.prior_mean[0][:, None, None]) / model.prior_std[0][:, None, None]
    expected = standard_normal([1, 2, 3], eps.shape[1:], "latent")
    torch.testing.assert_close(eps, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("params", "iso", "factor"),
    [
        ({"sampling": "label"}, 400, 0.5),
        ({"sampling": "label"}, 800, 1.0),
        ({"sampling": "label", "camera": "Nikon D800", "iso": 6400}, 800, 2.0),
        ({"sampling": "label", "temperature": 3.0}, 800, 3.0),
    ],
)
def test_the_label_chooses_the_level(params: dict[str, Any], iso: int, factor: float) -> None:
    clean = images(4, 32, 32)
    found = levels(make(**params), ask(clean, iso=iso))
    middle = levels(make(sampling="label"), ask(clean, iso=800))
    # Same seeds, so no sampling error but for what the network does not scale.
    torch.testing.assert_close(found / middle, torch.full((4,), factor), rtol=0.05, atol=0)
    # The network was set up for noise of 0.05, then shaken.
    torch.testing.assert_close(middle, torch.full((4,), 0.05), rtol=0.3, atol=0)


def test_random_sampling_draws_every_class_equally_often() -> None:
    made = make(sampling="random").sample(ask(images(1, 8, 8).expand(600, -1, -1, -1)))
    drawn = [str(params["configuration"]) for params in made.params]
    for name in NAMES:
        assert abs(drawn.count(name) - 200) < 5 * (600 * 2 / 9) ** 0.5


@pytest.mark.parametrize(("rank", "name"), [(1, "S6_00400"), (3, "Nikon D800_06400")])
def test_rank_chooses_by_likelihood(rank: int, name: str) -> None:
    clean = images(3, 32, 32)
    reference = clean + noise(3, 32, 32, sigma=0.02)  # quieter than the quietest class
    made = make(sampling="rank", rank=rank).sample(ask(clean, reference=reference))
    assert [params["configuration"] for params in made.params] == [name] * 3


@pytest.mark.parametrize("weighting", ["tempered", "posterior", "reference"])
def test_the_blend_finds_the_references_class(weighting: str) -> None:
    clean = images(3, 32, 32)
    generator = make(weighting=weighting)
    for name, sigma in zip(NAMES, (0.025, 0.05, 0.1), strict=True):
        request = ask(clean, reference=clean + noise(3, 32, 32, sigma=sigma))
        made = generator.sample(request)
        assert [params["likeliest"] for params in made.params] == [name] * 3


def test_noise_follows_the_references_level_between_and_beyond_the_classes() -> None:
    clean = images(4, 32, 32)
    generator = make()
    for sigma in (0.035, 0.07, 0.14):  # classes: 0.025, 0.05, 0.1
        found = levels(generator, ask(clean, reference=clean + noise(4, 32, 32, sigma=sigma)))
        # The reference's own level is known to 1.3 % a row, and so is the sample's.
        torch.testing.assert_close(found, torch.full((4,), sigma), rtol=5 * 0.013 * 2**0.5, atol=0)


def test_a_reference_twice_as_noisy_gives_noise_twice_as_strong() -> None:
    clean, real = images(4, 32, 32), noise(4, 32, 32, sigma=0.05)
    one, two = (ask(clean, reference=clean + k * real) for k in (1, 2))
    ratio = levels(make(), two) / levels(make(), one)
    torch.testing.assert_close(ratio, torch.full((4,), 2.0), rtol=0.02, atol=0)
    # Within one class the paper's posterior follows no reference: both are class 800's.
    one, two = (ask(clean, reference=clean + k * real) for k in (0.75, 1.0))
    posterior = make(weighting="posterior")
    ratio = levels(posterior, two) / levels(posterior, one)
    torch.testing.assert_close(ratio, torch.ones(4), rtol=0.02, atol=0)


def test_a_reference_of_another_picture_and_size_sets_the_level() -> None:
    clean, other = images(3, 16, 24), images(3, 32, 32, seed=8)
    reference = other + noise(3, 32, 32, sigma=0.08)
    found = levels(make(), ask(clean, reference=reference, reference_clean=other))
    # A row's level is known to 1 / sqrt(2 * 1152) = 2.1 % here and 1.3 % there.
    torch.testing.assert_close(found, torch.full((3,), 0.08), rtol=5 * 0.025, atol=0)


def test_temperature_scales_the_followed_noise() -> None:
    clean = images(2, 16, 16)
    request = ask(clean, reference=clean + noise(2, 16, 16, sigma=0.05))
    half = levels(make(temperature=0.5), request)
    torch.testing.assert_close(half, 0.5 * levels(make(), request))


def test_bfloat16_draws_almost_the_same_noise() -> None:
    clean = images(4, 32, 32)
    request = ask(clean, reference=clean + noise(4, 32, 32, sigma=0.05))
    exact, fast = (make(precision=p).sample(request).noisy - clean for p in ("float32", "bf16"))
    error = (fast - exact).flatten(1).std(1) / exact.flatten(1).std(1)
    # bfloat16 rounds to 1/256; a wrong layer would leave an error near 1.
    assert float(error.max()) < 0.03
    assert float(error.min()) > 1e-5


# The density.


@pytest.mark.parametrize("models", ["noisy", "noise"])
def test_log_prob_is_the_latents_density_times_the_jacobian(models: str) -> None:
    model = make_model(models=models)
    generator = NAFlowGenerator(model, sampling="label")
    assert isinstance(generator, Likelihood)
    clean = images(2, 8, 12)
    noisy = clean + noise(2, 8, 12, sigma=0.05)
    context = NoiseContext(
        clean=clean, capture=CaptureMetadata(camera=("S6", "S6"), iso=(800, 400))
    )
    found = generator.log_prob(noisy, context)
    wide = make_model(models=models).double().requires_grad_(False)
    wide.load_state_dict(model.state_dict())
    prepared = wide.prepare(clean.double(), dtype=torch.float64)
    x = (noisy - clean if models == "noise" else noisy).double()
    z, ladj = wide.encode(x, prepared, wide.encoder_maps())
    for row, label in enumerate((1, 0)):
        density = torch.distributions.Normal(
            wide.prior_mean[label][:, None, None], wide.prior_std[label][:, None, None]
        )
        expected = density.log_prob(z[row]).sum() + ladj[row]
        assert float(found[row]) == pytest.approx(float(expected), rel=1e-4)


def test_samples_have_the_surprise_that_their_density_expects() -> None:
    """Mean of -log p of a model's own samples is its entropy, known through ladj and the prior."""
    model = make_model(condition_noise=0.0)
    generator, clean = NAFlowGenerator(model, sampling="label"), images(16, 16, 16)
    request = ask(clean)
    noisy = generator.sample(request).noisy
    log_p = generator.log_prob(noisy, request.context)
    _, ladj = model.encode(noisy - clean, model.prepare(clean), model.encoder_maps())
    dimensions = clean[0].numel()
    per_class = model.prior_std[1].detach().square().log().sum() / len(model.prior_std[1])
    entropy = 0.5 * dimensions * (1 + float(np.log(2 * np.pi)) + float(per_class))
    excess = (ladj - log_p - entropy) / (dimensions / 2) ** 0.5  # a chi-square's standard error
    assert abs(float(excess.detach().mean())) < 5 / 16**0.5


def test_bfloat16_keeps_the_density_of_the_bundled_weights() -> None:
    """Within 0.001 bits a pixel; on PolyU it is 0.0002 over 32 rows, 0.0013 in the worst row."""
    if "naflow-polyu" not in bundled():
        pytest.skip("the weights naflow-polyu are not bundled with this checkout")
    path = bundled()["naflow-polyu"]
    exact, fast = (
        NAFlowGenerator(NAFlowGenerator.load_network(path), sampling="random", precision=precision)
        for precision in ("float32", "bf16")
    )
    rows, side = 6, 64
    camera, _, iso = exact.configurations[0].rpartition("_")
    capture = CaptureMetadata.same(rows, camera=camera, iso=int(iso))
    smooth = images(rows, 1, 1) + torch.linspace(0, 0.1, side)
    clean = smooth.expand(rows, 3, side, side).contiguous()
    context = NoiseContext(clean=clean, capture=capture)
    noisy = exact.sample(NoiseRequest(context=context, seeds=range(rows))).noisy
    nats = [generator.log_prob(noisy, context) for generator in (exact, fast)]
    bits = (nats[1] - nats[0]) / (side * side * np.log(2))
    assert 0 < abs(float(bits.mean())) < 1e-3


# Refusals.


def test_an_unknown_configuration_is_refused_with_those_known() -> None:
    generator = make(sampling="label")
    with pytest.raises(ValueError, match=r"'S6' at ISO 1600.*S6 ISO 400.*Nikon D800 ISO 6400"):
        generator.sample(ask(images(1, 8, 8), iso=1600))
    with pytest.raises(ValueError, match=r"'S7' at ISO 400"):
        make(sampling="label", camera="S7", iso=400)
    clean = images(1, 8, 8)
    context = NoiseContext(clean=clean, capture=CaptureMetadata.unknown(1))
    with pytest.raises(ValueError, match="camera None at ISO None"):
        generator.log_prob(clean, context)


@pytest.mark.parametrize("sampling", ["noise-aware", "rank"])
def test_a_missing_reference_is_refused(sampling: str) -> None:
    with pytest.raises(ValueError, match="'naflow' needs 'reference'"):
        make(sampling=sampling).sample(ask(images(1, 8, 8)))


def test_a_reference_without_its_partner_is_refused() -> None:
    with pytest.raises(ValueError, match="reference_clean"):
        make().sample(ask(images(1, 8, 8), reference=images(1, 16, 16)))


@pytest.mark.parametrize("shape", [(1, 3, 8, 10), (1, 3, 9, 8), (1, 1, 8, 8)])
def test_images_that_the_levels_do_not_divide_are_refused(shape: tuple[int, ...]) -> None:
    clean = torch.zeros(shape)
    with pytest.raises(ValueError, match="3 channels"):
        make(sampling="random").sample(ask(clean))
    whole = images(1, 8, 8)
    if shape[1] == 3:
        with pytest.raises(ValueError, match="3 channels"):
            make().sample(ask(whole, reference=clean, reference_clean=clean))


def test_a_density_of_unequal_shapes_is_refused() -> None:
    context = NoiseContext(
        clean=images(2, 8, 8), capture=CaptureMetadata.same(2, camera="S6", iso=800)
    )
    with pytest.raises(ValueError, match="equal shapes"):
        make().log_prob(images(1, 8, 8), context)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sampling": "labels"}, "sampling must be one of"),
        ({"weighting": "both"}, "weighting must be one of"),
        ({"precision": "fp16"}, "precision must be one of"),
        ({"rank": 0}, "rank must be a whole number from 1 to 3.*it is 0"),
        ({"rank": 4}, "rank must be a whole number from 1 to 3.*it is 4"),
        ({"rank": 1.5}, "rank must be a whole number from 1 to 3.*it is 1.5"),
        ({"strength": 0}, "strength must be a finite number > 0"),
        ({"strength": float("nan")}, "strength must be a finite number > 0"),
        ({"temperature": -1}, "temperature must be a finite number >= 0"),
    ],
)
def test_parameters_out_of_range_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**params)


def test_needs_follow_the_way_of_sampling() -> None:
    assert make().needs == make(sampling="rank").needs == {"reference"}
    assert make(sampling="random").needs == frozenset()
    assert make(sampling="label").needs == {"camera", "iso"}
    assert make(sampling="label", camera="S6").needs == {"iso"}
    assert make(sampling="label", iso=400).needs == {"camera"}
    assert make(sampling="label", camera="S6", iso=400).needs == frozenset()


# Weights.


def save(path: Path, **values: Any) -> Path:
    model = make_model()
    given = {
        "family": "naflow",
        "config": model.config.to_dict(),
        "tensors": model.state_dict(),
        "license": "CC0-1.0",
        **values,
    }
    save_weights(path, **given)
    return path


def test_saved_weights_make_the_same_noise(tmp_path: Path) -> None:
    path = save(tmp_path / "tiny.safetensors")
    loaded = generators.create("naflow", params={"sampling": "label"}, weights=path)
    assert isinstance(loaded, NAFlowGenerator)
    assert loaded.configurations == NAMES
    request = ask(images(2, 8, 8))
    assert torch.equal(loaded.sample(request).noisy, make(sampling="label").sample(request).noisy)


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "tiny.safetensors", family="noise-flow")
    with pytest.raises(ValueError, match="weights of 'noise-flow', not of 'naflow'"):
        NAFlowGenerator(NAFlowGenerator.load_network(path))


def test_weights_with_a_nan_are_refused_by_tensor(tmp_path: Path) -> None:
    tensors = make_model().state_dict()
    tensors["levels.1.steps.0.actnorm.logs"][3] = float("nan")
    path = save(tmp_path / "tiny.safetensors", tensors=tensors)
    with pytest.raises(ValueError, match=r"levels\.1\.steps\.0\.actnorm\.logs.*not finite"):
        NAFlowGenerator(NAFlowGenerator.load_network(path))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "tiny.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"tiny\.safetensors cannot be read"):
        NAFlowGenerator(NAFlowGenerator.load_network(path))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("other width", "does not hold the network .* of another shape: "),
        ("unknown key", "configuration is not that of this version's 'naflow' .*depth"),
        ("missing key", "configuration is not that of this version's 'naflow' .*configurations"),
        ("missing tensor", "does not hold the network .* it lacks prior_mean"),
    ],
)
def test_weights_that_do_not_fit_their_configuration_are_refused(
    tmp_path: Path, fault: str, told: str
) -> None:
    config, tensors = make_model().config.to_dict(), make_model().state_dict()
    if fault == "other width":
        config["hidden"] = 12
    elif fault == "unknown key":
        config["depth"] = 3
    elif fault == "missing key":
        del config["configurations"]
    else:
        del tensors["prior_mean"]
    path = save(tmp_path / "tiny.safetensors", config=config, tensors=tensors)
    with pytest.raises(ValueError, match=rf"tiny\.safetensors.*{told}"):
        NAFlowGenerator(NAFlowGenerator.load_network(path))


def test_bundled_weights_put_plausible_noise_on_grey() -> None:
    if "naflow-polyu" not in bundled():
        pytest.skip("the weights naflow-polyu are not bundled with this checkout")
    path = bundled()["naflow-polyu"]
    assert path.stat().st_size <= 6_000_000
    generator = NAFlowGenerator(NAFlowGenerator.load_network(path), sampling="random")
    assert 8 <= len(generator.configurations) <= 16  # PolyU's cameras and speeds, less rejects
    assert all(name[-5:].isdecimal() and name[-6] == "_" for name in generator.configurations)
    found = levels(generator, ask(torch.full((4, 3, 64, 64), 0.5)))
    assert float(found.min()) > 0.5 / 255
    assert float(found.max()) < 30 / 255


def test_moving_to_a_device_changes_nothing_on_it() -> None:
    generator, request = make(sampling="random"), ask(images(2, 8, 8))
    before = generator.sample(request).noisy
    generator.place("cpu")
    assert torch.equal(generator.sample(request).noisy, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_makes_the_same_noise_within_rounding() -> None:
    clean = images(4, 32, 32)
    request = ask(clean, reference=clean + noise(4, 32, 32, sigma=0.05))
    generator = make()
    exact = generator.sample(request)
    generator.place("cuda")
    moved = generator.sample(replace(request))
    assert moved.noisy.device.type == "cpu"
    torch.testing.assert_close(moved.noisy, exact.noisy, atol=2e-3, rtol=0)
