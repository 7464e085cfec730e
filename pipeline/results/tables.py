"""Tables of results, as plain text, Markdown and CSV.

A table holds texts: whoever makes it rounds its numbers. CSV holds the numbers themselves.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NONE", "Table", "csv_text", "failed_row", "fixed"]

NONE = "–"
_FAILED = "failed: "


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Args:
        title: What it is over; may be empty.
        columns: Headings, the row's name first.
        rows: One text a column.
        words: Columns of words, on the left; the others are numbers.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1

    def markdown(self) -> str:
        """Return the table as Markdown, under its title if it has one."""
        rule = "|---" * self.words + "|---:" * (len(self.columns) - self.words) + "|"
        heading = [f"## {self.title}\n"] if self.title else []
        lines = [_markdown_line(self.columns), rule, *map(_markdown_line, self.rows)]
        return "\n".join([*heading, *lines, ""])

    def plain(self) -> str:
        """Return the table as aligned text; the reason of a failed row may be as long as it is."""
        columns = enumerate(self.columns)
        widths = [max([len(head), *self._widths(column)]) for column, head in columns]
        lines = [self.title, _aligned(self.columns, widths)]
        lines += [
            f"{row[0].ljust(widths[0])}  {row[1]}" if _is_failure(row) else _aligned(row, widths)
            for row in self.rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _widths(self, column: int) -> list[int]:
        return [len(row[column]) for row in self.rows if not column or not _is_failure(row)]


def failed_row(name: str, reason: str | None, columns: int) -> list[str]:
    """Return the line of a row that failed, behind whose name its reason stands.

    Args:
        name: Of the row.
        reason: Why it failed.
        columns: Of the table, the name's among them.
    """
    return [name, f"{_FAILED}{reason}", *[""] * (columns - 2)]


def csv_text(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return CSV; ``None`` is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else value for value in line] for line in lines)
    return text.getvalue()


def fixed(value: float | None, digits: int) -> str:
    """Return a number with so many decimals, never ``-0``; a dash for none."""
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def _is_failure(row: Sequence[str]) -> bool:
    return len(row) > 1 and row[1].startswith(_FAILED)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *cells[1:]])


def _markdown_line(cells: Sequence[str]) -> str:
    plain = [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]
    return f"| {' | '.join(plain)} |"
