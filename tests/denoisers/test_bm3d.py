"""BM3D: what is checked around the package, with a stand-in; and the package where it is there."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import denoisers
from denoisers.base import Denoiser, takes_level
from denoisers.bm3d import BM3D, BM3DConfig
from generators.seeds import standard_normal


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], float, str]]:
    """A stand-in for the package that gives back what it gets; what it was called with."""
    seen: list[tuple[tuple[int, ...], float, str]] = []

    def work(pixels: np.ndarray, sigma: float, *, profile: str) -> np.ndarray:
        seen.append((pixels.shape, sigma, profile))
        return pixels

    package: Any = ModuleType("bm3d")
    package.bm3d, package.bm3d_rgb = work, work
    monkeypatch.setitem(sys.modules, "bm3d", package)
    monkeypatch.setattr("denoisers.bm3d.BM3D.absent", lambda *_: None)
    return seen


def test_images_reach_the_package_as_it_wants_them_and_come_back(calls: list[Any]) -> None:
    for channels, shape in ((3, (20, 30, 3)), (1, (20, 30))):
        made: Any = denoisers.create("bm3d", channels=channels, seed=0, sigma=0.1)
        assert isinstance(made, Denoiser)
        noisy = 0.5 + 0.1 * standard_normal([0, 1], (channels, 20, 30), "noise")
        estimate = made(noisy)
        torch.testing.assert_close(estimate, noisy)
        assert calls[-2:] == [(shape, 0.1, "np")] * 2


def test_the_level_is_guessed_for_each_image(calls: list[Any]) -> None:
    made: Any = denoisers.load("bm3d", profile="refilter")
    assert made.channels == 3
    assert takes_level(made)
    levels = torch.tensor([0.02, 0.1])[:, None, None, None]
    made(0.5 + levels * standard_normal([0, 1], (3, 128, 128), "noise"))
    assert [sigma for _, sigma, _ in calls] == pytest.approx([0.02, 0.1], rel=0.1)
    made.with_sigma(0.25).with_channels(1)(torch.full((1, 1, 20, 20), 0.5))
    assert calls[-1] == ((20, 20), 0.25, "refilter")


def test_images_too_small_for_the_package_are_mirrored_out(calls: list[Any]) -> None:
    made: Any = denoisers.load("bm3d", sigma=0.1)
    noisy = 0.5 + 0.1 * standard_normal([0], (3, 5, 40), "noise")
    torch.testing.assert_close(made(noisy), noisy)
    assert min(calls[-1][0][:2]) >= 16


def test_an_image_without_noise_is_left_alone(calls: list[Any]) -> None:
    flat = torch.full((1, 3, 20, 20), 0.5)
    assert torch.equal(denoisers.load("bm3d")(flat), flat)
    assert calls == []


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert BM3D.absent() == denoisers.absent("bm3d")
    with pytest.raises(ImportError, match=r"pip install 'noisemill\[bm3d\]'.*non-commercial"):
        BM3D(BM3DConfig())
    assert denoisers.absent("dncnn") is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"channels": 4}, r"grey images \(1 channel\) or colour \(3\); channels is 4"),
        ({"sigma": 25}, "sigma must be"),
        ({"sigma": 0.0}, "sigma must be"),
        ({"profile": "best"}, "profile must be one of np, refilter, vn, high"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BM3DConfig.from_dict(params)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_package_itself_takes_white_noise_off_a_slope(channels: int) -> None:
    if (reason := BM3D.absent()) is not None:
        pytest.skip(reason)
    clean = torch.linspace(0.2, 0.8, 48).expand(1, channels, 48, 48)
    noisy = clean + 0.1 * standard_normal([0], clean.shape[1:], "noise")
    made: Any = denoisers.create("bm3d", channels=channels, seed=0, sigma=0.1)
    assert float((made(noisy) - clean).std()) < 0.03
    for size in ((1, 1), (8, 8), (9, 3)):
        assert bool(torch.isfinite(made(noisy[..., : size[0], : size[1]])).all())
    # A grey picture stored as colour: the colour transform has nothing to divide by.
    grey = noisy[:, :1].expand_as(noisy)
    assert float((made(grey) - clean).std()) < 0.03
