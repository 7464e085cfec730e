"""docs/architecture.md names every room, and no room that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
# Rooms whose files the page lists one by one; of the others it names the folder.
BY_FILE = ("generators", "denoisers", "pipeline")


def section(package: str) -> str:
    """Return the page's text under a package's heading."""
    text = PAGE.read_text(encoding="utf-8")
    return text.partition(f"\n### {package}\n")[2].partition("\n### ")[0].partition("\n## ")[0]


def named(package: str) -> set[str]:
    """Return the first column's names: files and folders below the package."""
    rows = [row.split("|")[1] for row in section(package).splitlines() if row.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def rooms(package: str) -> set[str]:
    """Return the folders and modules directly below a package."""
    folder = ROOT / package
    modules = {p.name for p in folder.glob("*.py") if p.name != "__init__.py"}
    return modules | {f"{p.name}/" for p in folder.iterdir() if any(p.glob("*.py"))}


@pytest.mark.parametrize("package", BY_FILE)
def test_what_the_page_names_is_there(package: str) -> None:
    missing = sorted(n for n in named(package) if not (ROOT / package / n).exists())
    assert missing == []


@pytest.mark.parametrize("package", BY_FILE)
def test_every_room_is_on_the_page(package: str) -> None:
    tops = {name.split("/")[0] + ("/" if "/" in name else "") for name in named(package)}
    assert sorted(rooms(package) - tops) == []
