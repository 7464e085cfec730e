from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import denoisers
from denoisers.tiles import denoise_tiled
from pipeline.images import read_pixels
from pipeline.pictures.denoise import (
    Way,
    denoise_picture,
    denoise_pictures,
    open_denoiser,
)
from pipeline.pictures.saving import PictureFolder

Texture = Callable[..., np.ndarray]
Write = Callable[[Path, np.ndarray], Path]


def dncnn(channels: int = 3) -> Any:
    made = denoisers.create("dncnn", channels=channels, seed=1, depth=3, width=6)
    return made.eval()


class Level:
    """A denoiser that must know the level, and paints it."""

    name, multiple = "level", 1

    def __init__(self, channels: int = 3, sigma: float | None = None) -> None:
        self.channels, self.sigma = channels, sigma
        self.config: Any = type("Config", (), {"sigma": sigma})()

    def with_sigma(self, sigma: float) -> Level:
        return Level(self.channels, sigma)

    def with_channels(self, channels: int) -> Level:
        return Level(channels, self.sigma)

    def __call__(self, noisy: Tensor) -> Tensor:
        assert self.sigma is not None
        return torch.full_like(noisy, self.sigma)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_the_type_and_the_estimate_are_those_of_the_network(kind: str, texture: Texture) -> None:
    network, small = dncnn(), texture(37, 29)
    scale = {"uint8": 255, "uint16": 65535, "float32": 1}[kind]
    picture = (small / 255 * scale).astype(kind)
    made = denoise_picture(network, picture)
    assert (made.dtype, made.shape) == (picture.dtype, picture.shape)
    image = torch.from_numpy(picture.astype(np.float32) / scale).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network(image)[0].permute(1, 2, 0).numpy()
    if kind != "float32":
        expected = np.rint(expected.clip(0, 1) * scale)
    np.testing.assert_allclose(made.astype(float), expected, atol=1e-5 if scale == 1 else 1)


def test_a_colour_picture_goes_through_a_grey_denoiser_channel_by_channel(texture: Texture) -> None:
    network, picture = dncnn(channels=1), texture(20, 24)
    made = denoise_picture(network, picture)
    for channel in range(3):
        alone = denoise_picture(network, picture[..., channel : channel + 1])
        np.testing.assert_allclose(made[..., channel], alone[..., 0], atol=1)


@pytest.mark.parametrize(("have", "want"), [(1, 3), (4, 3), (3, 4), (1, 4), (4, 1)])
def test_other_channels_are_refused(have: int, want: int) -> None:
    picture = np.full((16, 16, have), 0.5, np.float32)
    with pytest.raises(ValueError, match=r"the picture is .* works on .* use a denoiser made for"):
        denoise_picture(dncnn(want), picture)


def test_tiles_are_those_of_the_whole_picture(texture: Texture) -> None:
    network, picture = dncnn(), texture(90, 70)
    told: list[tuple[int, int]] = []
    way = Way(tile=48, overlap=8)
    made = denoise_picture(network, picture, way=way, progress=lambda *n: told.append(n))
    np.testing.assert_allclose(
        made.astype(int), denoise_picture(network, picture).astype(int), atol=1
    )
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    tiled = denoise_tiled(network, image, tile=48, overlap=8)[0].permute(1, 2, 0)
    np.testing.assert_allclose(made, (tiled.clamp(0, 1) * 255).round().numpy(), atol=1)
    assert told == [(n, len(told)) for n in range(1, len(told) + 1)]


def test_flips_count_their_tiles_both_ways(texture: Texture) -> None:
    told: list[tuple[int, int]] = []
    way = Way(tile=48, overlap=8, ensemble="flips")
    denoise_picture(dncnn(), texture(90, 40), way=way, progress=lambda *n: told.append(n))
    assert told[-1] == (len(told), len(told))


def test_one_that_draws_averages_and_follows_the_seed(texture: Texture) -> None:
    params: dict[str, Any] = {"blocks": (1, 1), "hidden": 4}
    network: Any = denoisers.create("invdn", channels=3, seed=1, **params).eval()
    picture = texture(20, 24).astype(np.float32) / 255
    first, again, other, one = (
        denoise_picture(network, picture, way=Way(seed=seed, draws=draws))
        for seed, draws in ((1, None), (1, 16), (2, 16), (1, 1))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(one - other).mean() > 1.5 * np.abs(first - other).mean()


def test_the_level_is_guessed_once_for_the_whole_picture() -> None:
    rng = np.random.default_rng(0)
    picture = np.clip(0.5 + 0.1 * rng.normal(size=(200, 200, 3)), 0, 1).astype(np.float32)
    guessed: Any = Level()
    made = denoise_picture(guessed, picture, way=Way(tile=100))
    assert np.ptp(made) < 1e-6
    assert float(made.mean()) == pytest.approx(0.1, rel=0.05)
    told: Any = Level(sigma=0.3)
    assert float(denoise_picture(told, picture[..., :1]).mean()) == pytest.approx(0.3)


def test_results_replace_nothing(tmp_path: Path, texture: Texture, write_image: Write) -> None:
    image = write_image(tmp_path / "a.png", texture(16, 16))
    names = []
    for _ in range(2):
        out = PictureFolder(tmp_path / "out", "number")
        (found,) = denoise_pictures([str(image)], dncnn(), label="x", out=out)
        names.append(Path(found["denoised"]).name)
    assert names == ["a_x.png", "a_x-2.png"]


def test_a_clean_partner_tells_the_psnr(
    tmp_path: Path, texture: Texture, write_image: Write
) -> None:
    clean = texture(32, 32)
    noise = np.random.default_rng(0).normal(0, 10, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).round().astype(np.uint8)
    a, b = write_image(tmp_path / "a.png", clean), write_image(tmp_path / "b.png", noisy)
    c = write_image(tmp_path / "c.png", clean[:16])
    found, bad = denoise_pictures(
        [str(b)] * 2,
        dncnn(),
        label="x",
        out=PictureFolder(tmp_path, "number"),
        clean=[str(a), str(c)],
    )
    error = ((clean.astype(float) - noisy) ** 2).mean()
    assert found["psnr"]["noisy"] == pytest.approx(10 * np.log10(255**2 / error))
    left = ((clean.astype(float) - read_pixels(found["denoised"])) ** 2).mean()
    assert found["psnr"]["denoised"] == pytest.approx(10 * np.log10(255**2 / left))
    assert "clean partner" in bad["error"]


def test_what_a_denoiser_has_no_use_for_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is not told the noise level.*Leave out sigma"):
        open_denoiser("invdn-polyu", sigma=0.1)
    with pytest.raises(ValueError, match="no parameter 'depth'"):
        open_denoiser("invdn-polyu", params={"depth": 3})
    with pytest.raises(ValueError, match="draws must be at least 1; it is 0"):
        Way(draws=0)
    with pytest.raises(ValueError, match="draws no random numbers"):
        denoise_picture(dncnn(), np.zeros((16, 16, 3), np.uint8), way=Way(draws=4))


@pytest.mark.parametrize("sigma", [0.0, -1.0, 25.0])
def test_a_level_in_grey_levels_is_told(sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoisers, "load", lambda name: Level())
    with pytest.raises(ValueError, match=r"share of the white level.*25 grey levels.*0\.098"):
        open_denoiser("level", sigma=sigma)
