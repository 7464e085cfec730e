from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import conv2d

from denoisers.dncnn import DnCNN, DnCNNConfig
from generators.seeds import uniform


@pytest.mark.parametrize(
    ("params", "elements"),
    [
        # Counts of the released files, running statistics included where they are listed there.
        ({"channels": 4}, 264_512),
        ({"channels": 1, "depth": 17, "batch_norm": False, "bias": "all"}, 555_137),
        ({"channels": 1, "depth": 17, "bias": "none"}, 557_952),
        ({"channels": 1, "depth": 20, "bias": "none"}, 669_312),
        ({"channels": 3, "depth": 20, "bias": "all"}, 672_835),
    ],
    ids=["Noise2NoiseFlow", "KAIR", "DnCNN-PyTorch S", "DnCNN-PyTorch B", "NAFlow"],
)
def test_arrangements_have_as_many_numbers_as_the_released_ones(
    params: dict[str, Any], elements: int
) -> None:
    state = DnCNN(DnCNNConfig(**params)).state_dict()
    assert sum(v.numel() for k, v in state.items() if "num_batches" not in k) == elements


@pytest.mark.parametrize(
    ("bias", "carriers"),
    [("all", [0, 1, 2, 3]), ("first", [0]), ("first-and-last", [0, 3]), ("none", [])],
)
def test_bias_says_which_convolutions_carry_one(bias: Any, carriers: list[int]) -> None:
    made = DnCNN(DnCNNConfig(channels=1, depth=4, width=2, bias=bias))
    assert [i for i, conv in enumerate(made.convs) if conv.bias is not None] == carriers


def test_the_estimate_is_the_image_less_what_the_network_predicts() -> None:
    noisy = uniform([0], (2, 1, 9, 11), "picture", low=-0.5, high=1.5)[0]
    made = DnCNN(DnCNNConfig(channels=1, depth=3, width=4, bn_eps=0.1, bias="all")).eval()
    first, second, third = made.convs
    (norm,) = made.norms
    norm.load_state_dict(
        {
            **norm.state_dict(),
            "running_mean": torch.full((4,), 0.3),
            "running_var": torch.full((4,), 0.9),
        }
    )
    norm.weight.data.fill_(0.7)
    norm.bias.data.fill_(0.2)
    x = conv2d(noisy, first.weight, first.bias, padding=1).clamp(min=0)
    x = conv2d(x, second.weight, second.bias, padding=1)
    x = ((x - 0.3) / (0.9 + 0.1) ** 0.5 * 0.7 + 0.2).clamp(min=0)
    noise = conv2d(x, third.weight, third.bias, padding=1)
    torch.testing.assert_close(made(noisy), noisy - noise)
    for config, expected in (
        ({"clamp": True}, (noisy - noise).clamp(0, 1)),
        ({"residual": False}, noise),
        ({"residual_scale": 0.25}, noisy - 0.25 * noise),
    ):
        values = {**made.config.to_dict(), **config}
        other = DnCNN(DnCNNConfig.from_dict(values)).eval()
        other.load_state_dict(made.state_dict())
        torch.testing.assert_close(other(noisy), expected)


def test_initial_kernels_are_orthogonal_and_the_first_estimate_is_near_the_image() -> None:
    made = DnCNN(DnCNNConfig(channels=4, depth=5, width=16, seed=3))
    for conv in made.convs:
        flat = conv.weight.detach().flatten(1)
        small = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
        torch.testing.assert_close(small, torch.eye(len(small)), atol=1e-5, rtol=0)
    weights = torch.cat([norm.weight.detach() for norm in made.norms])
    assert float(weights.abs().max()) <= 0.02501
    noisy = uniform([0], (2, 4, 32, 32), "picture")[0]
    assert float((made(noisy) - noisy).detach().square().mean().sqrt()) < 0.1


def test_without_norms_the_initial_network_keeps_the_scale() -> None:
    params: dict[str, Any] = {"batch_norm": False, "bias": "all", "residual": False}
    made = DnCNN(DnCNNConfig(channels=3, depth=9, width=32, **params))
    estimate = made(uniform([0], (1, 3, 32, 32), "picture", low=-1.0)[0])
    assert 0.05 < float(estimate.detach().std()) < 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"channels": 0}, "channels of a DnCNN must be an integer >= 1; it is 0"),
        ({"depth": 1}, "depth of a DnCNN must be an integer >= 2; it is 1"),
        ({"width": 1.5}, r"width of a DnCNN must be an integer >= 1; it is 1\.5"),
        ({"depth": True}, "depth .* it is True"),
        ({"bias": "some"}, "bias must be one of all, first, first-and-last, none; it is 'some'"),
        ({"bn_eps": 0.0}, "bn_eps must be > 0"),
        ({"residual_scale": 0.0}, r"residual_scale must be finite and > 0; it is 0\.0"),
        ({"residual_scale": 0.1, "residual": False}, "residual_scale 0.1 needs residual: true"),
        ({"bn_momentum": 2.0}, r"bn_momentum must be in \(0, 1\]"),
    ],
)
def test_an_impossible_arrangement_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DnCNNConfig.from_dict({"channels": 1, **params})
