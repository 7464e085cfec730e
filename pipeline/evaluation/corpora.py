"""The noise of a corpus, shard by shard, against real noise.

Two kinds of real noise can be had. If the corpus's photographs have noisy partners, each row is
held against the partner's own patch: KLD and AKLD block by block. Otherwise, or where the manifest
gives other pairs, all noise is held against all noise of those: pooled KLD, correlation map,
spectrum.

A shard is read a row at a time, so memory does not depend on its size; photographs come through the
cache of the worker's process, because neighbouring rows share them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpus.formats import FileRecord, open_shard
from pipeline.corpus.index import CorpusIndex
from pipeline.corpus.reader import open_corpus
from pipeline.evaluation.noise import SMALLEST, Measured, NoiseMeasure
from pipeline.images import read_unchanged
from pipeline.manifest.evaluation import CorpusSubject, EvaluationData, EvaluationMetrics
from pipeline.manifest.models import CorpusManifest, Splits
from pipeline.measure.blocks import grid_blocks
from pipeline.measure.metrics import Cell
from pipeline.measure.metrics.base import Floats
from pipeline.pixels import to_unit64
from pipeline.records import ImageRecord
from pipeline.sources import scan

__all__ = [
    "CorpusMeasure",
    "Opened",
    "PairMeasure",
    "ShardPiece",
    "cell_of",
    "check_size",
    "open_subject",
    "own_partners",
    "pairs_of",
    "told",
]

_KEYS = ("source_id", "crop_y", "crop_x", "generator", "camera", "iso", "scene")
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A corpus that was checked.

    Args:
        root: Folder or URL.
        index: Its index.
        files: One file of each shard, of the wanted split.
        generators: Keys of the wanted generators, in the corpus's order.
        size: Side of its patches, pixels.
    """

    root: str
    index: CorpusIndex
    files: Sequence[FileRecord]
    generators: Sequence[str]
    size: int

    @property
    def content(self) -> list[str]:
        """What the figures follow from: the hashes of the files."""
        return [file.sha256 for file in self.files]


@dataclass(frozen=True, slots=True)
class ShardPiece:
    """One shard's rows of one generator: a piece of work."""

    root: str
    file: FileRecord
    generator: str


def open_subject(subject: CorpusSubject) -> Opened:
    """Read the index and check the files, before any work.

    Raises:
        FileNotFoundError: If the folder is not a corpus.
        ValueError: If the split is empty or a generator is not there.
        DatasetError: If shards are missing or altered.
    """
    reader = open_corpus(
        subject.path,
        splits=None if subject.split is None else [subject.split],
        generators=subject.generators,
        check="checksums" if subject.verify else "sizes",
    )
    index = reader.index
    if not index.splits:
        raise ValueError(f"corpus {subject.path} holds no pairs at all.")
    return Opened(
        root=subject.path,
        index=index,
        files=[file for file in reader.files if file.rows],
        generators=reader.generators,
        size=int(index.manifest["patches"]["size"]),
    )


def own_partners(opened: Opened) -> dict[str, ImageRecord]:
    """Return the photographs of a corpus that have a noisy partner, by ``source_id``.

    Raises:
        ValueError: If there are none, or they are not where the corpus's manifest says.
    """
    manifest = CorpusManifest.model_validate(dict(opened.index.manifest))
    advice = "Give real pairs to hold it against: data.sources."
    try:
        found = scan(manifest.sources, manifest.splits)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the photographs of corpus {opened.root} cannot be read again ({error}) {advice}"
        ) from error
    partners = {r.image_id: r for r in found.records if r.noisy_uri is not None}
    if not partners:
        raise ValueError(f"the photographs of corpus {opened.root} have no real noise. {advice}")
    return partners


