"""Manifests of small corpora, checked by the real models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest.models import CorpusManifest


@pytest.fixture
def corpus_manifest(tmp_path: Path, photo_folder: Path) -> Callable[..., CorpusManifest]:
    """Makes manifests over three 48x64 photographs: 36 patches, 72 rows, 9 shards.

    Keyword arguments change it: mappings are merged with what is there, the rest replaces it.
    """

    def make(**changes: Any) -> CorpusManifest:
        data: dict[str, Any] = {
            "kind": "corpus",
            "name": "small",
            "seed": 7,
            "sources": [{"type": "images", "path": str(photo_folder), "camera": "X", "iso": 800}],
            "patches": {"size": 16},
            "generators": [
                {"name": "awgn", "params": {"sigma": [5, 25]}},
                {"name": "heteroscedastic", "params": {"beta1": 0.01, "beta2": 1e-4}},
            ],
            "output": {"path": str(tmp_path / "corpus"), "rows_per_shard": 8},
            "resources": {"batch_size": 4, "actors": 1},
            "report": False,
        }
        for key, value in changes.items():
            data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
        return CorpusManifest.model_validate(data)

    return make


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and a URL."""
    local = request.param == "local"
    return str(tmp_path) if local else f"memory://corpus-{tmp_path.name}-{id(tmp_path)}"
