"""Released denoisers by their layouts; the files themselves where they are at hand.

Figures were measured with these files: KAIR's convention for AWGN (noise of numpy's seed 0 in
float64 on the image in [0, 1], estimate clipped and rounded to 8 bits, peak 255).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from denoisers.checkpoint_import import from_released, origin
from denoisers.dncnn import DnCNN, DnCNNConfig
from denoisers.unet import UNet, UNetConfig
from generators.seeds import standard_normal
from generators.training import Part

State = dict[str, Tensor]
FILES = {
    "kair_dncnn_25": (34, 555_137, "KAIR"),
    "naflow_dncnn_checkpoint_G3": (130, 672_853, "NAFlow"),
    "noise2noiseflow_DnCNN_pretrained": (45, 264_519, "Noise2NoiseFlow"),
    "noise2noiseflow_UNet_pretrained": (28, 701_908, "Noise2NoiseFlow"),
    "noise2noiseflow_best_model": (45, 264_519, "Noise2NoiseFlow"),
}

# Halfway between what raw denoisers gain when given the cells in their order (12.5, 14.4 and 15.5
# dB) and in the raster's (11.8, 14.0 and 13.4 dB).
LEAST_GAIN = {
    "naflow_dncnn_checkpoint_G3": 4.0,
    "noise2noiseflow_DnCNN_pretrained": 12.2,
    "noise2noiseflow_UNet_pretrained": 14.2,
    "noise2noiseflow_best_model": 14.4,
}


def sequential(prefix: str, *, depth: int, norm: bool, bias: str, channels: int = 1) -> State:
    """A DnCNN as others write it: one list of layers."""
    layers: list[nn.Module] = []
    for i in range(depth):
        first, last = i == 0, i == depth - 1
        biased = {"all": True, "first": first, "none": False, "ends": first or last}[bias]
        ends = (channels if first else 6, channels if last else 6)
        layers.append(nn.Conv2d(*ends, 3, padding=1, bias=biased))
        if norm and not first and not last:
            layers.append(nn.BatchNorm2d(6))
        if not last:
            layers.append(nn.ReLU())
    state = nn.Sequential(*layers).state_dict()
    return {f"{prefix}{key}": value for key, value in state.items()}


def built(part: Part) -> nn.Module:
    network: nn.Module
    if part.family == "unet":
        network = UNet(UNetConfig.from_dict(part.config))
    else:
        network = DnCNN(DnCNNConfig.from_dict(part.config))
    network.load_state_dict(dict(part.tensors), strict=True)
    return network.eval()


def small_unet(channels: int = 3) -> State:
    blocks = ("enter", "down", "bottom", "up", "rise", "leave")
    state = UNet(UNetConfig(channels=channels)).state_dict()
    names = {f"{block}.": f"_block{number}." for number, block in enumerate(blocks, 1)}
    return {
        key.replace(f"{key.partition('.')[0]}.", names[f"{key.partition('.')[0]}."]): value
        for key, value in state.items()
    }


@pytest.mark.parametrize(
    ("prefix", "layout", "expected", "project"),
    [
        ("model.", {"norm": False, "bias": "all"}, {"bias": "all", "clamp": False}, "KAIR"),
        ("model.", {"norm": True, "bias": "all"}, {"bn_eps": 1e-4, "bn_momentum": 0.9}, "NAFlow"),
        ("dncnn.", {"norm": True, "bias": "all"}, {"bn_eps": 1e-4}, "NAFlow"),
        (
            "module.dncnn.",
            {"norm": True, "bias": "none"},
            {"bias": "none", "clamp": True, "bn_eps": 1e-5},
            "DnCNN-PyTorch",
        ),
        ("denoiser.dncnn.", {"norm": True, "bias": "first"}, {"bias": "first"}, "Noise2NoiseFlow"),
        ("body.", {"norm": True, "bias": "ends"}, {"bias": "first-and-last"}, "C2N"),
    ],
)
def test_the_arrangement_is_read_off_the_names(
    prefix: str, layout: dict[str, Any], expected: dict[str, Any], project: str
) -> None:
    state = sequential(prefix, depth=5, **layout)
    part = from_released(state)
    assert part.family == "dncnn"
    assert {"depth": 5, "width": 6, "channels": 1, **expected}.items() <= dict(part.config).items()
    assert part.config["batch_norm"] is layout["norm"]
    assert len(part.tensors) == len(state)
    found = origin(part)
    assert found is not None
    assert found.project == project
    built(part)


def test_a_released_network_gives_what_its_layers_give() -> None:
    state = sequential("", depth=4, norm=False, bias="all")
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()] * 2
    network = nn.Sequential(*layers[:4], nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
    network.append(nn.Conv2d(6, 1, 3, padding=1))
    network.load_state_dict(state)
    noisy = standard_normal([0], (1, 1, 12, 9), "noisy")[0][None][0]
    part = from_released({f"model.{key}": value for key, value in state.items()})
    torch.testing.assert_close(built(part)(noisy), noisy - network(noisy))


def test_counters_may_be_absent_all_together() -> None:
    state = sequential("module.dncnn.", depth=5, norm=True, bias="none")
    plain = {key: value for key, value in state.items() if "num_batches" not in key}
    part = from_released(plain)
    assert len(part.tensors) == len(state)
    some = {**plain, "module.dncnn.3.num_batches_tracked": torch.tensor(1)}
    with pytest.raises(ValueError, match=r"lacks dncnn\.6\.num_batches_tracked"):
        from_released(some)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.4.bias": None}, r"this dncnn lacks model\.4\.bias\."),
        ({"model.0.bias": None}, r"this dncnn lacks model\.0\.bias\."),
        ({"model.8.bias": None}, r"this dncnn lacks model\.8\.bias\."),
        ({"model.4.weight": None}, r"lacks model\.4\.weight"),
        ({"model.5.weight": torch.zeros(6)}, r"has model\.5\.weight, for which"),
        ({"epoch": torch.zeros(1)}, r"has epoch, for which its arrangement has no place"),
        ({"model.4.weight": torch.zeros(6, 5, 3, 3)}, r"'model\.4\.weight' .*\(6, 5, 3, 3\)"),
        ({"model.0.weight": torch.zeros(6)}, r"this dncnn"),
        ({"dncnn.0.weight": torch.zeros(6, 1, 3, 3)}, r"this is no DnCNN: its tensors are dncnn"),
    ],
)
def test_what_is_wrong_with_a_dncnn_is_named(
    change: dict[str, Tensor | None], message: str
) -> None:
    state = {**sequential("model.", depth=5, norm=False, bias="all"), **change}
    with pytest.raises(ValueError, match=message):
        from_released({key: value for key, value in state.items() if value is not None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_block5.2.bias": None}, r"this unet lacks _block5\.2\.bias"),
        ({"_block7.0.bias": torch.zeros(1)}, r"has _block7\.0\.bias, for which"),
        ({"_block2.0.bias": torch.zeros(5)}, r"'_block2\.0\.bias' of this unet has shape \(5,\)"),
        ({"_block6.4.bias": None}, r"this is no U-Net: it lacks '_block6\.4\.bias'"),
    ],
)
def test_what_is_wrong_with_a_unet_is_named(change: dict[str, Tensor | None], message: str) -> None:
    state: dict[str, Tensor | None] = {**small_unet(), **change}
    with pytest.raises(ValueError, match=message):
        from_released({key: value for key, value in state.items() if value is not None})


def test_a_unet_is_recognised() -> None:
    part = from_released(small_unet())
    assert (part.family, part.config["channels"], len(part.tensors)) == ("unet", 3, 28)
    built(part)


@pytest.mark.parametrize("kind", ["dncnn", "unet"])
def test_a_clockwise_network_reads_packed_raw_in_raster_order(kind: str) -> None:
    """The four cells of released raw denoisers go round; ours go along the rows."""
    theirs: nn.Module
    if kind == "unet":
        theirs, state = UNet(UNetConfig(channels=4)), small_unet(channels=4)
    else:
        theirs = DnCNN(DnCNNConfig(channels=4, depth=5, width=6))
        state = sequential("dncnn.", depth=5, norm=True, bias="first", channels=4)
        theirs.load_state_dict(
            dict(zip(theirs.state_dict(), reordered(state, theirs), strict=True))
        )
    noisy = standard_normal([0], (4, 32, 64), "noisy")
    clockwise = [0, 1, 3, 2]
    expected = theirs.eval()(noisy[:, clockwise])[:, clockwise]
    estimate = built(from_released(state))(noisy)
    torch.testing.assert_close(estimate, expected)
    # The order matters to the network at all.
    assert (theirs(noisy) - expected).abs().max() > 1e-3


def reordered(state: State, like: nn.Module) -> list[Tensor]:
    """A sequential state's tensors in the order of our names: kernels and bias, then norms."""
    kernels = {k.rpartition(".")[0] for k, v in state.items() if v.ndim == 4}
    ours = [v for k, v in state.items() if k.rpartition(".")[0] in kernels]
    ours += [v for k, v in state.items() if k.rpartition(".")[0] not in kernels]
    assert [v.shape for v in ours] == [v.shape for v in like.state_dict().values()]
    return ours


