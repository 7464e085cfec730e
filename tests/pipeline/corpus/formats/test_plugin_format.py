"""A format of another package, known by its entry point alone, goes where a built-in one goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generators import registry
from noisemill.testing.formats import CHECKS
from pipeline.building.estimate import estimate
from pipeline.building.run import build
from pipeline.corpus.card import CARD_NAME
from pipeline.corpus.dataset import CorpusDataset
from pipeline.corpus.formats import format_of_path, sink
from pipeline.corpus.reader import open_corpus
from pipeline.corpus.verify import verify
from pipeline.images import read_pixels
from pipeline.manifest.models import CorpusManifest
from pipeline.manifest.schema import json_schema
from tests.contracts.corpora import options

Make = Callable[..., CorpusManifest]
# The others write in a fresh process, which knows only what is installed.
IN_THIS_PROCESS = set(CHECKS) - {"equal_rows_give_equal_bytes", "survives_a_killed_writer"}


@pytest.fixture(autouse=True)
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    group, value = "noisemill.formats", "tests.pipeline.corpus.formats.npz:NpzSink"
    entry = EntryPoint(name="npz", value=value, group=group)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] * (group == entry.group))
    format_of_path.cache_clear()
    yield
    format_of_path.cache_clear()


def run(manifest: CorpusManifest, **how: Any) -> Any:
    return build(manifest, inline=True, style="quiet", **{"overwrite": False, **how})


@pytest.mark.parametrize("check", sorted(IN_THIS_PROCESS))
def test_it_keeps_the_contract(check: str, tmp_path: Path) -> None:
    CHECKS[check](sink("npz", options()), str(tmp_path))


def test_a_corpus_of_it_is_made_verified_resumed_read_and_told(corpus_manifest: Make) -> None:
    manifest = corpus_manifest(output={"formats": ["npz", "hdf5"]})
    root = Path(manifest.output.path)
    index = run(manifest).index
    assert index.formats == ["hdf5", "npz"]
    assert 0.8 < index.totals.bytes / estimate(manifest).bytes < 3  # small patches, large columns
    assert verify(str(root), deep=True).problems == []

    shard = root / index.shards[2].files[0].path
    assert shard.suffix == ".npz"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + b"x")
    (root / "npz/stray.npz").write_bytes(b"")
    problems = verify(str(root), deep=True).problems
    assert [line.partition(":")[0] for line in problems] == [f"npz/{shard.name}", "npz/stray.npz"]
    (root / "npz/stray.npz").unlink()
    assert run(manifest).index.shards[2].files == index.shards[2].files  # made again
    assert shard.read_bytes() == good

    row, same = (open_corpus(root, format=name)[17] for name in ("npz", "hdf5"))
    np.testing.assert_array_equal(row["noisy"], same["noisy"])
    sample, other = CorpusDataset(root, format="npz")[17], CorpusDataset(root)[17]
    assert torch.equal(sample["clean"], other["clean"])
    np.testing.assert_array_equal(read_pixels(f"{shard}#1/noisy"), open_corpus(root)[17]["noisy"])
    assert f"npz/{shard.name}" in (root / CARD_NAME).read_text()


def test_a_corpus_of_it_is_a_source_and_is_cleared_when_replaced(
    corpus_manifest: Make, tmp_path: Path
) -> None:
    first = corpus_manifest(output={"formats": ["npz"]})
    index = run(first).index
    assert open_corpus(first.output.path).index.formats == ["npz"]
    again = corpus_manifest(
        sources=[{"type": "corpus", "path": first.output.path}],
        generators=[{"name": "awgn", "params": {"sigma": 5}}],
        output={"path": str(tmp_path / "second"), "formats": ["npz"]},
    )
    assert run(again).index.totals.rows > 0
    run(corpus_manifest(seed=8, output={"formats": ["hdf5"]}), overwrite=True)
    assert index.totals.rows
    assert not list(Path(first.output.path).rglob("*.npz"))


def test_manifests_and_their_schema_know_it(corpus_manifest: Make) -> None:
    assert corpus_manifest(output={"formats": ["npz"]}).output.formats == ["npz"]
    assert '"npz"' in json.dumps(json_schema(plug_ins=True))
