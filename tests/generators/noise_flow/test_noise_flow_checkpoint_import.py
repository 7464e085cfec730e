"""Released checkpoints: every tensor has its place, and the released weights make sense."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.capture import CaptureMetadata
from generators.nlf_tables import SIDD
from generators.noise_flow.checkpoint_import import CAMERAS, ISOS, from_released
from generators.noise_flow.network import NoiseFlow, NoiseFlowConfig
from generators.noise_flow.sampling import NoiseFlowGenerator
from generators.training import Part

SCALE = "model.2._shift_and_log_scale"


def made_up(prefix: str = "") -> dict[str, Tensor]:
    """Return a state dict with the released names and shapes."""
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(0, 0.1, shape).astype(np.float32))

    state = {
        "model.0._scale.cam_params": draw(3, 5).double() + 1e-12,
        "model.0._scale.gain_params": draw(5).double(),
        "model.0._scale.beta1": draw()[()],
        "model.0._scale.beta2": draw()[()],
        "model.9.scale": torch.tensor(0.7),
    }
    for i in (1, 3, 5, 7, 10, 12, 14, 16):
        vectors = {"log_s": draw(4), "sign_s": torch.ones(4)}
        matrices = {"l": draw(4, 4), "u": draw(4, 4), "p": torch.eye(4)[[1, 0, 3, 2]]}
        state |= {f"model.{i}.{name}": value for name, value in {**vectors, **matrices}.items()}
        net = f"model.{i + 1}._shift_and_log_scale"
        state |= {f"{net}.scale": draw(1), f"{net}.logs": draw(1, 4, 1, 1)}
        for conv, place, inputs, side in (("conv2d_1", 0, 2, 3), ("conv2d_2", 3, 4, 1)):
            weight, bias = draw(4, inputs, side, side), draw(4)
            for name in (conv, f"net.{place}"):
                state |= {f"{net}.{name}.weight": weight, f"{net}.{name}.bias": bias}
            norm = f"{net}.net.{place + 1}"
            state |= {f"{norm}.{name}": draw(4) for name in ("weight", "bias", "running_mean")}
            state[f"{norm}.running_var"] = draw(4).abs() + 0.5
            state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
        state |= {f"{net}.conv2d_3.weight": draw(4, 5, 3, 3), f"{net}.conv2d_3.bias": draw(4)}
    return {f"{prefix}{name}": value for name, value in state.items()}


def build(part: Part) -> NoiseFlow:
    model = NoiseFlow(NoiseFlowConfig.from_dict(part.config))
    model.load_state_dict(dict(part.tensors), strict=True)
    return model.eval().requires_grad_(False)


def test_every_tensor_has_its_place() -> None:
    state = made_up()
    part = from_released(state)
    model = build(part)
    assert part.family == "noise-flow"
    assert part.config["packing"] == "clockwise"
    assert (model.config.cameras, model.config.isos) == (CAMERAS, ISOS)
    ours = model.state_dict()
    assert torch.equal(ours["layers.0.camera_table"], state["model.0._scale.cam_params"])
    assert ours["layers.0.camera_table"].dtype == torch.float64
    assert float(ours["layers.9.log_scale"].exp()) == pytest.approx(0.7)
    matrix = model.layers[3].affine().matrix  # type: ignore[operator]
    lower = state["model.3.l"].tril(-1) + torch.eye(4)
    upper = state["model.3.u"].triu(1) + torch.diag(state["model.3.log_s"].exp())
    torch.testing.assert_close(matrix, state["model.3.p"] @ lower @ upper)


def test_the_joint_file_gives_the_same() -> None:
    joint = made_up("noise_flow.") | {"denoiser.dncnn.0.weight": torch.zeros(64, 4, 3, 3)}
    alone, beside = from_released(made_up()), from_released(joint)
    assert alone.config == beside.config
    assert alone.tensors.keys() == beside.tensors.keys()
    assert all(torch.equal(alone.tensors[name], beside.tensors[name]) for name in alone.tensors)


def test_a_file_that_does_not_fit_is_refused_by_name() -> None:
    state = made_up()
    copy = f"{SCALE}.conv2d_1.bias"
    with pytest.raises(ValueError, match=r"conv2d_1.bias must be a copy of .*net.0.bias"):
        from_released({**state, copy: state[copy] + 1})
    with pytest.raises(ValueError, match=r"'model.2.volume' is no tensor"):
        from_released({**state, "model.2.volume": torch.zeros(1)})
    without = {name: value for name, value in state.items() if name != "model.5.log_s"}
    with pytest.raises(ValueError, match=r"lacks.*layers.5.log_s"):
        from_released(without)
    with pytest.raises(ValueError, match="must be > 0"):
        from_released({**state, "model.9.scale": torch.tensor(-1.0)})
    with pytest.raises(ValueError, match="of another shape"):
        from_released({**state, f"{SCALE}.conv2d_3.bias": torch.zeros(6)})


@pytest.fixture(scope="module")
def released(data_dir: Path) -> NoiseFlow:
    path = data_dir / "weights" / "noise2noiseflow_best_model.pth"
    if not path.is_file():
        pytest.skip("the released weights of Noise2NoiseFlow are not here")
    return build(
        from_released(torch.load(path, weights_only=True, map_location="cpu")["state_dict"])
    )


# Pairs of camera and ISO that the released training has seen.
TRAINED = [("IP", 100), ("IP", 800), ("GP", 100), ("GP", 800), ("S6", 400), ("S6", 3200),
           ("N6", 100), ("G4", 800)]  # fmt: skip


def simulated(camera: str, iso: int) -> tuple[Tensor, Tensor, float]:
    """Return clipped noise by the camera's published level, its clean image, and its NLL."""
    rng = np.random.default_rng(iso)
    level = torch.from_numpy(rng.uniform(0.05, 0.5, (8, 4, 1, 1)).astype(np.float32))
    clean = level.expand(8, 4, 24, 24).contiguous()
    beta1, beta2 = SIDD[camera][iso]
    variance = beta1 * clean + beta2
    normal = torch.from_numpy(rng.standard_normal(clean.shape).astype(np.float32))
    noise = (clean + variance.sqrt() * normal).clamp(0, 1) - clean
    nll = 0.5 * ((2 * math.pi * variance).log() + noise.square() / variance)
    return noise, clean, float(nll.mean())


@pytest.mark.parametrize(("camera", "iso"), TRAINED)
def test_the_released_weights_know_the_phones(released: NoiseFlow, camera: str, iso: int) -> None:
    noise, clean, best = simulated(camera, iso)
    capture = CaptureMetadata.same(8, camera=camera, iso=iso)
    nll = float(released.nll(noise, clean, capture).mean())
    # The true density of this noise is the best there is; real noise is a little different.
    assert best - 0.02 < nll < best + 0.25
    normal = np.random.default_rng(3).standard_normal(noise.shape).astype(np.float32)
    sampled, _ = released.decode(torch.from_numpy(normal), clean, released.labels(capture))
    assert 0.5 < float(sampled.var() / noise.var()) < 2.0


def test_the_released_weights_are_refused_other_speeds(released: NoiseFlow) -> None:
    with pytest.raises(ValueError, match="know ISO 100, 400, 800, 1600, 3200"):
        NoiseFlowGenerator(released, iso=200)
