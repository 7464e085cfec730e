"""The Flow-sRGB network: its size, its cells, its density, and the released checkpoint's names."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.capture import CaptureMetadata
from generators.flow_srgb.checkpoint_import import SIDD, from_released
from generators.flow_srgb.embedding import CaptureEmbedding
from generators.flow_srgb.network import GREY_NATS, PUBLISHED, FlowSRGB, FlowSRGBConfig
from generators.flows.conditional_linear import ConditionalLinear
from generators.noise_model import NoiseModel

SMALL = FlowSRGBConfig(cameras=("A", "B"), isos=(100, 800), arrangement=("CL2", "CAC", "CAC"))


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def moved(model: FlowSRGB, *, by: float = 0.2, seed: int = 3) -> FlowSRGB:
    """Return the network in float64 and evaluation mode, nothing in it an identity."""
    rng = np.random.default_rng(seed)
    model = model.double().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.from_numpy(rng.uniform(0.3, 2.0, tensor.shape)))
            elif name.endswith("running_mean"):
                tensor.copy_(torch.from_numpy(rng.normal(0, 0.3, tensor.shape)))
            elif tensor.is_floating_point() and not name.endswith(("permutation", "sign_s")):
                tensor.add_(torch.from_numpy(rng.normal(0, by, tensor.shape)))
    return model


def inputs(rows: int, height: int, width: int) -> tuple[Tensor, Tensor, CaptureMetadata]:
    noise = 0.05 * drawn(rows, 3, height, width)
    clean = drawn(rows, 3, height, width, seed=2).sigmoid()
    grid = itertools.cycle(itertools.product(("A", "B"), (100, 800)))
    cameras, isos = zip(*itertools.islice(grid, rows), strict=True)
    return noise, clean, CaptureMetadata(camera=cameras, iso=isos)


def test_the_released_arrangement_has_6160_trainable_parameters() -> None:
    model = FlowSRGB(SIDD)
    assert SIDD.arrangement == PUBLISHED
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 6160


@pytest.mark.parametrize(
    ("arrangement", "parameters"),
    # AC: 1x1 convolution; 3x3 of one channel to four, norm, 1x1, norm, 3x3 with border, factors.
    [("CL", 50), ("CL2", 150), ("AC", 21 + (36 + 4) + 8 + (16 + 4) + 8 + (180 + 4) + 4 + 1)],
)
def test_baselines_have_their_size(arrangement: str, parameters: int) -> None:
    config = FlowSRGBConfig.from_dict({**SIDD.to_dict(), "arrangement": arrangement})
    assert sum(p.numel() for p in FlowSRGB(config).parameters()) == parameters


def test_the_seed_decides_the_initial_weights() -> None:
    same, other = FlowSRGB(SMALL), FlowSRGB(replace(SMALL, seed=1))
    first = FlowSRGB(SMALL).state_dict()
    assert all(torch.equal(value, first[key]) for key, value in same.state_dict().items())
    assert not torch.equal(first["layers.1.mix.lower"], other.state_dict()["layers.1.mix.lower"])
    # Layers of one kind start from different numbers.
    assert not torch.equal(first["layers.1.mix.lower"], first["layers.2.mix.lower"])


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_rows_have_their_own_camera_and_iso(order: str) -> None:
    config = FlowSRGBConfig.from_dict({**SMALL.to_dict(), "order": order})
    model = moved(FlowSRGB(config))
    noise, clean, capture = inputs(4, 5, 3)
    together = model.nll(noise, clean, capture)
    alone = [
        model.nll(noise[i : i + 1], clean[i : i + 1], capture.select([i]))
        for i in range(len(capture))
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    same = model.nll(noise[:1].expand(4, -1, -1, -1), clean[:1].expand(4, -1, -1, -1), capture)
    assert len({round(value, 9) for value in same.tolist()}) == 4


def test_bgr_weights_read_blue_as_their_first_channel() -> None:
    rgb = moved(FlowSRGB(SMALL))
    bgr = FlowSRGB(replace(SMALL, order="bgr")).double().eval()
    bgr.load_state_dict(rgb.state_dict())
    noise, clean, capture = inputs(2, 4, 4)
    expected = rgb.nll(noise.flip(1), clean.flip(1), capture)
    torch.testing.assert_close(bgr.nll(noise, clean, capture), expected)
    z = drawn(2, 3, 4, 4, seed=8)
    expected = rgb.decode(z, clean.flip(1), rgb.cells(capture))[0].flip(1)
    torch.testing.assert_close(bgr.decode(z, clean, bgr.cells(capture))[0], expected)


def test_a_diagonal_arrangement_is_a_normal_density_in_white_levels() -> None:
    model = FlowSRGB(replace(SMALL, arrangement=("CL2",))).double().eval()
    sigma = torch.tensor([0.02, 0.05, 0.1], dtype=torch.float64)
    mean = torch.tensor([0.0, 0.01, -0.02], dtype=torch.float64)
    noise, clean, capture = inputs(4, 6, 2)
    with torch.no_grad():
        affine = model.layers[0].affine
        scale = 256 / 255 / sigma
        affine.log_scale.copy_(scale.log())  # type: ignore[operator]
        affine.bias.copy_(-mean / sigma)  # type: ignore[operator]
    normal = torch.distributions.Normal(mean[:, None, None], sigma[:, None, None])
    expected = -normal.log_prob(noise).mean(dim=(1, 2, 3))
    torch.testing.assert_close(model.nll(noise, clean, capture), expected)


def test_the_published_unit_costs_the_logarithm_of_255() -> None:
    """The density of ``(v + u) / 256``, less 8 ln 2: what the released code reports."""
    model = moved(FlowSRGB(SMALL))
    noise, clean, capture = inputs(2, 4, 4)
    condition = (255 * clean + 0.5) / 256
    x = noise * 255 / 256
    ladj = torch.zeros(2, dtype=torch.float64)
    cells = model.cells(capture)
    for layer in model.layers:
        x, step = layer(x, condition, cells)
        ladj = ladj + step
    dims = noise[0].numel()
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=(1, 2, 3))
    released = -(prior + ladj) / dims + 8 * math.log(2)
    torch.testing.assert_close(model.nll(noise, clean, capture) + GREY_NATS, released)


def test_the_density_of_one_pixel_integrates_to_one_and_is_that_of_the_samples() -> None:
    """Importance sampling over the three numbers of a 1x1 image, from a wide normal density."""
    model = moved(FlowSRGB(replace(SMALL, arrangement=("CAC", "CL2", "CAC"))), by=0.4)
    with torch.no_grad():
        for layer in (model.layers[0], model.layers[2]):
            layer.coupling.scale.fill_(0.7)  # type: ignore[union-attr, operator]
    rows = 40_000
    clean = torch.full((rows, 3, 1, 1), 0.4, dtype=torch.float64)
    cells = model.cells(CaptureMetadata.same(rows, camera="B", iso=800))
    with torch.no_grad():
        samples, back = model.decode(drawn(rows, 3, 1, 1), clean, cells)
        centre, wide = samples.mean(0), 2.0 * samples.std(0)
        points = centre + wide * drawn(rows, 3, 1, 1, seed=5)
        proposal = torch.distributions.Normal(centre, wide).log_prob(points).sum(dim=(1, 2, 3))
        weight = (model.log_prob(points, clean, cells) - proposal).exp()
        surprise = -model.log_prob(samples, clean, cells)
    assert float(weight.std()) < 10  # the check means something
    assert abs(float(weight.mean()) - 1) < 5 * float(weight.std()) / math.sqrt(rows)
    for power in (1, 2, 3):
        relative = (points - centre) / wide
        expected = (weight[:, None, None, None] * relative**power).mean(0).flatten()
        error = (weight[:, None, None, None] * relative**power).std(0).flatten()
        own = ((samples - centre) / wide) ** power
        error = (error + own.std(0).flatten()) / math.sqrt(rows)
        assert bool(((own.mean(0).flatten() - expected).abs() < 5 * error).all())
    entropy = weight * -model.log_prob(points, clean, cells).detach()
    error = (float(entropy.std()) + float(surprise.std())) / math.sqrt(rows)
    assert abs(float(entropy.mean()) - float(surprise.mean())) < 5 * error
    assert float(back.std()) > 0.05  # and the flow is no linear map


@torch.no_grad()
def test_initialising_makes_the_first_batch_standard_normal_cell_by_cell() -> None:
    layer = ConditionalLinear(4, 3).double()
    cells = torch.tensor([0, 0, 2, 2])
    level = torch.tensor([0.01, 0.01, 0.3, 0.3], dtype=torch.float64)[:, None, None, None]
    x = 0.05 + level * drawn(4, 3, 9, 9)
    layer.initialise(x, cells)
    z, _ = layer(x, cells)
    for cell in (0, 2):
        mine = z[cells == cell]
        torch.testing.assert_close(mine.mean(dim=(0, 2, 3)), torch.zeros(3, dtype=torch.float64))
        assert bool(((mine.std(dim=(0, 2, 3)) - 1).abs() < 0.01).all())
    # Cells without rows start from the whole batch, and equal.
    assert torch.equal(layer.log_scale[1], layer.log_scale[3])
    shared = ConditionalLinear(4, 3, shared=True).double()
    shared.initialise(x, cells)
    z, _ = shared(x, cells)
    assert abs(float(z[:2].std()) - 1) < 0.01


def test_the_embedding_is_one_number_a_row_and_free_of_neighbours_in_evaluation() -> None:
    embedding = CaptureEmbedding(isos=3, cameras=2, seed=1, stream="test").eval()
    iso, camera = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 0, 1])
    found = embedding(iso, camera)
    assert found.shape == (4,)
    assert len(set(found.tolist())) == 4
    torch.testing.assert_close(embedding(iso[2:], camera[2:]), found[2:])
    assert (
        sum(p.numel() for p in CaptureEmbedding(isos=5, cameras=5, seed=1, stream="t").parameters())
        == 301
    )


def test_it_serves_as_a_noise_model_with_gradients_into_noise_and_clean() -> None:
    model = moved(FlowSRGB(SMALL))
    assert isinstance(model, NoiseModel)
    noise, clean, capture = inputs(2, 4, 4)
    model.nll(noise.requires_grad_(), clean.requires_grad_(), capture).sum().backward()
    assert noise.grad is not None
    assert clean.grad is not None
    assert bool((clean.grad != 0).any())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cameras": []}, "needs cameras"),
        ({"isos": [100, 100]}, "needs isos, each once"),
        ({"arrangement": "CL2|CAX"}, "no layer 'CAX'; it has CL, CL2, AC, CAC"),
        ({"arrangement": []}, "at least one layer"),
        ({"dequantisation": "all"}, "must be 'both' or 'noisy'"),
        ({"order": "gbr"}, "must be 'rgb' or 'bgr'"),
        ({"configurations": ["C_00100"]}, "C_00100 are not in"),
    ],
)
def test_a_wrong_configuration_is_refused(change: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowSRGBConfig.from_dict({**SMALL.to_dict(), **change})


def test_a_configuration_survives_json() -> None:
    config = replace(SIDD, dequantisation="noisy", seed=4)
    assert FlowSRGBConfig.from_dict(config.to_dict()) == config


# The released checkpoint: no copy of it is needed, only its layout.


def released_layout() -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the released state dict's 595 entries."""
    layout: dict[str, tuple[int, ...]] = {
        "model.0.ldj_per_dim": (),
        "data_pre_processing.0.ldj_per_dim": (),
        "base_dist.buffer": (1,),
    }
    for i in (2, 7, 12, 17):
        layout |= {f"model.{i}.log_scale": (25, 3), f"model.{i}.bias": (25, 3)}
    for i in (3, 5, 8, 10, 13, 15, 18, 20):
        layout |= {f"model.{i}.{name}": (3, 3) for name in ("l", "u", "p")}
        layout |= {f"model.{i}.{name}": (3,) for name in ("log_s", "sign_s")}
    norm = ("weight", "bias", "running_mean", "running_var")
    for i in (4, 6, 9, 11, 14, 16, 19, 21):
        net, encoder = f"model.{i}._shift_and_log_scale", f"model.{i}._encoder"
        layout |= {f"{net}.scale": (1,), f"{net}.logs": (1, 4, 1, 1)}
        convs = {
            "conv2d_1": (4, 4, 3, 3),
            "net.0": (4, 4, 3, 3),
            "conv2d_2": (4, 4, 1, 1),
            "net.3": (4, 4, 1, 1),
            "conv2d_3": (4, 5, 3, 3),
        }
        for name, shape in convs.items():
            layout |= {f"{net}.{name}.weight": shape, f"{net}.{name}.bias": (4,)}
        for name in ("net.1", "net.4"):
            layout |= {f"{net}.{name}.{part}": (4,) for part in norm}
            layout[f"{net}.{name}.num_batches_tracked"] = ()
        layout |= {
            f"{encoder}.initial_layer.weight": (5, 10),
            f"{encoder}.initial_layer.bias": (5,),
        }
        layout |= {f"{encoder}.final_layer.weight": (1, 5), f"{encoder}.final_layer.bias": (1,)}
        for block, step in itertools.product(range(3), range(2)):
            linear = f"{encoder}.blocks.{block}.linear_layers.{step}"
            batch = f"{encoder}.blocks.{block}.batch_norm_layers.{step}"
            layout |= {f"{linear}.weight": (5, 5), f"{linear}.bias": (5,)}
            layout |= {f"{batch}.{part}": (5,) for part in norm}
            layout[f"{batch}.num_batches_tracked"] = ()
    return layout


