"""Manifests of small evaluations, and a small corpus of real pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.building.run import build
from pipeline.manifest.models import CorpusManifest, EvaluateManifest


@pytest.fixture
def pairs(pair_folder: Path) -> dict[str, Any]:
    """A source of two 48x64 pairs, desk and wall, of camera X at ISO 800."""
    return {
        "type": "pairs",
        "path": str(pair_folder),
        "clean": "*_mean.png",
        "noisy": "*_Real.png",
        "camera": "X",
        "iso": 800,
        "split": "val",
    }


@pytest.fixture
def evaluation(tmp_path: Path) -> Callable[..., EvaluateManifest]:
    """Makes evaluation manifests that write below ``evaluation`` and use no Ray."""

    def make(**changes: Any) -> EvaluateManifest:
        data: dict[str, Any] = {
            "kind": "evaluate",
            "name": "small",
            "report": False,
            "resources": {"inline": True},
            "output": {"path": str(tmp_path / "evaluation")},
        }
        return EvaluateManifest.model_validate({**data, **changes})

    return make


@pytest.fixture
def pair_corpus(
    corpus_manifest: Callable[..., CorpusManifest], pairs: dict[str, Any]
) -> CorpusManifest:
    """A finished corpus: 24 patches of the pairs, each with its real noise and with white noise."""
    manifest = corpus_manifest(
        sources=[pairs],
        generators=[{"name": "real"}, {"name": "awgn", "params": {"sigma": 9}}],
    )
    build(manifest, inline=True, overwrite=False, style="quiet")
    return manifest
