"""Write the tables of README and docs from the registries: `python -m tools.tables`.

A document says where a table stands; what is between the two lines is made anew:

    <!-- table: generators -->
    <!-- end of table -->

A test keeps the documents equal to what this writes. Only what comes with noisemill is listed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import generators
from generators.base import Likelihood
from pipeline.models.listing import known

__all__ = ["DOCUMENTS", "rewritten"]

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_TABLE = re.compile(r"<!-- table: (?P<name>[a-z]+) -->\n.*?<!-- end of table -->", re.DOTALL)
_USES = {
    "pairs": "clean and noisy",
    "noisy-pairs": "two noisy shots of a scene",
    "single-noisy": "one noisy shot",
    "clean": "clean",
}
_NONE = "–"

Entry = Mapping[str, Any]


def rewritten(document: Path) -> str:
    """Return a document's text with its tables made anew.

    Raises:
        KeyError: If it asks for a table that there is not.
    """
    text = document.read_text(encoding="utf-8")
    if _TABLE.search(text) is None:
        return text
    entries: dict[str, list[Entry]] = {
        kind: [entry for entry in listed if entry.get("owner", "noisemill") == "noisemill"]
        for kind, listed in known().items()
    }

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        lines = _TABLES[name](entries, document.parent)
        return "\n".join([f"<!-- table: {name} -->", *lines, "<!-- end of table -->"])

    return _TABLE.sub(table, text)


def _generators(entries: Mapping[str, list[Entry]], folder: Path) -> list[str]:
    return _lines(
        ["name", "noise", "domain", "needs", "bundled weights"],
        [
            [_linked(g["name"], folder), g["summary"], _domain(g), _needs(g), _codes(g["weights"])]
            for g in entries["generators"]
        ],
    )


def _models(entries: Mapping[str, list[Entry]], folder: Path) -> list[str]:
    return _lines(
        ["model", "domain", "needs", "density", "bundled weights"],
        [
            [
                _linked(g["name"], folder),
                _domain(g),
                _needs(g),
                "exact" if _has_density(g["name"]) else _NONE,
                _codes(g["weights"]),
            ]
            for g in entries["generators"]
            if g["weights"] is not None
        ],
    )


def _trainings(entries: Mapping[str, list[Entry]], folder: Path) -> list[str]:
    return _lines(
        ["model", "domain", "sees", "what it is"],
        [
            [_linked(t["name"], folder), t["domain"], _USES[t["uses"]], t["summary"]]
            for t in entries["trainings"]
        ],
    )


def _denoisers(entries: Mapping[str, list[Entry]], folder: Path) -> list[str]:
    return _lines(
        ["denoiser", "what it is", "bundled weights"],
        [
            [_linked(d["name"], folder), d["summary"], _codes(d["weights"])]
            for d in entries["denoisers"]
        ],
    )


def _plain(kind: str) -> Callable[[Mapping[str, list[Entry]], Path], list[str]]:
    def table(entries: Mapping[str, list[Entry]], folder: Path) -> list[str]:
        rows = [[_linked(e["name"], folder), e["summary"]] for e in entries[f"{kind}s"]]
        return _lines([kind, "what it is"], rows)

    return table


def _linked(name: str, folder: Path) -> str:
    """Return a name, linked to its page where there is one."""
    page = ROOT / "docs" / "models" / f"{name}.md"
    return f"[`{name}`]({os.path.relpath(page, folder)})" if page.exists() else f"`{name}`"


def _domain(generator: Entry) -> str:
    accepts, gives = generator["accepts"], generator["gives"]
    return str(accepts) if accepts == gives else f"{accepts} to {gives}"


def _needs(generator: Entry) -> str:
    needs = set(generator["needs"])
    words = ["camera and ISO"] if {"camera", "iso"} <= needs else []
    words += [name for name in sorted(needs) if name not in ("camera", "iso", "reference")]
    return ", ".join([*words, *(["a noisy reference"] if "reference" in needs else [])]) or _NONE


def _has_density(name: str) -> bool:
    return hasattr(generators.REGISTRY.load(name), Likelihood.log_prob.__name__)


def _codes(names: list[str] | None) -> str:
    return ", ".join(f"`{name}`" for name in names or ()) or _NONE


def _lines(columns: list[str], rows: list[list[str]]) -> list[str]:
    cells = [columns, ["---"] * len(columns), *rows]
    return [
        f"| {' | '.join(row)} |".replace("| --- ", "|---").replace("--- |", "---|") for row in cells
    ]


_TABLES: dict[str, Callable[[Mapping[str, list[Entry]], Path], list[str]]] = {
    "generators": _generators,
    "models": _models,
    "trainings": _trainings,
    "denoisers": _denoisers,
    "sources": _plain("source"),
    "formats": _plain("format"),
    "metrics": _plain("metric"),
}


if __name__ == "__main__":
    for path in DOCUMENTS:
        if (text := rewritten(path)) != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
