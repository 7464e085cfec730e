"""Noise Flow's network: size, arrangement, labels, density, packing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generators.capture import CaptureMetadata
from generators.noise_flow.network import RELEASED, NoiseFlow, NoiseFlowConfig
from generators.noise_model import NoiseModel

CAMERAS, ISOS = ["GP", "S6"], [100, 800]


def make(*, shake: float = 0.2, **values: object) -> NoiseFlow:
    """Return a network in evaluation mode in which every layer does something."""
    given = {"cameras": CAMERAS, "isos": ISOS, **values}
    model = NoiseFlow(NoiseFlowConfig.from_dict(given)).eval()
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, shake, parameter.shape)))
    return model


def images(rows: int, height: int = 6, width: int = 8) -> tuple[Tensor, Tensor]:
    """Return noise and a clean image."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.1, (rows, 4, height, width)).astype(np.float32)
    clean = rng.uniform(0, 1, (rows, 4, height, width)).astype(np.float32)
    return torch.from_numpy(noise), torch.from_numpy(clean)


CAPTURES = CaptureMetadata(camera=("GP", "S6", "S6"), iso=(800, 100, 800))


def test_the_released_arrangement_has_the_released_size() -> None:
    config = NoiseFlowConfig(
        cameras=("IP", "GP", "S6", "N6", "G4"), isos=(100, 400, 800, 1600, 3200)
    )
    model = NoiseFlow(config)
    assert "|".join(RELEASED) == "sdn|unc|unc|unc|unc|gain|unc|unc|unc|unc"
    assert len(list(model.layers)) == 18
    assert sum(parameter.numel() for parameter in model.parameters()) == 2719


def test_the_configuration_travels_as_json() -> None:
    config = NoiseFlowConfig.from_dict(
        {"cameras": CAMERAS, "isos": ISOS, "arrangement": "nlf|unc|gain", "packing": "clockwise"}
    )
    assert config.arrangement == ("nlf", "unc", "gain")
    assert NoiseFlowConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arrangement": "sdn|unk"}, "joined by '|'.*'sdn|unk'"),
        ({"arrangement": ""}, "joined by"),
        ({"cameras": []}, "at least one value in cameras"),
        ({"cameras": ["S6", "S6"]}, "name each once"),
        ({"isos": [100.5]}, "whole numbers > 0"),
        ({"packing": "spiral"}, "'raster' or 'clockwise'"),
        ({"cells": 3}, "no parameter 'cells'; it has cameras, isos, arrangement"),
    ],
)
def test_a_wrong_configuration_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoiseFlowConfig.from_dict({"cameras": CAMERAS, "isos": ISOS, **values})


def test_a_missing_list_is_named() -> None:
    with pytest.raises(ValueError, match="lacks isos"):
        NoiseFlowConfig.from_dict({"cameras": CAMERAS})


def test_the_seed_decides_the_start() -> None:
    def rotation(seed: int) -> Tensor:
        return NoiseFlow(
            NoiseFlowConfig.from_dict({"cameras": CAMERAS, "isos": ISOS, "seed": seed})
        ).state_dict()["layers.1.lower"]

    assert torch.equal(rotation(1), rotation(1))
    assert not torch.equal(rotation(1), rotation(2))


