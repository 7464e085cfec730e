"""A corpus made while training: its manifest's patches, and new noise on them in every step.

The plan is that of the corpus: the same photographs, places, splits, audit and share of each
generator. Only the noise is new: row i of step s has its own seed, so a patch never carries the
same noise twice and nothing is written. Pixels are clipped and rounded as the corpus would store
them. The patches of a planned shard are cut together; how many are kept is the memory's question
(:mod:`pipeline.training.data.shuffle_buffer`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.base import Domain, NoiseRequest, NoiseSample
from generators.capture import CaptureMetadata
from generators.sample_check import checked_sample
from generators.seeds import patch_seed
from generators.training import TrainingBatch
from pipeline.building.plan import PlannedShard
from pipeline.building.recipe import LoadedGenerator
from pipeline.building.reject_budget import RejectBudget, check_photographs
from pipeline.building.run import Prepared, inline_stages, prepare, task_for
from pipeline.building.stages.work import CutShard
from pipeline.manifest.models import CorpusManifest
from pipeline.pixels import quantise, to_nhwc, to_unit_nchw
from pipeline.training.data.pair_rows import Crops, Pair, random_crops, stacked, unlabelled
from pipeline.training.data.shuffle_buffer import ShuffleBuffer

__all__ = ["StreamedRows"]


class StreamedRows:
    """Rows of a corpus that is never written.

    Args:
        manifest: Of the corpus.
        crops: How rows are cut.
        split: Only patches of this split; ``None`` for all.
        generators: Only patches through these generators, by key; ``None`` for all.
        twice: Whether rows are two noisy images of a patch, not its clean and noisy one.
        memory: Bytes of patches that may be kept.
        device: Where generators run that can be moved.

    Attributes:
        ready: The generators and the plan.
        domain: Of the images.
        channels: Of the images.
        sources: SHA-256 of the photographs that patches are cut from, and their scenes.

    Raises:
        ValueError: If the manifest cannot be carried out, or lacks the split or a generator.
        RejectBudgetError: If more photographs or patches are refused than it allows; patches that
            are cut later, in windows, are counted then.
        FileNotFoundError: If a source or weights do not exist.
    """

    def __init__(
        self,
        manifest: CorpusManifest,
        crops: Crops,
        *,
        split: str | None,
        generators: Sequence[str] | None,
        twice: bool,
        memory: int,
        device: str,
    ) -> None:
        self.ready: Prepared = prepare(manifest)
        plan, limit = self.ready.plan, manifest.limits.max_rejected
        check_photographs(plan.rejects, len(plan.records), limit)
        self._crops, self._twice = crops, twice
        self._shards = _choose(self.ready, split, generators)
        self._cut, generate = inline_stages(self.ready)
        generate.place(device, torch.get_num_threads())
        self.domain: Domain = self.ready.loaded[0].generator.gives
        raw, grey = self.domain == "raw", manifest.patches.color == "grey"
        self.channels = 4 if raw else 1 if grey else 3
        images = {int(i) for shard in self._shards for i in shard.image}
        records = [self.ready.plan.records[i] for i in sorted(images)]
        self.records = records
        self.sources = {record.sha256: record.scene for record in records}
        # Generators make float32 of whatever type the photographs have; 16 bits are the usual most.
        self._budget = RejectBudget(sum(map(len, self._shards)), limit)
        self._counted: set[int] = set()
        patch = 2 * manifest.patches.size**2 * self.channels
        self._buffer: ShuffleBuffer[CutShard] = ShuffleBuffer(
            [len(shard) for shard in self._shards],
            [patch * len(shard) for shard in self._shards],
            self._load,
            seed=crops.seed,
            memory=memory,
        )

    @property
    def how(self) -> str:
        """How patches are read: ``from memory`` or ``in windows``."""
        return self._buffer.how

    def __len__(self) -> int:
        return len(self._buffer)

    def rows(self, step: int, numbers: Sequence[int]) -> TrainingBatch:
        """Return some rows of a step's batch."""
        crops = random_crops(self._crops, step)
        visits = [
            _Visit.of(*self._buffer.at(step * self._crops.size + number)) for number in numbers
        ]
        cut: list[tuple[NDArray[Any], ...]] = [()] * len(numbers)
        for generator, indices in _by_generator(visits).items():
            seeds = [patch_seed(self._crops.seed, str(step), str(numbers[i])) for i in indices]
            noised = self._noised(self.ready.loaded[generator], [visits[i] for i in indices], seeds)
            for i, pair in zip(indices, noised, strict=True):
                cut[i] = tuple(crops(image, numbers[i]) for image in pair)
        names = ("noisy", "second") if self._twice else ("clean", "noisy")
        images = {name: stacked([pair[k] for pair in cut]) for k, name in enumerate(names)}
        return unlabelled(images, len(numbers))

    def _load(self, number: int) -> CutShard:
        cut = self._cut(task_for(self.ready, self._shards[number]))
        if number not in self._counted:  # a window comes back in every epoch
            self._counted.add(number)
            self._budget.add(cut.rejects)
        if not len(cut.rows):
            reasons = "; ".join(f"{r.uri}: {r.detail}" for r in cut.rejects[:3])
            raise ValueError(
                f"stream: all {len(self._shards[number])} patches of a part were refused: {reasons}"
            )
        return cut

    def _noised(
        self, one: LoadedGenerator, visits: Sequence[_Visit], seeds: Sequence[int]
    ) -> list[Pair]:
        """Return the two images of rows of one generator."""
        first = self._sample(one, visits, seeds)
        noisy = self._stored(first.noisy)
        if not self._twice:
            return list(zip(self._stored(first.clean), noisy, strict=True))
        again = self._sample(one, visits, [patch_seed(seed, "second") for seed in seeds])
        return list(zip(noisy, self._stored(again.noisy), strict=True))

    def _sample(
        self, one: LoadedGenerator, visits: Sequence[_Visit], seeds: Sequence[int]
    ) -> NoiseSample:
        records = [v.cut.task.records[int(v.cut.task.shard.image[v.planned])] for v in visits]
        clean = torch.stack([to_unit_nchw(v.cut.clean[v.row]) for v in visits])
        asks = "reference" in one.generator.needs
        reference = [v.cut.reference[v.row] for v in visits if v.cut.reference is not None]
        capture = CaptureMetadata.of([record.capture for record in records])
        return checked_sample(
            one.generator,
            NoiseRequest.of(
                one.generator,
                clean=clean,
                capture=capture,
                seeds=seeds,
                reference=torch.stack([to_unit_nchw(one) for one in reference]) if asks else None,
            ),
            name=one.spec.key,
            where=lambda i: visits[i].cut.task.where(visits[i].planned),
        )

    def _stored(self, images: Tensor) -> NDArray[Any]:
        return quantise(to_nhwc(images.float()), self.ready.manifest.output.encoding)


