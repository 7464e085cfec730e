"""InvDN as a generator: the contract, what each mode gives, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from generators.base import NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.invdn.network import InvDN, InvDNConfig
from generators.invdn.prior import Differences, fit_prior
from generators.invdn.sampling import InvDNGenerator
from generators.invdn.weights import InvDNWeights, load_invdn
from generators.seeds import standard_normal, uniform
from generators.weights_file import save_weights
from noisemill.testing.generators import CHECKS, GeneratorCase

NAMES = ("S6_00800", "Nikon D800_06400")
CONFIG = InvDNConfig(blocks=(1, 2), hidden=4, start="random", seed=2)


def images(seeds: list[int], side: int = 16) -> Tensor:
    return uniform(seeds, (3, side, side), "image", low=0.2, high=0.8)


def noise(seeds: list[int], side: int = 16, *, sigma: float = 0.03) -> Tensor:
    return sigma * standard_normal(seeds, (3, side, side), "noise")


@cache
def make_weights(*, prior: bool = True) -> InvDNWeights:
    model = InvDN(CONFIG).eval().requires_grad_(False)
    if not prior:
        return InvDNWeights(model, (), None)
    # Enough positions that neither configuration leans on the other.
    seeds = list(range(32))
    clean = images(seeds, 64)
    encoded, _ = model.encode(clean)
    labels = torch.tensor([0, 1] * 16)
    noisy, _ = model.encode(clean + noise(seeds, 64) * (1.0 + labels).view(-1, 1, 1, 1))
    return InvDNWeights(model, NAMES, fit_prior([Differences(labels, encoded, noisy - encoded)], 2))


def make(**params: Any) -> InvDNGenerator:
    return InvDNGenerator(make_weights(), **params)


def ask(clean: Tensor, **rest: Any) -> NoiseRequest:
    capture = CaptureMetadata.same(len(clean), camera="S6", iso=800)
    values = {
        "seeds": list(range(len(clean))),
        "context": NoiseContext(clean=clean, capture=capture),
    }
    return NoiseRequest(**{**values, **rest})


CASES: dict[str, Callable[[], InvDNGenerator]] = {
    "perturb": make,
    "resample": lambda: make(mode="resample"),
    "any": lambda: make(mode="resample", prior="any"),
    "fixed": lambda: make(mode="resample", camera="Nikon D800", iso=6400),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("create", CASES.values(), ids=CASES)
def test_contract(
    create: Callable[[], InvDNGenerator], check: Callable[[GeneratorCase], None]
) -> None:
    check(GeneratorCase(make=create))


# Perturbing.


def test_perturbing_gives_the_pairs_own_noise_back() -> None:
    clean = images([1, 2])
    noisy = clean + noise([1, 2])
    for partner in (None, clean):
        sample = make().sample(ask(clean, reference=noisy, reference_clean=partner))
        change = (sample.noisy - noisy).abs().max()
        assert 0 < float(change) < 0.01
    assert sample.params[0] == {"epsilon": 2e-4, "reference": "own pair"}


def test_a_larger_epsilon_changes_more() -> None:
    clean = images([1])
    request = ask(clean, reference=clean + noise([1]))
    assert request.reference is not None
    found = [
        float((make(epsilon=e).sample(request).noisy - request.reference).std())
        for e in (0.0, 1e-3, 1e-2)
    ]
    assert found[0] < 1e-5
    assert found[2] == pytest.approx(10 * found[1], rel=0.1)


def test_a_foreign_reference_lends_its_noise_to_the_clean_image() -> None:
    model = InvDN(InvDNConfig(blocks=(1, 2), hidden=4)).eval()
    generator = InvDNGenerator(InvDNWeights(model, (), None), epsilon=0.0)
    clean, other, added = images([1]), images([2]), noise([1])
    sample = generator.sample(ask(clean, reference=other + added, reference_clean=other))
    # Fresh blocks are linear: there the transfer adds the very same noise.
    torch.testing.assert_close(sample.noisy, clean + added, atol=1e-5, rtol=0)
    assert sample.params[0]["reference"] == "transfer"


def test_whether_a_neighbour_is_foreign_does_not_matter_to_a_row() -> None:
    clean, reference = images([1, 2]), images([1, 2]) + noise([1, 2])
    partner = torch.cat([clean[:1], images([3])])
    own = make().sample(ask(clean, reference=reference)).noisy
    mixed = make().sample(ask(clean, reference=reference, reference_clean=partner)).noisy
    assert torch.equal(own[0], mixed[0])
    assert not torch.allclose(own[1], mixed[1], atol=1e-3)


def test_a_reference_of_another_size_is_refused() -> None:
    request = ask(images([1]), reference=images([1], 8), reference_clean=images([1], 8))
    with pytest.raises(ValueError, match="they must be equal"):
        make().sample(request)


# Resampling.


def test_resampling_has_the_level_of_its_configuration() -> None:
    clean = images(list(range(20, 28)), 32)
    made = {
        name: make(mode="resample", **params).sample(ask(clean))
        for name, params in {
            "quiet": {},
            "loud": {"camera": "Nikon D800", "iso": 6400},
            "cool": {"temperature": 0.5},
        }.items()
    }
    spread = {name: float((s.noisy - s.clean).std()) for name, s in made.items()}
    assert spread["quiet"] == pytest.approx(0.03, rel=0.2)
    assert spread["loud"] == pytest.approx(0.06, rel=0.2)
    assert spread["cool"] == pytest.approx(0.5 * spread["quiet"], rel=0.1)
    assert made["loud"].params[0] == {"configuration": "Nikon D800_06400"}


def test_resampled_noise_is_new() -> None:
    clean = images([1])
    one = make(mode="resample").sample(ask(clean, seeds=[1]))
    two = make(mode="resample").sample(ask(clean, seeds=[2]))
    a, b = ((s.noisy - s.clean).flatten() for s in (one, two))
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.2


def test_an_unknown_shot_is_refused_with_what_is_known() -> None:
    clean = images([1])
    capture = CaptureMetadata.same(1, camera="G4", iso=100)
    request = NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=[1])
    with pytest.raises(
        ValueError, match="'G4' at ISO 100; its weights know S6 ISO 800; Nikon D800"
    ):
        make(mode="resample").sample(request)
    with pytest.raises(ValueError, match="does not know camera 'G4' at ISO 100"):
        make(mode="resample", camera="G4", iso=100)


def test_weights_without_a_prior_only_perturb() -> None:
    weights = make_weights(prior=False)
    assert InvDNGenerator(weights).needs == {"reference"}
    with pytest.raises(ValueError, match="mode 'resample' draws from a prior"):
        InvDNGenerator(weights, mode="resample")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"mode": "draw"}, "mode must be one of perturb, resample"),
        ({"prior": "all"}, "prior must be one of shot, any"),
        ({"epsilon": -1}, "epsilon must be a finite number >= 0"),
        ({"temperature": -1}, "temperature must be a finite number >= 0"),
        ({"precision": "fp16"}, "precision must be one of"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make(**params)


# Weights files.


def save(path: Path, tensors: dict[str, Tensor], **config: object) -> Path:
    values = {**CONFIG.to_dict(), "configurations": list(NAMES), **config}
    save_weights(path, family="invdn", config=values, tensors=tensors, license="CC0-1.0")
    return path


def test_a_file_with_and_without_prior_loads(tmp_path: Path) -> None:
    weights = make_weights()
    assert weights.prior is not None
    own = weights.model.state_dict()
    path = save(tmp_path / "a.safetensors", {**own, **weights.prior.tensors()})
    assert load_invdn(path).configurations == NAMES
    assert InvDNGenerator(InvDNGenerator.load_network(path), mode="resample").needs == {
        "camera",
        "iso",
    }
    assert load_invdn(save(tmp_path / "b.safetensors", own)).prior is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            lambda t: {k: v for k, v in t.items() if k != "layers.1.F.conv1.bias"},
            "it lacks layers.1.F.conv1.bias",
        ),
        (lambda t: {**t, "layers.9.F.conv1.bias": torch.zeros(4)}, "it has layers.9.F.conv1.bias"),
        (lambda t: {**t, "prior.extra": torch.zeros(4)}, "its prior does not fit .*prior.extra"),
        (lambda t: {**t, "prior.mean": torch.zeros(4)}, "its prior does not fit .*prior.mean"),
    ],
    ids=["missing", "extra", "extra-prior", "shape"],
)
def test_a_file_of_other_tensors_is_refused(
    tmp_path: Path, wrong: Callable[[dict[str, Tensor]], dict[str, Tensor]], told: str
) -> None:
    weights = make_weights()
    assert weights.prior is not None
    tensors = {**weights.model.state_dict(), **weights.prior.tensors()}
    path = save(tmp_path / "a.safetensors", wrong(tensors))
    with pytest.raises(ValueError, match=told):
        load_invdn(path)
