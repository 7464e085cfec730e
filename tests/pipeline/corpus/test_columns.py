"""Rows are checked before they reach a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noisemill.testing.rows import make_rows
from pipeline.corpus.columns import COLUMNS, ShardRows, noise_std


def changed(**columns: Any) -> ShardRows:
    rows = make_rows(3)
    return ShardRows(clean=rows.clean, noisy=rows.noisy, columns={**rows.columns, **columns})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"scene": ["a", "b"]}, "'scene' has 2 values for 3 rows"),
        ({"scene": ["a", None, "b"]}, "row 1 has none"),
        ({"scene": ["a", 5, "b"]}, "takes text; got 5"),
        ({"scene": ["a", "b\0c", "b"]}, "NUL"),
        ({"iso": [100, 1.5, 3]}, "takes whole numbers; got 1.5"),
        ({"iso": [100, -1, 3]}, "must be >= 0 or None"),
        ({"iso": [100, 2**31, 3]}, "does not fit"),
        ({"seed": [0, -1, 2]}, "does not fit"),
        ({"seed": [0, True, 2]}, "whole numbers"),
        ({"split": ["train", "dev", "train"]}, "is one of"),
        ({"sample_id": ["a", "b", "a"]}, "'a' appears twice"),
        ({"sample_id": ["a", "b/c", "d"]}, "usable as a file name"),
        ({"height": [16, 16, 17]}, "the images' own, 16"),
        ({"colour": ["r", "g", "b"]}, "unknown: colour"),
    ],
)
def test_wrong_columns_are_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**columns)


def test_a_missing_column_is_named() -> None:
    rows = make_rows(2)
    columns = {name: values for name, values in rows.columns.items() if name != "params"}
    with pytest.raises(ValueError, match="missing: params"):
        ShardRows(clean=rows.clean, noisy=rows.noisy, columns=columns)


@pytest.mark.parametrize(
    ("clean", "noisy", "message"),
    [
        (np.zeros((3, 8, 8)), None, "uint8, uint16 or float32"),
        (np.zeros((3, 8, 8, 2), np.uint8), None, "1, 3 or 4 channels"),
        (np.zeros((0, 8, 8, 3), np.uint8), None, "at least one row"),
        (np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 8, 8, 3), np.uint16), "noisy must be as"),
        (np.zeros((3, 8, 8, 3), np.float32), np.full((3, 8, 8, 3), np.nan, np.float32), "row 0"),
    ],
)
def test_wrong_pixels_are_explained(
    clean: np.ndarray, noisy: np.ndarray | None, message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ShardRows(clean=clean, noisy=clean if noisy is None else noisy, columns={})


def test_unknown_has_one_spelling() -> None:
    rows = changed(camera=["", None, "X"], iso=[None, 0, 100])
    assert rows.columns["camera"] == [None, None, "X"]
    assert rows.columns["iso"] == [None, 0, 100]


def test_names_that_are_no_utf8_stay_storable() -> None:
    rows = changed(source_uri=["a", b"caf\xe9.png".decode("utf-8", "surrogateescape"), "b"])
    assert rows.columns["source_uri"][1].encode("utf-8") == b"caf\\udce9.png"


def test_seeds_keep_64_bits() -> None:
    assert changed(seed=[0, 2**64 - 1, 2**63]).columns["seed"].tolist() == [0, 2**64 - 1, 2**63]


@pytest.mark.parametrize(("encoding", "step"), [("uint8", 1 / 255), ("uint16", 1 / 65535)])
def test_noise_level_is_in_units_of_white(encoding: str, step: float) -> None:
    clean = np.full((2, 4, 4, 3), 100, encoding)
    noisy = clean.copy()
    noisy[1, :2] += 2  # half of the samples are 2 up: a standard deviation of 1 step
    assert noise_std(clean, noisy) == pytest.approx([0, step], rel=1e-6)


def test_every_column_is_described() -> None:
    assert all(column.doc.endswith(".") for column in COLUMNS.values())