@pytest.fixture
def released() -> dict[str, Tensor]:
    rng = np.random.default_rng(9)
    state: dict[str, Tensor] = {}
    for name, shape in released_layout().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1176)
            continue
        values = torch.as_tensor(0.2 * rng.normal(size=shape)).float()
        state[name] = values.abs() + 0.5 if name.endswith("running_var") else values
    for name in list(state):
        if name.endswith(".p"):
            state[name] = torch.eye(3)[[1, 2, 0]]
            state[name.replace(".p", ".sign_s")] = torch.tensor([1.0, -1.0, 1.0])
        for ours, theirs in (("conv2d_1", "net.0"), ("conv2d_2", "net.3")):
            if f".{ours}." in name:
                state[name.replace(ours, theirs)] = state[name]
    return state


def test_the_released_layout_is_loaded_whole(released: dict[str, Tensor]) -> None:
    assert len(released) == 595
    assert sum(value.numel() for value in released.values()) == 8275
    model = from_released(released)
    assert not model.training
    own = model.state_dict()
    kept = sum(value.numel() for value in own.values())
    twice = sum(v.numel() for k, v in released.items() if ".conv2d_1." in k or ".conv2d_2." in k)
    assert kept == 8275 - twice - 3
    torch.testing.assert_close(
        own["layers.4.coupling.net.leave_logs"],
        released["model.9._shift_and_log_scale.logs"].flatten(),
    )
    torch.testing.assert_close(
        own["layers.11.embedding.blocks.2.linears.1.bias"],
        released["model.21._encoder.blocks.2.linear_layers.1.bias"],
    )