def test_what_is_no_denoiser_is_refused() -> None:
    for state in ({}, {"weight": torch.zeros(1)}, {"model.0.weight": torch.zeros(6, 1, 3, 3)}):
        with pytest.raises(ValueError, match="this is no DnCNN"):
            from_released(state)


def released(data_dir: Path, name: str) -> State:
    path = data_dir / "weights" / f"{name}.pth"
    if not path.is_file():
        pytest.skip(f"no released weights {path}")
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    state: State = found.get("state_dict", found.get("model_state_dict", found))
    joint = {key: value for key, value in state.items() if key.startswith("denoiser.")}
    return joint or state


@pytest.mark.parametrize("name", FILES)
def test_released_files_are_used_to_the_last_tensor(data_dir: Path, name: str) -> None:
    tensors, elements, project = FILES[name]
    state = released(data_dir, name)
    part = from_released(state)
    assert len(state) == len(part.tensors) == tensors
    assert sum(value.numel() for value in part.tensors.values()) == elements
    found = origin(part)
    assert found is not None
    assert found.project == project


def photograph(data_dir: Path, folder: str, name: str) -> np.ndarray:
    path = data_dir / folder / name
    if not path.is_file():
        pytest.skip(f"no image {path}")
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def test_kair_dncnn_has_its_published_quality_on_set12(data_dir: Path) -> None:
    # The mean over all twelve images is 30.43 dB, as published; this is the first of them.
    network = built(from_released(released(data_dir, "kair_dncnn_25")))
    clean = photograph(data_dir, "set12", "01.png")
    noise = np.random.RandomState(0).normal(0, 25 / 255, clean.shape)
    noisy = torch.from_numpy((clean / 255 + noise).astype(np.float32))[None, None]
    with torch.inference_mode():
        estimate = (network(noisy)[0, 0].clamp(0, 1) * 255).round().double().numpy()
    psnr = 10 * math.log10(255**2 / ((estimate - clean) ** 2).mean())
    assert psnr == pytest.approx(30.208, abs=0.02)


@pytest.mark.parametrize("name", [name for name in FILES if name != "kair_dncnn_25"])
def test_released_denoisers_denoise(data_dir: Path, name: str) -> None:
    network: Any = built(from_released(released(data_dir, name)))
    pixels = photograph(data_dir, "cbsd68", "0000.png")[..., ::-1] / np.float32(255)
    clean = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    if network.channels == 4:
        # A raw photograph: linear, dark, one colour a pixel, variance linear in the signal.
        red, green, blue = (clean[..., :192, :192] ** 2.2 * 0.3)[0]
        cells = (red[::2, ::2], green[::2, 1::2], green[1::2, ::2], blue[1::2, 1::2])
        clean = torch.stack(cells)[None]
        std = (0.003 * clean + 1e-4).sqrt()
    else:
        clean = clean[..., :96, :96]
        std = torch.full_like(clean, 25 / 255)
    noisy = clean + std * standard_normal([0], clean.shape[1:], "noise")
    with torch.inference_mode():
        estimate = network(noisy)
    gain = float(
        10 * ((noisy - clean).square().mean() / (estimate - clean).square().mean()).log10()
    )
    assert gain > LEAST_GAIN[name], f"{name} gains {gain:.2f} dB"
