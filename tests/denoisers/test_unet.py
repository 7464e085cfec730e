from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, max_pool2d

from denoisers.unet import UNet, UNetConfig
from generators.seeds import uniform


def picture(*shape: int) -> Tensor:
    return uniform([0], shape, "picture")[0]


def by_hand(w: dict[str, Tensor], image: Tensor) -> Tensor:
    """The network written out, level by level."""

    def conv(x: Tensor, name: str) -> Tensor:
        return conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

    def double(x: Tensor, name: str) -> Tensor:
        return conv_transpose2d(
            x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2, padding=1, output_padding=1
        )

    x = max_pool2d(conv(conv(image, "enter.0").relu(), "enter.2").relu(), 2)
    halves = [x]
    for _ in range(4):
        halves.append(max_pool2d(conv(halves[-1], "down.0").relu(), 2))
    x = double(conv(halves[4], "bottom.0").relu(), "bottom.2")
    for block, other in (("up", 3), ("rise", 2), ("rise", 1), ("rise", 0)):
        x = torch.cat([x, halves[other]], dim=1)
        x = double(conv(conv(x, f"{block}.0").relu(), f"{block}.2").relu(), f"{block}.4")
    x = torch.cat([x, image], dim=1)
    x = conv(conv(x, "leave.0").relu(), "leave.2").relu()
    return leaky_relu(conv(x, "leave.4"), 0.1)


def test_the_network_is_that_of_the_formula() -> None:
    made = UNet(UNetConfig(channels=4, seed=2))
    image = picture(2, 4, 64, 32)
    for parameter in made.parameters():
        if parameter.ndim == 1:
            parameter.data += torch.linspace(-0.1, 0.1, len(parameter))
    estimate = made(image)
    torch.testing.assert_close(estimate, by_hand(made.state_dict(), image), atol=1e-5, rtol=1e-5)
    assert bool((estimate < 0).any())


def test_blocks_are_shared() -> None:
    state = UNet(UNetConfig(channels=4)).state_dict()
    assert len(state) == 28
    assert sum(v.numel() for v in state.values()) == 701_908


def test_an_odd_image_is_mirrored_out_and_cut_back() -> None:
    made = UNet(UNetConfig(channels=1)).eval()
    image = picture(1, 1, 40, 64)
    whole = torch.cat([image, image.flip(2)[:, :, 1:25]], dim=2)
    assert whole.shape[2] == 64
    torch.testing.assert_close(made(image), made(whole)[:, :, :40], atol=1e-6, rtol=0)


def test_the_initial_network_keeps_the_scale() -> None:
    estimate = UNet(UNetConfig(channels=3)).eval()(picture(1, 3, 64, 64))
    assert 0.01 < float(estimate.detach().std()) < 5
