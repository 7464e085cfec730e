from __future__ import annotations

import json
import sys

import click
import pytest

from pipeline.cli.output import count_of, counting, print_json, print_table, size_of

WIDE = [["desk", "1,200", "a verdict of very many words " * 6], ["wall[2]", "7", "sound"]]


def test_piped_tables_have_whole_lines_without_blanks_at_their_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(["scene", "pairs", "verdict"], WIDE, title="Pairs")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Pairs", "scene    pairs  verdict"]
    assert len(lines) == 4
    assert lines[2].startswith("desk     1,200  a verdict of very many words a verdict")
    assert lines[3] == "wall[2]      7  sound"
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("width", [50, 90])
def test_a_terminal_gets_tables_folded_to_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(["scene", "pairs", "verdict"], WIDE, title="A title longer than the table " * 2)
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert len(lines) > 5
    text = " ".join(" ".join(lines).split())
    assert "wall[2]" in text
    assert "1,200" in text


def test_a_terminal_too_narrow_for_the_numbers_gets_whole_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(["scene", "a", "b", "c"], [["desk", "123.45", "-123.45", "1,234,567"]])
    assert capsys.readouterr().out.splitlines()[1] == "desk   123.45  -123.45  1,234,567"


def test_tables_show_names_that_are_no_text_on_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(["name"], [["caf\udce9\n\x1b[31m.png"], ["[bold]x[/bold]"]])
    assert capsys.readouterr().out.splitlines() == [
        "name",
        r"caf\udce9\n\x1b[31m.png",
        "[bold]x[/bold]",
    ]


def test_a_table_without_headings_or_rows_prints_no_empty_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(["", ""], [["images", "10"]])
    print_table(["", ""], [])
    assert capsys.readouterr().out == "images  10\n"


def test_json_has_no_nan_and_carries_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"level": float("nan"), "all": [1.5, float("inf"), ("é", "caf\udce9")]}
    print_json(value)
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"level": None, "all": [1.5, None, ["é", "caf\udce9"]]}


def test_counting_is_silent_in_a_pipe_unless_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(counting("abc", 3, "pair")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("pipeline.cli.output._EVERY_S", -1.0)
    list(counting("ab", 2, "pair"))
    assert capsys.readouterr() == ("", "noisemill: pair 1 of 2\nnoisemill: pair 2 of 2\n")


def test_sizes_and_counts_read_well() -> None:
    assert [size_of(n) for n in (0, 999, 1000, 5.5e6, 3e12)] == [
        "0 B", "999 B", "1.0 kB", "5.5 MB", "3.0 TB",
    ]  # fmt: skip
    assert [count_of(n, "pair") for n in (0, 1, 1234)] == ["0 pairs", "1 pair", "1,234 pairs"]
