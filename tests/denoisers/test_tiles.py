from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d

import denoisers
from denoisers.base import mirrored
from denoisers.tiles import Tiled, count_tiles, denoise_tiled
from generators.seeds import uniform


def picture(*shape: int, seed: int = 0) -> Tensor:
    return uniform([seed], shape, "picture")[0]


def dncnn(depth: int, channels: int = 1) -> Any:
    made = denoisers.create("dncnn", channels=channels, seed=1, depth=depth, width=6)
    for norm in made.norms:  # type: ignore[union-attr]
        norm.weight.data.fill_(1.0)
    return made.eval()


class Counter:
    """Gives the image back, and notes which tiles it saw."""

    name, channels, multiple, config = "counter", 1, 4, None

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, noisy: Tensor) -> Tensor:
        self.sizes.append(tuple(noisy.shape[2:]))
        return noisy


@pytest.mark.parametrize("size", [(50, 50), (33, 101), (97, 64), (49, 48)])
def test_with_an_overlap_of_the_receptive_field_it_is_the_whole_pictures_result(
    size: tuple[int, int],
) -> None:
    network, noisy = dncnn(depth=6), picture(2, 1, *size)
    with torch.inference_mode():
        whole = network(noisy)
    field = 2 * 6 + 1
    tiled = denoise_tiled(network, noisy, tile=48, overlap=field)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    # The network does look as far as that: with hardly any overlap the result is another.
    assert float((denoise_tiled(network, noisy, tile=16, overlap=1) - whole).abs().max()) > 1e-3


class Quarter:
    """The mean of each 4x4 square; looks no farther, but must see the squares where they are."""

    name, channels, multiple, config = "quarter", 3, 4, None

    def __call__(self, noisy: Tensor) -> Tensor:
        small = avg_pool2d(mirrored(noisy, 4), 4)
        large = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
        return large[..., : noisy.shape[2], : noisy.shape[3]]


@pytest.mark.parametrize("size", [(95, 130), (64, 61)])
def test_a_denoiser_that_halves_its_images_sees_tiles_on_its_grid(size: tuple[int, int]) -> None:
    quarter: Any = Quarter()
    noisy = picture(1, 3, *size)
    tiled = denoise_tiled(quarter, noisy, tile=36, overlap=5)
    torch.testing.assert_close(tiled, quarter(noisy), atol=1e-6, rtol=0)


@pytest.mark.parametrize("length", [1, 7, 40, 41, 64, 97, 250])
@pytest.mark.parametrize(("tile", "overlap"), [(40, 8), (40, 0), (12, 4), (64, 17)])
def test_weights_add_up_and_tiles_keep_to_their_size(length: int, tile: int, overlap: int) -> None:
    counter: Any = Counter()
    noisy = picture(1, 1, length, 37)
    made = denoise_tiled(counter, noisy, tile=tile, overlap=overlap)
    torch.testing.assert_close(made, noisy, atol=1e-6, rtol=0)
    assert max(max(size) for size in counter.sizes) <= tile
    assert len(counter.sizes) == count_tiles(
        counter,
        length,
        37,
        tile=tile,
        overlap=overlap,
    )
    for span in Tiled(counter, tile=tile, overlap=overlap).spans(length):
        assert span.low % 4 == 0
        assert span.high % 4 == 0 or span.high == length


def test_a_small_picture_is_one_tile() -> None:
    counter: Any = Counter()
    denoise_tiled(counter, picture(1, 1, 96, 60), tile=96, overlap=32)
    assert counter.sizes == [(96, 60)]


def test_each_tile_draws_its_own_numbers() -> None:
    made: Any = denoisers.create("fino", channels=3, seed=1, blocks=1, hidden=4, code_std=0.1)
    tiled = Tiled(made, tile=24, overlap=0)
    assert tiled.stochastic
    flat = torch.full((2, 3, 24, 48), 0.5)
    drawn = tiled.draw(flat, [3, 4])
    assert not torch.allclose(drawn[..., :24], drawn[..., 24:])
    torch.testing.assert_close(tiled.draw(flat[1:], [4]), drawn[1:])
    with pytest.raises(ValueError, match="'dncnn' draws nothing"):
        Tiled(dncnn(3), tile=24, overlap=0).draw(flat, [1, 2])


@pytest.mark.parametrize(("tile", "overlap"), [(64, 32), (95, 32), (0, 0), (64, -1)])
def test_tiles_without_room_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=r"no room|overlap must be >= 0"):
        Tiled(dncnn(3), tile=tile, overlap=overlap)


class Itself:
    """Gives the image back: whatever is not covered once shows."""

    channels, config, name = 1, None, "itself"

    def __init__(self, multiple: int) -> None:
        self.multiple = multiple

    def __call__(self, noisy: Tensor) -> Tensor:
        return noisy


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile=st.integers(24, 64),
    overlap=st.integers(0, 8),
    multiple=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_tiles_cover_every_pixel_once(
    height: int, width: int, tile: int, overlap: int, multiple: int
) -> None:
    tiled = Tiled(Itself(multiple), tile=tile, overlap=overlap)  # type: ignore[arg-type]
    for length in (height, width):
        spans = tiled.spans(length)
        cells = [pixel for span in spans for pixel in range(span.start, span.stop)]
        assert cells == list(range(length))
        assert all(0 <= s.low <= s.start < s.stop <= s.high <= length for s in spans)
        assert all(s.high - s.low <= max(tile, length if len(spans) == 1 else 0) for s in spans)
    noisy = picture(1, 1, height, width)
    torch.testing.assert_close(tiled(noisy), noisy, atol=1e-6, rtol=0)
