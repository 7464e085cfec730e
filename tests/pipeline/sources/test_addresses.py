"""A source of another package whose images no file holds: one file, and no line of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.building.run import build
from pipeline.corpus.dataset import CorpusDataset
from pipeline.images import ImageError, read_header, read_pixels, read_unchanged
from pipeline.images.addresses import ADDRESSES
from pipeline.kinds import SOURCES
from pipeline.manifest.models import CorpusManifest

PLUG_IN = '''
from typing import Literal

import numpy as np

from pipeline.manifest.source_base import SourceBase
from pipeline.sources.base import Candidate, examine, label_of

SHIFT = 0


def read(uri):
    """Return picture N of ``far:N``."""
    rng = np.random.default_rng(int(uri.partition(":")[2]))
    return rng.integers(20, 200, (48, 64, 3)).astype(np.uint8) + np.uint8(SHIFT)


class FarSource(SourceBase):
    type: Literal["far"]
    count: int = 2

    def scan(self, splits):
        numbers = range(self.count)
        found = [Candidate(clean=f"far:{i}", scene=str(i)) for i in numbers]
        return examine(found, ["train"] * self.count, label_of(self))
'''


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far_source.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ADDRESSES, "built_in", {"far": "far_source:read"})
    plugged = {**SOURCES.built_in, "far": "far_source:FarSource"}
    monkeypatch.setattr(SOURCES, "targets", lambda: plugged)
    monkeypatch.setattr(type(SOURCES), "load", _load)


def _load(self: Any, name: str) -> Any:
    from importlib import import_module

    module, _, attribute = self.targets()[name].partition(":")
    return getattr(import_module(module), attribute)


def test_a_corpus_is_made_of_images_behind_an_address(
    far: None, corpus_manifest: Callable[..., CorpusManifest]
) -> None:
    manifest = corpus_manifest(sources=[{"type": "far", "count": 3}])
    build(manifest, inline=True, overwrite=False, style="quiet")
    rows = CorpusDataset(manifest.output.path)
    assert len(rows) == 72
    expected = read_pixels("far:0")[:16, :16].transpose(2, 0, 1) / np.float32(255)
    assert any(np.array_equal(row["clean"].numpy(), expected) for row in rows)


def test_what_lies_there_must_be_what_was_planned(
    far: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import far_source  # type: ignore[import-not-found]

    header = read_header("far:7")
    assert (header.height, header.width, header.channels) == (48, 64, 3)
    assert np.array_equal(read_unchanged("far:7", header.sha256), read_pixels("far:7"))
    with pytest.raises(ImageError, match="SHA-256 was"):
        read_unchanged("far:7", "0" * 64)
    monkeypatch.setattr(far_source, "read", lambda uri: np.zeros((4, 4)))
    with pytest.raises(ImageError, match=r"'far' gave shape \(4, 4\); expected \(H, W, C\)"):
        read_pixels("far:8")


def test_an_error_of_its_reader_refuses_that_image(far: None) -> None:
    with pytest.raises(ImageError, match="address scheme 'far'"):
        read_header("far:not-a-number")


def test_a_colon_in_a_file_name_is_no_scheme(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"near:1\.png"):
        read_header(str(tmp_path / "near:1.png"))
