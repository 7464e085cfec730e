"""What the documents tell people to type: command lines, Python and YAML, read out of Markdown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*noisemill [^`]+)`")
_COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )*noisemill [a-z]")


def documents() -> list[Path]:
    """Return the Markdown files that people read."""
    patterns = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "manifests/**/*.md")
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        document: File below the project's root.
        language: Behind the fence.
        text: Its lines.
    """

    document: str
    language: str
    text: str

    @property
    def name(self) -> str:
        """Document, and the first line that is no comment."""
        lines = [line for line in self.text.splitlines() if line.strip() and line[0] != "#"]
        return f"{self.document}: {lines[0].strip()[:60]}"


def blocks(language: str) -> list[Block]:
    """Return all fenced blocks of a language."""
    return [
        Block(str(path.relative_to(ROOT)), found[1], found[2])
        for path in documents()
        for found in _FENCED.finditer(path.read_text(encoding="utf-8"))
        if found[1] == language
    ]


@dataclass(frozen=True)
class Command:
    """A command line.

    Args:
        environment: What is set in front of it.
        arguments: Behind ``noisemill``, without comments, redirections and dots.
    """

    environment: tuple[tuple[str, str], ...]
    arguments: tuple[str, ...]

    @property
    def text(self) -> str:
        """The command in one line."""
        given = [f"{name}={value}" for name, value in self.environment]
        return " ".join([*given, "noisemill", *map(shlex.quote, self.arguments)])


def commands() -> list[Command]:
    """Return every different command line of the documents."""
    found: dict[Command, None] = {}
    for path in documents():
        for line in _lines(path.read_text(encoding="utf-8")):
            found.setdefault(_parsed(line))
    return list(found)


def _lines(text: str) -> Iterator[str]:
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        if _COMMAND.match(line.strip()) and (line.startswith("    ") or _COMMAND.match(line)):
            # Prose may begin a line with the product's name; commands are in blocks.
            if _is_code(joined, line):
                yield line.strip()
    for match in _INLINE.finditer(_FENCED.sub("", text)):
        yield " ".join(match[1].split())


def _is_code(text: str, line: str) -> bool:
    fenced = any(line in match[2].splitlines() for match in _FENCED.finditer(text))
    return fenced or line.startswith("    ")


def _parsed(line: str) -> Command:
    words = shlex.split(line, comments=True)
    start = words.index("noisemill")
    environment = tuple(
        (name, value) for name, _, value in (w.partition("=") for w in words[:start])
    )
    arguments = words[start + 1 :]
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    if arguments[-2:] == ["--set", "..."]:
        arguments = arguments[:-2]
    return Command(environment, tuple(arguments))
