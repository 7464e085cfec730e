"""Generate: put noise on the patches of a shard, in fixed padded batches.

One instance lives in each actor and holds the generators, loaded once. Batches are always full: the
last one of a generator is padded with copies of its last row, because a convolution's result
differs in the last bits between batch sizes, and a patch must not depend on how many neighbours it
happens to have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from generators.base import NoiseRequest, NoiseSample
from generators.capture import CaptureMetadata
from generators.sample_check import SampleError, checked_sample
from generators.seeds import patch_seed
from pipeline.building.plan import patch_id
from pipeline.building.recipe import LoadedGenerator
from pipeline.building.stages.work import CutShard, MadeShard
from pipeline.corpus.columns import noise_std
from pipeline.corpus.repeats import processor
from pipeline.pixels import SampleType, quantise, to_nhwc, to_unit_nchw
from pipeline.records import ImageRecord

__all__ = ["GenerateStage"]


class GenerateStage:
    """Runs the generators of a manifest.

    Args:
        loaded: The generators, in the manifest's order.
        seed: The manifest's seed.
        size: Side of a patch, pixels.
        batch_size: Rows of every batch.
        encoding: Type of stored samples.
    """

    def __init__(
        self,
        loaded: Sequence[LoadedGenerator],
        *,
        seed: int,
        size: int,
        batch_size: int,
        encoding: SampleType,
    ) -> None:
        self.loaded, self.seed, self.size = loaded, seed, size
        self.batch_size, self.encoding = batch_size, encoding
        self.processor = processor("cpu")

    def place(self, device: str, threads: int) -> None:
        """Pin CPU threads and move generators that can be moved to a device."""
        torch.set_num_threads(threads)
        self.processor = processor(device)
        for one in self.loaded:
            one.generator.place(device)

    def __call__(self, cut: CutShard) -> MadeShard:
        """Put noise on one shard."""
        started = time.monotonic()
        shard, rows = cut.task.shard, cut.rows
        records = [cut.task.records[int(i)] for i in shard.image[rows]]
        places = list(zip(shard.y[rows].tolist(), shard.x[rows].tolist(), strict=True))
        keys = [self.loaded[int(g)].spec.key for g in shard.generator[rows]]
        ids = [patch_id(r, y, x, self.size) for r, (y, x) in zip(records, places, strict=True)]
        seeds = [patch_seed(self.seed, i, key) for i, key in zip(ids, keys, strict=True)]
        made: list[tuple[NDArray[Any], NDArray[Any], str] | None] = [None] * len(rows)
        for number, one in enumerate(self.loaded):
            mine = np.flatnonzero(shard.generator[rows] == number)
            for start in range(0, len(mine), self.batch_size):
                chosen = mine[start : start + self.batch_size]
                for row, result in zip(
                    chosen, self._batch(one, cut, records, seeds, chosen), strict=True
                ):
                    made[int(row)] = result
        done = [one for one in made if one is not None]
        clean = np.stack([one[0] for one in done]) if done else cut.clean
        noisy = np.stack([one[1] for one in done]) if done else cut.clean
        columns = self._columns(cut, records, places, keys, ids, seeds, clean, noisy)
        columns["params"] = [one[2] for one in done]
        return MadeShard(
            task=cut.task,
            clean=clean,
            noisy=noisy,
            columns=columns,
            rejects=cut.rejects,
            seconds=cut.seconds + time.monotonic() - started,
            processor=self.processor,
        )

    def _batch(
        self,
        one: LoadedGenerator,
        cut: CutShard,
        records: Sequence[ImageRecord],
        seeds: Sequence[int],
        chosen: NDArray[np.int64],
    ) -> list[tuple[NDArray[Any], NDArray[Any], str]]:
        """Return clean, noisy and parameters of the chosen rows."""
        padded = np.concatenate([chosen, np.repeat(chosen[-1:], self.batch_size - len(chosen))])
        clean = to_unit_nchw(cut.clean[padded])
        capture = CaptureMetadata.of([records[int(i)].capture for i in padded])
        reference = None if cut.reference is None else to_unit_nchw(cut.reference[padded])
        sample = checked_sample(
            one.generator,
            NoiseRequest.of(
                one.generator,
                clean=clean,
                capture=capture,
                seeds=[seeds[int(i)] for i in padded],
                reference=reference,
            ),
            name=one.spec.key,
            where=lambda i: cut.task.where(int(cut.rows[padded[i]])),
        )
        return self._rows(one.spec.key, sample, len(chosen))

    def _rows(
        self, key: str, sample: NoiseSample, count: int
    ) -> list[tuple[NDArray[Any], NDArray[Any], str]]:
        clean = quantise(to_nhwc(sample.clean[:count].float()), self.encoding)
        noisy = quantise(to_nhwc(sample.noisy[:count].float()), self.encoding)
        params = [dict(sample.params[i]) if sample.params else {} for i in range(count)]
        texts = [_json(key, values) for values in params]
        return list(zip(clean, noisy, texts, strict=True))

    def _columns(
        self,
        cut: CutShard,
        records: Sequence[ImageRecord],
        places: Sequence[tuple[int, int]],
        keys: Sequence[str],
        ids: Sequence[str],
        seeds: Sequence[int],
        clean: NDArray[Any],
        noisy: NDArray[Any],
    ) -> dict[str, Any]:
        by_key = {one.spec.key: one for one in self.loaded}
        height, width = clean.shape[1:3]
        return {
            "sample_id": [f"{i}-{key}" for i, key in zip(ids, keys, strict=True)],
            "source_id": [r.image_id for r in records],
            "source_sha256": [r.sha256 for r in records],
            "source_uri": [r.uri for r in records],
            "scene": [r.scene for r in records],
            "crop_y": [y for y, _ in places],
            "crop_x": [x for _, x in places],
            "height": [height] * len(records),
            "width": [width] * len(records),
            "generator": list(keys),
            "generator_revision": [by_key[key].generator.revision for key in keys],
            "weights_sha256": [by_key[key].weights_sha256 for key in keys],
            "camera": [r.camera for r in records],
            "iso": [r.iso for r in records],
            "seed": list(seeds),
            "split": [r.split for r in records],
            "noise_std": noise_std(clean, noisy),
            "domain": [by_key[key].generator.gives for key in keys],
            **{name: [r.capture.get(name) for r in records] for name in cut.task.further},
        }


def _json(key: str, values: dict[str, Any]) -> str:
    try:
        return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SampleError(
            f"generator '{key}' gave params that are no finite JSON values: {values!r} ({error}). "
            "Give numbers and texts only."
        ) from None
