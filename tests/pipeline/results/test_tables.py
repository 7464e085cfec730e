"""Tables: the same texts in plain text and Markdown, whatever they hold; CSV reads back."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.results.tables import NONE, Table, csv_text, failed_row, fixed

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)


def test_plain_text_is_aligned_and_a_reason_may_be_long() -> None:
    table = Table("over 3 blocks", ["", "kld"], [["a", "0.5"], failed_row("bb", "x" * 90, 2)])
    lines = table.plain().splitlines()
    assert lines[0] == "over 3 blocks"
    assert lines[1:3] == ["    kld", "a   0.5"]
    assert lines[3] == f"bb  failed: {'x' * 90}"


def test_markdown_cells_cannot_break_the_table() -> None:
    text = Table("t", ["", "a|b"], [["two\nlines", "1"]]).markdown()
    assert text == "## t\n\n|  | a\\|b |\n|---|---:|\n| two lines | 1 |\n"
    assert Table("", ["", "n", "x"], [], words=2).markdown() == "|  | n | x |\n|---|---|---:|\n"


@given(st.lists(st.lists(WORDS, min_size=3, max_size=3), max_size=4))
def test_csv_reads_back(lines: list[list[str]]) -> None:
    text = csv_text(["a", "b", "c"], lines)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b", "c"], *lines]


def test_csv_has_an_empty_cell_for_none() -> None:
    assert csv_text(["a", "b"], [[None, 0.5]]) == "a,b\n,0.5\n"


@pytest.mark.parametrize(
    ("value", "text"), [(None, NONE), (-0.001, "0.00"), (-0.006, "-0.01"), (2, "2.00")]
)
def test_numbers_are_rounded_and_never_minus_zero(value: float | None, text: str) -> None:
    assert fixed(value, 2) == text
