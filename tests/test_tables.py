"""Tables of README and docs are those of the registries."""

from __future__ import annotations

from pathlib import Path

import pytest

tables = pytest.importorskip("tools.tables", reason="tools stay in the checkout")


def test_documents_hold_the_tables_of_the_registries() -> None:
    stale = [
        str(path.relative_to(tables.ROOT))
        for path in tables.DOCUMENTS
        if tables.rewritten(path) != path.read_text(encoding="utf-8")
    ]
    assert stale == [], "write them again: python -m tools.tables"


def test_every_kind_has_a_table_somewhere() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in tables.DOCUMENTS)
    for name in tables._TABLES:
        assert f"<!-- table: {name} -->\n" in text, name


def test_a_stale_table_is_made_anew_and_the_rest_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: formats -->\nold\n<!-- end of table -->\nb\n")
    text = tables.rewritten(page)
    assert text.startswith(
        "a\n<!-- table: formats -->\n| format | what it is |\n|---|---|\n| `hdf5`"
    )
    assert text.endswith("<!-- end of table -->\nb\n")
    assert "old" not in text
    page.write_text("<!-- table: colours -->\n<!-- end of table -->")
    with pytest.raises(KeyError, match="colours"):
        tables.rewritten(page)
