"""What commands print: tables for people on standard output, JSON for machines.

On a terminal a table is folded to its width, where that is possible without cutting a number. In a
pipe or a file a line is as long as it has to be, without colours and without blanks at its end, so
that ``grep`` and ``cut`` see whole lines.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.manifest.mistakes import printable

__all__ = ["count_of", "counting", "print_json", "print_table", "size_of"]

T = TypeVar("T")

_GAP = 2
_NARROWEST = 12
_NUMBER = re.compile(r"[-+]?\d[\d,.]*(/\d+)?( ?(%|[kMGT]?B))?|-|")
_EVERY_S = 10.0


def print_json(value: Any) -> None:
    """Print one JSON document; numbers that JSON has no word for become null."""
    # ASCII, because file names may hold what the terminal's encoding cannot carry.
    click.echo(json.dumps(_finite(value), indent=1, allow_nan=False))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None
) -> None:
    """Print a table; columns of numbers are set to the right."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    right = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(columns))]
    lines = [list(columns), *cells] if any(columns) else cells
    widths = [max((cell_len(line[i]) for line in lines), default=0) for i in range(len(columns))]
    if sys.stdout.isatty() and _can_fold(widths, right, Console().width):
        _print_folded(columns, cells, right, title)
        return
    if title is not None:
        click.echo(printable(title))
    for line in lines:
        parts = (
            " " * (width - cell_len(text)) + text
            if to_right
            else text + " " * (width - cell_len(text))
            for text, width, to_right in zip(line, widths, right, strict=True)
        )
        click.echo((" " * _GAP).join(parts).rstrip())


def counting(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield items and count them on standard error: live on a terminal, else every ten seconds."""
    live = sys.stderr.isatty()
    told = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if live:
            click.echo(f"\r{what} {number} of {total}", nl=False, err=True)
        elif time.monotonic() - told > _EVERY_S:
            told = time.monotonic()
            click.echo(f"noisemill: {what} {number} of {total}", err=True)
    if live:
        click.echo("\r\x1b[K", nl=False, err=True)


def count_of(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun.

    Example:
        >>> count_of(1, "pair"), count_of(2400, "pair"), count_of(2, "shelf", "shelves")
        ('1 pair', '2,400 pairs', '2 shelves')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size_of(count: float) -> str:
    """Return a number of bytes for people.

    Example:
        >>> size_of(512), size_of(17_776_332)
        ('512 B', '17.8 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _can_fold(widths: Sequence[int], right: Sequence[bool], room: int) -> bool:
    """Return True if a table fits if the columns of words, all but the first, are folded."""
    folded = (
        width if number == 0 or to_right else min(width, _NARROWEST)
        for number, (width, to_right) in enumerate(zip(widths, right, strict=True))
    )
    return sum(folded) + _GAP * (len(widths) - 1) <= room


def _print_folded(
    columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], title: str | None
) -> None:
    # Text, not str: rich would read "[y=64]" in a name as markup.
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        header_style="dim",
        show_header=any(columns),
    )
    for number, (column, to_right) in enumerate(zip(columns, right, strict=True)):
        table.add_column(
            Text(column),
            justify="right" if to_right else "left",
            overflow="fold",
            # Names and numbers stay whole; the words of the other columns give way.
            no_wrap=number == 0 or to_right,
        )
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    if title is not None:
        console.print(Text(printable(title), style="bold"))
    console.print(table)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None
