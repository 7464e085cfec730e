"""Rows that are kept: what a run need not do again.

A row is a JSON file of its own below ``rows/`` as soon as it is done. It carries the hash of
everything that it follows from; a run takes over rows of the same hash and makes the others. Failed
rows are kept for people to read, and always tried again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pipeline.storage import exists, publish, read_bytes

__all__ = ["ROWS", "KeptRow", "RowStore", "failure_text", "json_text"]

ROWS = "rows"
# What a row's own work raises, whose text says all; others are bugs, and named by their type.
_EXPECTED = (ValueError, TypeError, OSError, RuntimeError, ImportError, ArithmeticError)


class KeptRow(Protocol):
    """What a store asks of a row."""

    @property
    def name(self) -> str:
        """The row's name in tables."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that the row follows from."""

    @property
    def done(self) -> bool:
        """Whether it has results; else it says why not."""

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""


_Row = TypeVar("_Row", bound=KeptRow)


@dataclass(frozen=True, slots=True)
class RowStore(Generic[_Row]):
    """The rows of one run's folder.

    Args:
        root: Folder or URL of the run.
        path: Returns a row's file below it, by the row's name.
        parse: Returns the row of what :meth:`KeptRow.to_dict` gave.
    """

    root: str
    path: Callable[[str], str]
    parse: Callable[[Any], _Row]

    def save(self, row: _Row) -> None:
        """Publish a row; replaces a former one of its name.

        Raises:
            StorageError: If it cannot be written.
        """
        publish(self.root, self.path(row.name), json_text(row.to_dict()).encode())

    def load(self, name: str, fingerprint: str) -> _Row | None:
        """Return a row that is done and of this hash; ``None`` if there is none.

        A file that is damaged, or of a version that is not understood, is a row not made yet.
        """
        if not exists(self.root, self.path(name)):
            return None
        try:
            row = self.parse(json.loads(read_bytes(self.root, self.path(name))))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return row if row.done and (row.fingerprint, row.name) == (fingerprint, name) else None


def json_text(record: Any) -> str:
    """Return a record as the text of a JSON file.

    Raises:
        ValueError: If a number in it is not finite.
    """
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False, default=dict) + "\n"


def failure_text(error: Exception) -> str:
    """Return why a row failed, for tables; the type stands before what nobody expected."""
    text = str(error) or type(error).__name__
    return text if isinstance(error, _EXPECTED) else f"{type(error).__name__}: {text}"
