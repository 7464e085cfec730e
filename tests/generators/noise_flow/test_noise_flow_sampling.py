"""Noise Flow as a generator: the contract, its density, temperature, weights files, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import generators
from generators.base import Likelihood, NoiseContext, NoiseRequest
from generators.capture import CaptureMetadata
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from generators.noise_flow.sampling import NoiseFlowGenerator
from generators.seeds import standard_normal
from generators.weights_file import save_weights
from noisemill.testing.generators import CHECKS, GeneratorCase


def make_model(**values: object) -> NoiseFlow:
    """Return a network with a noise level function in front and couplings that do something."""
    given = {
        "cameras": ["GP", "S6"],
        "isos": [100, 800],
        "arrangement": "nlf|unc|gain|unc",
        **values,
    }
    model = NoiseFlow(NoiseFlowConfig.from_dict(given)).eval()
    rng = np.random.default_rng(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("layers.0."):
                parameter.add_(torch.from_numpy(rng.normal(0, 0.1, parameter.shape)))
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(torch.from_numpy(rng.uniform(0.5, 2.0, buffer.shape)))
    return model


def make(**params: Any) -> NoiseFlowGenerator:
    return NoiseFlowGenerator(make_model(), **params)


def ask(
    rows: int, *, side: int = 16, camera: str | None = "S6", iso: int | None = 800
) -> NoiseRequest:
    rng = np.random.default_rng(1)
    clean = torch.from_numpy(rng.uniform(0, 1, (rows, 4, side, side)).astype(np.float32))
    capture = CaptureMetadata.same(rows, camera=camera, iso=iso)
    return NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=range(rows))


def noise_of(generator: NoiseFlowGenerator, request: NoiseRequest) -> Tensor:
    sample = generator.sample(request)
    return sample.noisy - sample.clean


CASES: dict[str, Callable[[], NoiseFlowGenerator]] = {
    "by-shot": make,
    "camera-given": lambda: make(camera="GP"),
    "iso-given": lambda: make(iso=100, temperature=0.6),
    "both-given": lambda: make(camera="GP", iso=100),
    "released-arrangement": lambda: NoiseFlowGenerator(
        make_model(arrangement="sdn|unc|gain|unc", packing="clockwise")
    ),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_contract(
    made: Callable[[], NoiseFlowGenerator], check: Callable[[GeneratorCase], None]
) -> None:
    # Equal bits: the same number of rows goes through the network, however many are asked for.
    check(GeneratorCase(make=made, channels=4, size=(7, 10)))


@pytest.mark.parametrize("packing", ["raster", "clockwise"])
@pytest.mark.parametrize("arrangement", ["nlf|unc|gain|unc", "gain|unc|sdn|unc|gain", "nlf"])
def test_samples_are_those_of_the_network(arrangement: str, packing: str) -> None:
    model, request = make_model(arrangement=arrangement, packing=packing), ask(3)
    clean = request.context.clean
    normal = standard_normal(request.seeds, clean.shape[1:], "latent")
    with torch.no_grad():
        expected, _ = model.decode(normal, clean, model.labels(request.context.capture))
    torch.testing.assert_close(
        NoiseFlowGenerator(model).sample(request).noisy, clean + expected, atol=1e-5, rtol=1e-5
    )


def test_the_density_is_that_of_the_samples() -> None:
    generator, request = make(), ask(24)
    assert isinstance(generator, Likelihood)
    sample = generator.sample(request)
    found = generator.log_prob(sample.noisy, request.context)
    clean, model = sample.clean, make_model()
    normal = standard_normal(request.seeds, clean.shape[1:], "latent")
    with torch.no_grad():
        _, ladj = model.decode(normal, clean, model.labels(request.context.capture))
    dims = normal[0].numel()
    latent = -0.5 * normal.square().sum(dim=(1, 2, 3)) - 0.5 * dims * math.log(2 * math.pi)
    torch.testing.assert_close(found, latent - ladj, rtol=1e-4, atol=0.05)
    # The mean of -log p over samples is the entropy: D/2 ln(2 pi e) + E[log|det dn/dz|].
    surprise, entropy = -found + ladj, 0.5 * dims * math.log(2 * math.pi * math.e)
    assert abs(float((surprise - 2 * ladj).mean()) - entropy) < 5 * math.sqrt(dims / 2 / 24)


def test_each_row_gets_the_noise_of_its_own_camera_and_iso() -> None:
    generator = NoiseFlowGenerator(make_model(arrangement="nlf"))
    capture = CaptureMetadata(camera=("S6", "GP"), iso=(100, 800))
    clean = torch.full((2, 4, 64, 64), 0.5)
    request = NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=[1, 2])
    variance = noise_of(generator, request).flatten(1).var(1)
    expected = torch.tensor([1e-3 / 8 * 0.5 + 1e-5 / 64, 1e-3 * 0.5 + 1e-5])
    # 16,384 values: five standard errors of a variance are 5.5 %.
    assert bool(((variance / expected - 1).abs() < 0.055).all())
    names = [params["configuration"] for params in generator.sample(request).params]
    assert names == ["S6_00100", "GP_00800"]
    assert generator.configurations == ("GP_00100", "GP_00800", "S6_00100", "S6_00800")


def test_temperature_scales_the_latent() -> None:
    request = ask(2)
    still, full = noise_of(make(temperature=0.0), request), noise_of(make(), request)
    mild = noise_of(make(temperature=0.5), request)
    assert 0.4 < float((mild - still).std() / (full - still).std()) < 0.6
    with pytest.raises(ValueError, match="temperature must be"):
        make(temperature=-1.0)


def test_camera_and_iso_may_be_given_for_photographs_that_tell_none() -> None:
    told = noise_of(make(), ask(2, camera="GP", iso=100))
    given = noise_of(make(camera="GP", iso=100), ask(2, camera=None, iso=None))
    assert torch.equal(told, given)


@pytest.mark.parametrize(
    ("params", "message"),
    [({"camera": "X100"}, "camera 'X100'.*GP, S6"), ({"iso": 200}, "ISO 200.*100, 800")],
)
def test_an_unknown_camera_or_iso_is_refused_before_any_work(
    params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**params)


def test_a_shot_that_the_weights_do_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ISO 320 \(row 0\)"):
        make().sample(ask(2, iso=320))
    with pytest.raises(ValueError, match="equal shapes"):
        make().log_prob(torch.zeros(2, 4, 3, 3), ask(2).context)


def test_weights_make_the_same_generator(tmp_path: Path) -> None:
    path, model, request = tmp_path / "mine.safetensors", make_model(), ask(2)
    config, tensors = model.config.to_dict(), model.state_dict()
    save_weights(path, family="noise-flow", config=config, tensors=tensors, license="test")
    loaded = generators.create("noise-flow", params={"temperature": 0.8}, weights=path)
    assert torch.equal(loaded.sample(request).noisy, make(temperature=0.8).sample(request).noisy)
    assert (loaded.accepts, loaded.gives) == ("raw", "raw")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "mine.safetensors", make_model()
    config, tensors = model.config.to_dict(), model.state_dict()
    part = {name: value for name, value in tensors.items() if name != "layers.1.log_s"}
    save_weights(path, family="noise-flow", config=config, tensors=part, license="test")
    with pytest.raises(ValueError, match=r"lacks.*layers.1.log_s"):
        NoiseFlowGenerator(NoiseFlowGenerator.load_network(path))
    config = {**config, "arrangement": "sdn|unknown"}
    save_weights(path, family="noise-flow", config=config, tensors=tensors, license="test")
    with pytest.raises(ValueError, match="its configuration is not that of"):
        NoiseFlowGenerator(NoiseFlowGenerator.load_network(path))


def test_sampling_leaves_the_numbers_of_threads_alone() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        request = ask(9, side=64)
        many = make().sample(request).noisy
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert torch.equal(make().sample(request).noisy, many)
    finally:
        torch.set_num_threads(before)
