"""Flow-sRGB as a generator: the contract, level and mean of its noise, and refusals."""

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
from generators.flow_srgb.network import FlowSRGB, FlowSRGBConfig
from generators.flow_srgb.sampling import FlowSRGBGenerator
from generators.weights_file import save_weights
from noisemill.testing.generators import CHECKS, GeneratorCase

KNOWN = ("G4_00100", "S6_00100", "S6_00800")
LEVELS = {("S6", 100): 0.01, ("S6", 800): 0.04, ("G4", 100): 0.02}


def make_model(**values: object) -> FlowSRGB:
    """Return a network whose three cells have the noise levels above; couplings do something."""
    given: dict[str, object] = {
        "cameras": ["G4", "S6"],
        "isos": [100, 800],
        "configurations": list(KNOWN),
        "arrangement": "CL2|CAC|CAC",
        **values,
    }
    model = FlowSRGB(FlowSRGBConfig.from_dict(given)).eval()
    rng = np.random.default_rng(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".coupling." in name:
                parameter.add_(torch.from_numpy(rng.normal(0, 0.05, parameter.shape)))
        for (camera, iso), level in LEVELS.items():
            cells = model.cells(CaptureMetadata.same(1, camera=camera, iso=iso))
            model.layers[0].affine.log_scale[cells.cell] = -math.log(level)  # type: ignore[index]
    return model


def make(**params: Any) -> FlowSRGBGenerator:
    return FlowSRGBGenerator(make_model(), **params)


def ask(clean: Tensor, *, camera: str | None = "S6", iso: int | None = 800) -> NoiseRequest:
    capture = CaptureMetadata.same(len(clean), camera=camera, iso=iso)
    return NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=range(len(clean)))


def noise_of(generator: FlowSRGBGenerator, request: NoiseRequest) -> Tensor:
    sample = generator.sample(request)
    return sample.noisy - sample.clean


CASES: dict[str, Callable[[], FlowSRGBGenerator]] = {
    "by-shot": make,
    "camera-given": lambda: make(camera="G4", iso=100),
    "iso-given": lambda: make(iso=100, temperature=0.6),
    "bgr": lambda: FlowSRGBGenerator(make_model(order="bgr")),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_contract(
    made: Callable[[], FlowSRGBGenerator], check: Callable[[GeneratorCase], None]
) -> None:
    # Convolutions sum in another order in another batch; odd sides, for there is no multiple.
    check(GeneratorCase(make=made, size=(7, 10), tolerance=1e-5))


def test_each_row_gets_the_noise_of_its_own_camera_and_iso() -> None:
    generator = make()
    capture = CaptureMetadata(camera=("S6", "G4", "S6"), iso=(100, 100, 800))
    clean = torch.full((3, 3, 64, 64), 0.5)
    request = NoiseRequest(context=NoiseContext(clean=clean, capture=capture), seeds=[1, 2, 3])
    found = noise_of(generator, request).flatten(1).std(1)
    expected = torch.tensor([LEVELS["S6", 100], LEVELS["G4", 100], LEVELS["S6", 800]])
    assert bool(((found / expected - 1).abs() < 0.1).all())
    names = [params["configuration"] for params in generator.sample(request).params]
    assert names == ["S6_00100", "G4_00100", "S6_00800"]


def test_temperature_scales_the_latent() -> None:
    request = ask(torch.full((1, 3, 32, 32), 0.5))
    still, mild = noise_of(make(temperature=0.0), request), noise_of(make(temperature=0.5), request)
    full = noise_of(make(), request)
    # A mean is left at zero temperature, from biases and shifts; about it the noise scales.
    assert 0.4 < float((mild - still).std() / (full - still).std()) < 0.6


def test_the_density_is_that_of_the_samples() -> None:
    """E over samples of -log p is the latent's entropy less the mean log-determinant."""
    generator, model = make(), make_model()
    request = ask(torch.full((16, 3, 16, 16), 0.3))
    sample = generator.sample(request)
    assert isinstance(generator, Likelihood)
    found = generator.log_prob(sample.noisy, request.context)
    with torch.no_grad():
        noise = sample.noisy - sample.clean
        z, ladj = model.encode(noise, sample.clean, model.cells(request.context.capture))
    dims = 3 * 16 * 16
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=(1, 2, 3))
    torch.testing.assert_close(found, normal + ladj, rtol=1e-4, atol=0.1)
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    surprise = float((ladj - found).mean()) / dims
    assert abs(surprise - entropy) < 5 / math.sqrt(2 * dims * 16)
    # Noise at another level is less likely.
    louder = sample.clean + 1.2 * noise
    assert bool((generator.log_prob(louder, request.context) < found).all())


@pytest.mark.parametrize("camera", ["S6", "P9"])
def test_a_cell_never_trained_is_refused_with_what_is_known(camera: str) -> None:
    iso = 100 if camera == "P9" else 3200
    message = rf"'{camera}' at ISO {iso}; its weights know G4 ISO 100; S6 ISO 100, 800\."
    with pytest.raises(ValueError, match=message):
        make(camera=camera, iso=iso)
    with pytest.raises(ValueError, match=message):
        make().sample(ask(torch.zeros(1, 3, 8, 8), camera=camera, iso=iso))
    # Camera and ISO are both known, the two together are not.
    with pytest.raises(ValueError, match="'G4' at ISO 800"):
        make(camera="G4", iso=800)


def test_it_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="temperature must be"):
        make(temperature=-1.0)
    with pytest.raises(ValueError, match="3 channels"):
        make().sample(ask(torch.zeros(1, 1, 8, 8)))
    request = ask(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="equal shapes"):
        make().log_prob(torch.zeros(1, 3, 8, 9), request.context)


def write(path: Path, model: FlowSRGB, **changes: object) -> Path:
    config = {**model.config.to_dict(), **changes}
    tensors = model.state_dict()
    save_weights(path, family="flow-srgb", config=config, tensors=tensors, license="test")
    return path


def test_weights_come_back_as_the_same_generator(tmp_path: Path) -> None:
    model = make_model(order="bgr", dequantisation="noisy")
    path = write(tmp_path / "w.safetensors", model)
    loaded = generators.create("flow-srgb", params={"temperature": 0.8}, weights=path)
    request = ask(torch.full((2, 3, 8, 8), 0.5))
    expected = FlowSRGBGenerator(model, temperature=0.8).sample(request)
    assert torch.equal(loaded.sample(request).noisy, expected.noisy)
    assert isinstance(loaded, FlowSRGBGenerator)
    assert loaded.configurations == KNOWN


def test_weights_of_another_arrangement_are_refused(tmp_path: Path) -> None:
    model = make_model()
    path = write(tmp_path / "a.safetensors", model, arrangement="CL2|CAC")
    with pytest.raises(ValueError, match=r"a\.safetensors.*layers\.2"):
        FlowSRGBGenerator(FlowSRGBGenerator.load_network(path))
    path = write(tmp_path / "b.safetensors", model, colour="yes")
    with pytest.raises(ValueError, match=r"b\.safetensors: its configuration is not"):
        FlowSRGBGenerator(FlowSRGBGenerator.load_network(path))


def test_a_training_network_is_left_as_it_is() -> None:
    model = make_model().train()
    FlowSRGBGenerator(model).sample(ask(torch.zeros(1, 3, 8, 8)))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
