"""A manifest's data together with the place of everything in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.manifest.mistakes import KeyPath, Mistake, dotted

__all__ = ["Place", "Tree"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file's line and column, or an override without them."""

    file: str
    line: int | None = None
    column: int | None = None

    def mistake(self, path: KeyPath, found: str, *, expected: str = "", hint: str = "") -> Mistake:
        """Return a mistake that stands here."""
        return Mistake(
            file=self.file,
            line=self.line,
            column=self.column,
            key_path=dotted(path),
            found=found,
            expected=expected,
            hint=hint,
        )


@dataclass(slots=True)
class Tree:
    """A manifest's data, and the place of everything in it.

    Args:
        name: The file as the user named it.
        data: Mappings, lists, texts, numbers, truth values and ``None``; keys are always texts.
        keys: Place of the key at each path.
        values: Place of the value at each path.
        texts: Text of the environment values that were read again as numbers and the like.
        mistakes: Mistakes of the file as a whole and of its keys.
        broken: Mistakes of the value at a path; gone when an override replaces the value.
    """

    name: str
    data: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    broken: dict[KeyPath, list[Mistake]] = field(default_factory=dict)

    def place(self, path: KeyPath, *, key: bool = False) -> Place:
        """Return the place of the value (or key) at a path, or of what it would stand in."""
        first, second = (self.keys, self.values) if key else (self.values, self.keys)
        while path:
            found = first.get(path) or second.get(path)
            if found:
                return found
            path, first, second = path[:-1], self.keys, self.values
        return self.values.get((), Place(self.name))

    def mistake(
        self, path: KeyPath, found: str, *, expected: str = "", hint: str = "", key: bool = False
    ) -> Mistake:
        """Return a mistake at the place of a path."""
        return self.place(path, key=key).mistake(path, found, expected=expected, hint=hint)
