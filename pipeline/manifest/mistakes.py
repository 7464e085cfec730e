"""What is wrong with a manifest: each mistake by place, and the error that carries all of them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError, printable

__all__ = ["ManifestError", "Mistake", "closest", "dotted", "printable", "show"]

KeyPath = tuple[str | int, ...]

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing that is wrong with a manifest.

    Args:
        file: The file as the user named it, or the override (``--set patches.size=4``).
        line: Line in the file, from 1; ``None`` where there is none (an override, a missing file).
        column: Column in the line, from 1; ``None`` where there is none.
        key_path: Dotted path of the key (``sources.0.path``); empty for the file as a whole.
        found: What stands there.
        expected: What is allowed instead; may be empty.
        hint: What to do, or a question that guesses what was meant; may be empty.
    """

    file: str
    line: int | None
    column: int | None
    key_path: str
    found: str
    expected: str = ""
    hint: str = ""

    @property
    def place(self) -> str:
        """File, line where there is one, and key."""
        file = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (file, self.key_path) if part)

    def __str__(self) -> str:
        """Return the mistake as one line: place, key, found, guess or expectation, advice."""
        text = ": ".join(part for part in (self.place, self.found) if part)
        if self.hint.endswith("?"):
            text += f"; {self.hint}"
            if self.expected:
                text += f" {self.expected[0].upper()}{self.expected[1:]}"
        else:
            text += "".join(f"; {part}" for part in (self.expected, self.hint) if part)
        return printable(text)


class ManifestError(InputError):
    """A manifest that cannot be used, with every mistake found in it.

    Args:
        mistakes: At least one mistake; equal ones are told once, in the order of their lines.
    """

    code = "manifest"
    is_usage = True

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes: list[Mistake] = sorted(dict.fromkeys(mistakes), key=_order)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))
        first = self.mistakes[0]
        self.what, self.where = first.found, first.place
        self.expected, self.what_to_do = first.expected.removeprefix("expected "), first.hint
        # The one argument, as a pickle gives it back.
        self.args = (self.mistakes,)


def _order(mistake: Mistake) -> tuple[bool, str, int, int]:
    # Overrides after the file: they have no line.
    return (mistake.line is None, mistake.file, mistake.line or 0, mistake.column or 0)


def closest(word: str, allowed: Sequence[str], *, cutoff: float = 0.6) -> str | None:
    """Return the allowed word most like ``word``, or ``None`` where none is close.

    Example:
        >>> closest("sise", ["size", "stride"]), closest("colour", ["size", "stride"])
        ('size', None)
    """
    by_lower = {name.lower(): name for name in reversed(allowed)}
    match = difflib.get_close_matches(word.lower()[:200], list(by_lower), n=1, cutoff=cutoff)
    return by_lower[match[0]] if match else None


def dotted(path: KeyPath) -> str:
    """Return a key path as ``--set`` takes it.

    Example:
        >>> dotted(("sources", 0, "path"))
        'sources.0.path'
    """
    return ".".join(str(part) for part in path)


def show(value: Any) -> str:
    """Return a manifest's value as a short text for a message.

    Example:
        >>> show("64MB"), show(True), show(None), show([1]), show({"a": 1})
        ("'64MB'", 'true', 'nothing', 'a list of 1 item', 'a mapping')
    """
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        items = "item" if len(value) == 1 else "items"
        return f"a list of {len(value)} {items}" if value else "an empty list"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
