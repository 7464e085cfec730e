"""The plug-in keeps noisemill's contracts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from noisemill_rows.generator import RowNoise
from noisemill_rows.metric import RowShare
from noisemill_rows.source import ListSource
from PIL import Image

from noisemill.testing import (
    GeneratorCase,
    GeneratorContract,
    MetricCase,
    MetricContract,
    SourceCase,
    SourceContract,
)


class TestRowNoise(GeneratorContract):
    def case(self) -> GeneratorCase:
        return GeneratorCase(make=lambda: RowNoise(sigma=5))


class TestRowShare(MetricContract):
    def case(self) -> MetricCase:
        return MetricCase(make=RowShare, flips=True)


def photographs(folder: Path) -> ListSource:
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(
            folder / f"{name}.png"
        )
    (folder / "list.txt").write_text("a.png\nb.png  # the second\n")
    return ListSource(type="list", path=str(folder / "list.txt"))


def emptied(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"")


class TestList(SourceContract):
    def case(self) -> SourceCase:
        return SourceCase(make=photographs, spoil=emptied)
