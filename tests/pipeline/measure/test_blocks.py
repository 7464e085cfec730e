"""Blocks of pairs: where they lie, and pairs that give none."""

import numpy as np
import pytest

from pipeline.measure.blocks import PairBlock, grid_blocks, pair_blocks
from pipeline.records import ImageRecord


def test_grid_reaches_the_corners_and_is_even() -> None:
    places = grid_blocks(1856, 2784)
    assert len(places) == 9
    assert places[0] == (0, 0)
    assert places[-1] == (1600, 2528)
    assert places[4] == (800, 1264)
    # No block twice: its figures would count nine times over among those of larger photographs.
    assert grid_blocks(256, 256) == [(0, 0)]
    assert grid_blocks(256, 257) == [(0, 0), (0, 1)]
    with pytest.raises(ValueError, match="255x300"):
        grid_blocks(255, 300)


def test_a_block_is_of_eight_bits_and_one_shape() -> None:
    good = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(TypeError, match=r"s\[y=0,x=0\].*8-bit"):
        PairBlock(clean=good.astype(float), noisy=good, scene="s")
    with pytest.raises(ValueError, match="one shape"):
        PairBlock(clean=good[1:], noisy=good, scene="s")


def record(noisy: str | None) -> ImageRecord:
    return ImageRecord(
        image_id="s", uri="a", sha256="", height=0, width=0, channels=3, depth="uint8",
        scene="s", split="val", source="pairs", license="", noisy_uri=noisy,
    )  # fmt: skip


def test_pairs_without_or_with_an_unlike_partner_are_refused() -> None:
    images = {"a": np.zeros((300, 300, 3), np.uint8), "b": np.zeros((300, 301, 3), np.uint8)}
    with pytest.raises(ValueError, match="no noisy partner"):
        list(pair_blocks([record(None)], images.__getitem__))
    with pytest.raises(ValueError, match="audit"):
        list(pair_blocks([record("b")], images.__getitem__))
