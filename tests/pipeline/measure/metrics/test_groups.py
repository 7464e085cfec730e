"""Sums by image, camera, ISO and generator; likelihood a dimension."""

from __future__ import annotations

from math import log, pi

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.measure.metrics import Cell, GroupSums, Nll, Scores, bits_per_dimension

ROWS = [("a", "X", 100, 1.0), ("b", "X", 200, 2.0), ("c", None, 100, 6.0), ("c", None, 100, 7.0)]


def filled() -> GroupSums[Scores]:
    sums = GroupSums(lambda: Scores(("kld", "std")))
    for image, camera, iso, value in ROWS:
        sums.at(Cell("g", camera, iso, image)).update({"kld": value, "std": float("nan")})
    return sums


def test_each_level_has_the_mean_and_median_of_its_blocks() -> None:
    sums = filled()
    by_camera = {key: found.result()["kld"] for key, found in sums.by("camera").items()}
    assert by_camera == {
        ("X",): {"mean": 1.5, "median": 1.5},
        (None,): {"mean": 6.5, "median": 6.5},
    }
    assert list(by_camera) == [("X",), (None,)]
    assert sums.by("iso")[100,].result()["kld"] == {"mean": 14 / 3, "median": 6.0}
    assert list(sums.by("camera", "iso")) == [("X", 100), ("X", 200), (None, 100)]
    assert {key: len(found) for key, found in sums.by("image").items()} == {
        ("a",): 1, ("b",): 1, ("c",): 2,
    }  # fmt: skip
    assert sums.total().result() == {
        "kld": {"mean": 4.0, "median": 4.0},
        "std": {"mean": None, "median": None},
    }


def test_asking_for_groups_changes_no_cell() -> None:
    sums = filled()
    before = {cell: len(found) for cell, found in sums.cells.items()}
    sums.by("generator")
    sums.total()
    assert {cell: len(found) for cell, found in sums.cells.items()} == before


def test_some_blocks_can_be_kept() -> None:
    total = filled().total()
    kept = total.where(total.column("kld") > 1.5)
    assert kept.column("kld").tolist() == [2.0, 6.0, 7.0]
    assert len(kept) == 3


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="there are image, camera"):
        filled().by("lens")
    with pytest.raises(ValueError, match="expected kld, std"):
        Scores(("kld", "std")).update({"kld": 1.0})
    with pytest.raises(ValueError, match="at least 1 dimension"):
        Nll().update(0.0, 0)


def test_nll_is_that_of_scipys_density() -> None:
    rng = np.random.default_rng(0)
    sums = Nll()
    values = [rng.normal(0, 0.02, size) for size in ((8, 9, 3), (4, 4, 1))]
    for noise in values:
        log_density = float(-0.5 * (noise**2 / 0.02**2 + log(2 * pi * 0.02**2)).sum())
        sums.update(log_density, noise.size)
    flat = np.concatenate([noise.ravel() for noise in values])
    assert sums.result().per_dimension == pytest.approx(-norm(0, 0.02).logpdf(flat).mean())
    assert sums.result().dimensions == flat.size


def test_code_length_of_uniform_grey_levels_is_eight_bits() -> None:
    # 256 levels, each as likely: density 255 / 256 on [0, 256 / 255).
    assert bits_per_dimension(-log(255 / 256)) == pytest.approx(8.0)
