"""Environment variables in a manifest: ``${NAME}``, ``${NAME:-default}`` and ``$${`` for ``${``.

As in a shell, ``:-`` also stands in for a variable that is set but empty, and a default may hold
further expressions. A ``$`` that is not followed by ``{`` is an ordinary character.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.manifest.mistakes import closest

__all__ = ["Expansion", "Unexpanded", "expand"]

_EXPRESSION = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unexpanded:
    """An expression without a value: what is wrong, and what to do."""

    found: str
    hint: str


@dataclass(frozen=True, slots=True)
class Expansion:
    """A text after expansion.

    Args:
        text: The text; expressions without a value are left as they were.
        whole: Whether the text was one expression and nothing else.
        problems: Expressions without a value.
    """

    text: str
    whole: bool
    problems: tuple[Unexpanded, ...]


def expand(text: str, environ: Mapping[str, str]) -> Expansion:
    """Replace the environment expressions of a text.

    Args:
        text: Any text.
        environ: Names and values.

    Returns:
        The expansion, with its problems; nothing is raised.

    Example:
        >>> expand("${HOME}/${SUB:-a}", {"HOME": "/h"}).text, expand("$${HOME}", {}).text
        ('/h/a', '${HOME}')
    """
    parts: list[str] = []
    problems: list[Unexpanded] = []
    at, whole = 0, False
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "$":
            parts += [text[at : start - 1], "${"]
            at = start + 2
            continue
        end = _closing_brace(text, start + 2)
        if end is None:
            problems.append(
                Unexpanded(
                    "'${' without a closing '}'", "close it, or write '$${' for a plain '${'"
                )
            )
            break
        value, worse = _value(text[start + 2 : end], environ)
        problems += worse
        parts += [text[at:start], value]
        whole = start == 0 and end == len(text) - 1
        at = end + 1
    return Expansion("".join([*parts, text[at:]]), whole and not problems, tuple(problems))


def _closing_brace(text: str, at: int) -> int | None:
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None


def _value(expression: str, environ: Mapping[str, str]) -> tuple[str, tuple[Unexpanded, ...]]:
    match = _EXPRESSION.fullmatch(expression)
    asis = f"${{{expression}}}"
    if match is None:
        return asis, (
            Unexpanded(
                f"'{asis}' is no environment expression",
                "write ${NAME} or ${NAME:-default}, or '$${' for a plain '${'",
            ),
        )
    name, default = match.groups()
    value = environ.get(name)
    if default is not None and not value:
        inner = expand(default, environ)
        return inner.text, inner.problems
    if value is not None:
        return value, ()
    guess = closest(name, list(environ), cutoff=0.85)
    meant = f"did you mean '{guess}'? Otherwise " if guess else ""
    return asis, (
        Unexpanded(
            f"environment variable {name} is not set",
            f"{meant}set it, or give a default: ${{{name}:-default}}",
        ),
    )