def test_a_released_cell_is_iso_first_and_blue_comes_first(released: dict[str, Tensor]) -> None:
    for name, value in released.items():  # couplings and 1x1 convolutions that change nothing
        if name.endswith((".scale", "conv2d_3.weight", "conv2d_3.bias", ".l", ".u", ".log_s")):
            value.zero_()
        if name.endswith(".p"):
            value.copy_(torch.eye(3))
        if name.endswith(".sign_s"):
            value.fill_(1.0)
    index = 5 * 2 + 3  # ISO 800, the third; N6, the fourth
    model = from_released(released).double()
    noise = 0.05 * drawn(1, 3, 2, 2)
    z, _ = model.encode(noise, noise, model.cells(CaptureMetadata.same(1, camera="N6", iso=800)))
    x = noise.flip(1) * 255 / 256
    for i in (2, 7, 12, 17):
        scale, bias = released[f"model.{i}.log_scale"][index], released[f"model.{i}.bias"][index]
        x = x * scale.double().exp()[:, None, None] + bias.double()[:, None, None]
    torch.testing.assert_close(z, x)


def test_cells_that_the_release_never_trained_are_refused(released: dict[str, Tensor]) -> None:
    model = from_released(released)
    assert len(model.config.known) == 15
    with pytest.raises(ValueError, match=r"'N6' at ISO 3200; its weights know IP ISO 100, 400"):
        model.cells(CaptureMetadata.same(1, camera="N6", iso=3200))


def test_a_damaged_release_is_refused_by_name(released: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"lacks model\.7\.bias \(1 in all\)"):
        from_released({k: v for k, v in released.items() if k != "model.7.bias"})
    with pytest.raises(ValueError, match=r"beyond a Flow-sRGB, model\.22\.bias"):
        from_released({**released, "model.22.bias": torch.zeros(1)})
    name = "model.4._shift_and_log_scale.conv2d_1.weight"
    with pytest.raises(ValueError, match="different values"):
        from_released({**released, name: released[name] + 1})
    with pytest.raises(ValueError, match=r"model\.2\.log_scale has shape \(16, 3\)"):
        from_released({**released, "model.2.log_scale": torch.zeros(16, 3)})
