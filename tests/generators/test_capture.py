"""Capture metadata: named columns with a value a row, of kinds that a cell is read into."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.capture import COLUMNS, CaptureMetadata, capture_column

VALUES = st.none() | st.integers(1, 2**31 - 1)


@given(st.lists(st.fixed_dictionaries({}, optional={"iso": VALUES, "gain": VALUES})))
def test_columns_of_rows_are_the_rows_again(rows: list[dict[str, int | None]]) -> None:
    capture = CaptureMetadata.of(rows)
    assert len(capture) == len(rows)
    again = [{"iso": a, "gain": b} for a, b in zip(capture.iso, capture["gain"], strict=True)]
    assert again == [{"iso": row.get("iso"), "gain": row.get("gain")} for row in rows]
    assert capture.select(range(len(rows))) == capture
    assert pickle.loads(pickle.dumps(capture)) == capture


def test_what_is_given_replaces_every_row_and_none_replaces_nothing() -> None:
    capture = CaptureMetadata(camera=("a", None), exposure=(0.1, 0.2))
    assert capture.given(camera="b", iso=None).camera == ("b", "b")
    assert capture.given(exposure=None) == capture


def test_columns_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 of camera, 1 of iso"):
        CaptureMetadata(camera=("a", "b"), iso=(1,))
    with pytest.raises(ValueError, match="none"):
        CaptureMetadata()


def test_every_known_column_says_what_it_holds() -> None:
    assert {"camera", "exposure", "gain", "illuminant", "iso"} <= set(COLUMNS.names())
    for name in COLUMNS.names():
        assert capture_column(name).doc


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("exposure", " 0.02 ", 0.02),
        ("exposure", "1e-3", 1e-3),
        ("illuminant", "D65", "D65"),
        ("iso", "3200", 3200),
        ("iso", "", None),
        ("camera", " ", None),
        ("gain", "", None),
    ],
)
def test_a_cell_is_read_as_its_kind(name: str, text: str, value: object) -> None:
    assert capture_column(name).read(text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [("iso", "0"), ("iso", "3200.5"), ("exposure", "1/50"), ("gain", "nan"), ("gain", "inf")],
)
def test_a_cell_of_another_kind_is_refused_with_what_is_expected(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a .*number"):
        capture_column(name).read(text)


def test_an_unknown_column_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"no capture column 'exposur'.*Did you mean 'exposure'"):
        capture_column("exposur")