@dataclass(frozen=True)
class CorpusMeasure:
    """Measures the rows of one generator in one shard.

    Args:
        metrics: The manifest's part.
        partners: Photographs with a noisy partner, by ``source_id``; none if the noise is held
            against that of other pairs.
    """

    metrics: EvaluationMetrics
    partners: Mapping[str, ImageRecord]

    def __call__(self, piece: ShardPiece) -> Measured:
        """Return the sums over a shard's rows."""
        measure = NoiseMeasure(self.metrics.model_copy(update={"akld_samples": 1}))
        sums = measure.empty()
        with open_shard(piece.root, piece.file) as shard:
            columns = shard.columns(_KEYS)
            mine = [i for i, key in enumerate(columns["generator"]) if key == piece.generator]
            # By photograph, so that each is decoded once.
            for row in sorted(mine, key=lambda i: (columns["source_id"][i], i)):
                values = {name: columns[name][row] for name in _KEYS}
                clean, noisy = (to_unit64(np.asarray(image)) for image in shard.pair(row))
                real = self._real(values, clean.shape)
                measure.add(
                    sums,
                    cell_of(piece.generator, values["camera"], values["iso"], values["scene"]),
                    clean=clean,
                    fakes=[noisy - clean],
                    real=None if real is None else real[1] - real[0],
                    real_clean=None if real is None else real[0],
                )
        return sums

    def _real(
        self, values: Mapping[str, Any], shape: tuple[int, ...]
    ) -> tuple[Floats, Floats] | None:
        """Return the clean and noisy patch of the row's photograph."""
        record = self.partners.get(values["source_id"])
        if record is None or record.noisy_uri is None:
            return None
        y, x = int(values["crop_y"]), int(values["crop_x"])
        place = (slice(y, y + shape[0]), slice(x, x + shape[1]))
        views = record.views()
        clean, noisy = (read_unchanged(*views[view])[place] for view in ("clean", "noisy"))
        # A grey or raw corpus of colour photographs has no real partner of its own kind.
        return (to_unit64(clean), to_unit64(noisy)) if clean.shape == noisy.shape == shape else None


@dataclass(frozen=True)
class PairMeasure:
    """Measures the real noise of one pair, in blocks of the corpus's own size.

    Args:
        metrics: The manifest's part.
        block: Side of a block, pixels.
        grid: Blocks a side of the grid over the image.
    """

    metrics: EvaluationMetrics
    block: int
    grid: int

    def __call__(self, record: ImageRecord) -> Measured:
        """Return the sums over a pair's blocks."""
        measure = NoiseMeasure(self.metrics)
        sums = measure.empty()
        views = record.views()
        clean, noisy = (read_unchanged(*views[view]) for view in ("clean", "noisy"))
        cell = cell_of("real", record.camera, record.iso, record.scene)
        for y, x in grid_blocks(clean.shape[0], clean.shape[1], self.block, self.grid):
            place = (slice(y, y + self.block), slice(x, x + self.block))
            base = to_unit64(clean[place])
            measure.add_real(sums, cell, clean=base, real=to_unit64(noisy[place]) - base)
        return sums


def pairs_of(data: EvaluationData) -> list[ImageRecord]:
    """Return the real pairs of the manifest's sources.

    Raises:
        ValueError: If there are none.
    """
    found = scan(data.sources, Splits())
    pairs = [r for r in found.records if r.noisy_uri is not None]
    if not pairs:
        raise ValueError(f"data.sources hold no clean/noisy pairs.{told(found.rejects)}")
    return pairs


def told(rejects: Iterable[Any]) -> str:
    """Return what was refused, for a message; nothing if nothing was."""
    lines = [f"\n  {reject.uri}: {reject.detail}" for reject in rejects]
    if not lines:
        return ""
    more = f"\n  and {len(lines) - _MOST_TOLD} more" if len(lines) > _MOST_TOLD else ""
    return " Refused:" + "".join(lines[:_MOST_TOLD]) + more


def cell_of(generator: str, camera: str | None, iso: int | None, image: str | None) -> Cell:
    """Return a cell; empty texts and numbers stand for what is unknown."""
    return Cell(generator, camera or None, iso or None, image or None)


def check_size(opened: Opened) -> None:
    """Refuse patches that are too small for the correlation map.

    Raises:
        ValueError: If they are.
    """
    if opened.size < SMALLEST:
        raise ValueError(
            f"noise is measured on patches of at least {SMALLEST} pixels a side; those of "
            f"{opened.root} have {opened.size}."
        )
