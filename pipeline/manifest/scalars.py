"""Plain scalars by the core schema of YAML 1.2, as editors read them.

PyYAML follows YAML 1.1, where ``on`` and ``no`` are truth values, ``12:30`` is 750, ``010`` is 8
and ``5e-4`` is a text. Here the first three are texts, then come 10 and a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, ClassVar

import yaml

__all__ = ["TAG", "CoreLoader", "ScalarError", "read_scalar", "resolve", "short_tag"]

TAG = "tag:yaml.org,2002:"
_LARGEST_INTEGER = 2**64
_LONGEST_INTEGER = 100


class ScalarError(ValueError):
    """A scalar that has no value: ``found`` and ``expected`` go into the mistake."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


class CoreLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """PyYAML's loader with the plain scalars of YAML 1.2 in place of those of 1.1."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    CoreLoader.add_implicit_resolver(TAG + _name, re.compile(rf"^(?:{_pattern})\Z"), _first)


def resolve(text: str) -> str:
    """Return the tag of a plain scalar, e.g. ``tag:yaml.org,2002:int`` for ``5``."""
    return str(CoreLoader("").resolve(yaml.ScalarNode, text, (True, False)))


def short_tag(tag: str) -> str:
    """Return a tag as it is written in a file: ``!!int``."""
    return tag.replace(TAG, "!!")


def read_scalar(tag: str, text: str) -> Any:
    """Return the value of a scalar.

    Args:
        tag: Its full tag; other than that of texts.
        text: Its text.

    Returns:
        ``None``, a truth value, a whole number within 64 bits, or a finite number.

    Raises:
        ScalarError: If the tag is none of these, or the text is none of the tag's.
    """
    kind = tag.removeprefix(TAG)
    if kind not in _READERS:
        raise ScalarError(f"tag '{short_tag(tag)}'", "expected a value without a tag")
    # int() refuses thousands of digits with an error of its own.
    if kind == "int" and len(text) > _LONGEST_INTEGER:
        raise ScalarError(f"found {text[:40]}...", "expected a whole number below 2^64")
    try:
        value = _READERS[kind](text)
    except (ValueError, OverflowError):
        raise ScalarError(f"found {text[:60]!r}", f"expected a value of {short_tag(tag)}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ScalarError(f"found {text[:60]}", "expected a finite number")
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise ScalarError(f"found {text}", "expected a whole number below 2^64")
    return value


def _read_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _read_int(text: str) -> int:
    # Not int(text, 0): it refuses 007 and takes 1_000, which YAML 1.2 reads the other way round.
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _read_float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan") if "." in text[:2] else text)


_READERS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
}
