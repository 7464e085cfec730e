"""The photographs behind rows that were cut from rows."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.building.run import build
from pipeline.corpus.index import load_corpus
from pipeline.manifest.models import CorpusManifest, CorpusSource
from pipeline.sources import photographs_of

Make = Callable[..., CorpusManifest]


@pytest.fixture
def chain(corpus_manifest: Make, tmp_path: Path) -> list[str]:
    """A corpus of photographs, one of its rows, and one of that one's."""
    roots: list[str] = []
    for number in range(3):
        source: dict[str, Any] = {"type": "corpus", "path": roots[-1]} if roots else {}
        output = {"path": str(tmp_path / f"corpus{number}"), "rows_per_shard": 50}
        changes: dict[str, Any] = {"splits": {"train": 0.5, "val": 0.5, "test": 0.0}}
        if roots:
            changes = {"sources": [source], "patches": {"size": 8}}
        manifest = corpus_manifest(output=output, **changes)
        build(manifest, inline=True, overwrite=False, style="quiet")
        roots.append(manifest.output.path)
    return roots


def of(root: str) -> dict[str, str]:
    return photographs_of([CorpusSource(type="corpus", label="made", path=root)])


def test_rows_of_rows_are_followed_to_the_photographs(chain: list[str], photo_folder: Path) -> None:
    photographs = set(of(chain[0]))
    files = {hashlib.sha256(path.read_bytes()).hexdigest() for path in photo_folder.rglob("*.png")}
    assert photographs == files
    for root in chain[1:]:
        found = of(root)
        assert photographs <= found.keys()
        assert load_corpus(root).totals.rows > 0


def test_only_the_photographs_of_the_rows_that_were_used_are_behind(
    chain: list[str], corpus_manifest: Make, tmp_path: Path
) -> None:
    split = min(load_corpus(chain[0]).splits)
    source = {"type": "corpus", "path": chain[0], "only": [split]}
    manifest = corpus_manifest(
        sources=[source], patches={"size": 8}, output={"path": str(tmp_path / "part")}
    )
    build(manifest, inline=True, overwrite=False, style="quiet")
    part = photographs_of([CorpusSource(type="corpus", path=chain[0], only=[split])])
    others = of(chain[0]).keys() - part.keys()
    assert others
    assert part.keys() <= of(manifest.output.path).keys()
    assert not others & of(manifest.output.path).keys()


def test_a_corpus_that_is_gone_ends_the_trail(chain: list[str]) -> None:
    photographs = of(chain[0]).keys()
    shutil.rmtree(chain[0])
    rows = of(chain[1])
    assert rows.keys() <= of(chain[2]).keys()
    assert not photographs & of(chain[2]).keys()
