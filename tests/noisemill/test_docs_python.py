"""The blocks of docs/python.md run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_every_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    if not PAGE.is_file():
        pytest.skip("the documents are in the checkout only")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(block, names)
    assert "manifest" in capsys.readouterr().out.splitlines()