@pytest.mark.parametrize("arrangement", ["sdn|unc|gain|unc", "nlf|unc"])
def test_a_row_has_the_density_of_its_own_camera_and_iso(arrangement: str) -> None:
    model, (noise, clean) = make(arrangement=arrangement), images(3)
    together = model.nll(noise, clean, CAPTURES)
    alone = [
        model.nll(noise[row : row + 1], clean[row : row + 1], CAPTURES.select([row]))
        for row in range(3)
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    other = model.nll(noise, clean, CaptureMetadata.same(3, camera="GP", iso=100))
    assert bool((other != together).all())


@pytest.mark.parametrize(
    ("camera", "iso", "message"),
    [
        ("X100", 800, r"camera 'X100' \(row 1\); its weights know camera GP, S6"),
        ("S6", 200, r"ISO 200 \(row 1\); its weights know ISO 100, 800"),
        (None, 800, r"camera None \(row 1\)"),
    ],
)
def test_an_unknown_camera_or_iso_is_named(camera: str | None, iso: int, message: str) -> None:
    noise, clean = images(2)
    with pytest.raises(ValueError, match=message):
        make().nll(noise, clean, CaptureMetadata(camera=("S6", camera), iso=(800, iso)))


def test_shapes_that_do_not_fit_are_refused() -> None:
    noise, clean = images(2)
    with pytest.raises(ValueError, match="packed raw images"):
        make().nll(noise[:, :3], clean[:, :3], CAPTURES.select([0, 1]))
    with pytest.raises(ValueError, match="packed raw images"):
        make().nll(noise, clean[..., :4], CAPTURES.select([0, 1]))


def test_nll_is_the_noise_model_that_joint_trainings_use() -> None:
    model, (noise, clean) = make(shake=0.05), images(3)
    assert isinstance(model, NoiseModel)
    assert isinstance(model, nn.Module)
    noise.requires_grad_()
    clean.requires_grad_()
    nll = model.nll(noise, clean, CAPTURES)
    assert nll.shape == (3,)
    nll.sum().backward()
    for image in (noise, clean):
        assert image.grad is not None
        assert bool((image.grad != 0).any())


def test_the_clean_image_is_clipped() -> None:
    model, (noise, clean) = make(), images(3)
    beyond = torch.where(clean > 0.5, clean + 1.0, clean - 0.5)
    torch.testing.assert_close(
        model.nll(noise, beyond, CAPTURES), model.nll(noise, beyond.clamp(0, 1), CAPTURES)
    )


def test_the_baseline_is_the_noise_level_function() -> None:
    model, (noise, clean) = make(arrangement="nlf", shake=0.0), images(3)
    iso = torch.tensor([800.0, 100.0, 800.0])[:, None, None, None]
    variance = 1e-3 * iso / 800 * clean + 1e-5 * (iso / 800) ** 2
    expected = 0.5 * ((2 * math.pi * variance).log() + noise.square() / variance)
    torch.testing.assert_close(model.nll(noise, clean, CAPTURES), expected.mean(dim=(1, 2, 3)))


def test_the_density_integrates_to_one_over_its_samples() -> None:
    """E over samples of q / p is 1 for any density q; here normal noise, a little narrower.

    A sampler that is not the density's, or a wrong log-determinant, moves it by factors.
    """
    model, rows = make(arrangement="sdn|unc|gain|unc", shake=0.1), 40000
    rng = np.random.default_rng(5)
    z = torch.from_numpy(rng.standard_normal((rows, 4, 1, 2)).astype(np.float32))
    clean = torch.from_numpy(rng.uniform(0, 1, (1, 4, 1, 2)).astype(np.float32)).expand_as(z)
    capture = CaptureMetadata.same(rows, camera="S6", iso=800)
    with torch.no_grad():
        labels = model.labels(capture)
        noise, _ = model.decode(z, clean, labels)
        log_p = model.log_prob(noise, clean, labels).double()
    x = noise.flatten(1).double()
    q = torch.distributions.MultivariateNormal(x.mean(0), 0.7 * torch.cov(x.T))
    ratio = (q.log_prob(x) - log_p).exp()
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / math.sqrt(rows)
    assert float(ratio.std()) < 10


def test_training_mode_uses_and_records_the_batch() -> None:
    model, (noise, clean) = make(arrangement="unc"), images(3)
    still = model.nll(noise, clean, CAPTURES)
    before = model.state_dict()["layers.1.net.enter_norm.running_var"].clone()
    model.train()
    assert not torch.equal(model.nll(noise, clean, CAPTURES), still)
    model.eval()
    assert not torch.equal(model.state_dict()["layers.1.net.enter_norm.running_var"], before)


def test_packing_exchanges_the_last_two_channels() -> None:
    raster, clockwise = make(), make(packing="clockwise")
    clockwise.load_state_dict(raster.state_dict())
    noise, clean = images(3)
    order = [0, 1, 3, 2]
    torch.testing.assert_close(
        clockwise.nll(noise[:, order], clean[:, order], CAPTURES),
        raster.nll(noise, clean, CAPTURES),
    )
    assert not torch.equal(
        clockwise.nll(noise, clean, CAPTURES), raster.nll(noise, clean, CAPTURES)
    )


def test_a_warm_start_brings_the_latent_to_unit_variance() -> None:
    noise, clean = images(3, 24, 24)
    noise = 0.05 * noise * clean.sqrt()
    model = make(shake=0.0)  # the noise has no offset: its logarithm has no minimum
    with torch.no_grad():
        cold = float(model.nll(noise, clean, CAPTURES).mean())
    model.warm_start(noise, clean, model.labels(CAPTURES))
    model.requires_grad_(False)
    z, _ = model.encode(noise, clean, model.labels(CAPTURES))
    assert abs(float(z.var()) - 1) < 0.05
    assert float(model.nll(noise, clean, CAPTURES).mean()) < cold - 3