@dataclass(frozen=True, slots=True)
class _Visit:
    """What a row of a step shows.

    Args:
        cut: The patches that were cut together with its own.
        row: Its patch among those that were not refused.
        planned: Its patch in the plan.
    """

    cut: CutShard
    row: int
    planned: int

    @classmethod
    def of(cls, cut: CutShard, row: int) -> _Visit:
        """Return the visit of a planned row; one that was refused gives its turn to another."""
        row %= len(cut.rows)
        return cls(cut, row, int(cut.rows[row]))


def _by_generator(visits: Sequence[_Visit]) -> dict[int, list[int]]:
    """Return the indices of the visits that each generator puts noise on."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, visit in enumerate(visits):
        groups[int(visit.cut.task.shard.generator[visit.planned])].append(i)
    return groups


def _choose(
    ready: Prepared, split: str | None, generators: Sequence[str] | None
) -> list[PlannedShard]:
    """Return the planned shards, with the wanted rows only."""
    keys = [one.spec.key for one in ready.loaded]
    for key in generators or []:
        if key not in keys:
            raise ValueError(f"stream: there is no generator '{key}'; it has {', '.join(keys)}.")
    wanted = [keys.index(key) for key in generators] if generators else list(range(len(keys)))
    found = []
    for shard in ready.plan.shards:
        rows = np.flatnonzero(np.isin(shard.generator, wanted))
        if (split is None or shard.name.split == split) and len(rows):
            columns = (getattr(shard, name)[rows] for name in ("image", "y", "x", "generator"))
            found.append(PlannedShard(shard.index, shard.name, *columns))
    if not found:
        splits = sorted({shard.name.split for shard in ready.plan.shards})
        raise ValueError(
            f"stream: the corpus would have no patch of split '{split}'; it has "
            f"{', '.join(splits)}. Correct `split`, or the manifest's `splits`."
        )
    return found
