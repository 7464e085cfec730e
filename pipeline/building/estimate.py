"""Before spending: what a run would make, how long it would take, and what it needs.

The rate is measured, not guessed: one batch of each generator is made on this machine from real
patches of the plan, after one to warm up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.building.progress import duration
from pipeline.building.run import Prepared, inline_stages, prepare, task_for
from pipeline.corpus.formats import format_of
from pipeline.engine.connection import cluster_machine, connected
from pipeline.engine.resources import ActorPool, Machine, actor_pool_for, local_machine
from pipeline.manifest.models import CorpusManifest
from pipeline.pixels import sample_bytes
from pipeline.records import Reject

__all__ = ["Estimate", "estimate"]

# From `ray.init` until the first shard is in work: a local cluster on 2 cores.
_RAY_START_S = 10
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The answer of ``noisemill plan``."""

    images: int
    rejected_images: int
    patches: int
    shards: int
    splits: dict[str, int]
    generators: dict[str, int]
    bytes: int
    seconds: float
    patches_per_s: dict[str, float]
    pool: ActorPool
    machine: Machine
    notes: tuple[str, ...] = ()

    def rows(self) -> list[list[object]]:
        """Return what a person reads, one line each."""
        generators = ", ".join(
            f"{key} {count:,} ({self.patches_per_s[key]:.0f}/s an actor)"
            for key, count in self.generators.items()
        )
        splits = ", ".join(f"{split} {count:,}" for split, count in self.splits.items())
        return [
            ["images", f"{self.images:,} ({self.rejected_images:,} refused)"],
            ["patches", f"{self.patches:,} ({splits})"],
            ["generators", generators],
            ["shards", f"{self.shards:,}"],
            ["size", f"about {self.bytes / 1e6:,.1f} MB"],
            ["time", self._time()],
            [
                "needs",
                f"{self.pool.actors * self.pool.cpus:g} of {self.machine.cpus} CPUs for actors, "
                f"the rest for reading and writing; {self.pool.actors * self.pool.gpus:g} of "
                f"{self.machine.gpus} GPUs",
            ],
        ]

    def _time(self) -> str:
        work = f"about {duration(self.seconds)}" if self.seconds >= 1 else "under 1 s"
        actors = "1 actor" if self.pool.actors == 1 else f"{self.pool.actors} actors"
        return f"{work} with {actors}, after some {_RAY_START_S} s in which Ray starts"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "images": self.images,
            "rejected_images": self.rejected_images,
            "patches": self.patches,
            "shards": self.shards,
            "splits": self.splits,
            "generators": self.generators,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 1),
            "patches_per_second_an_actor": self.patches_per_s,
            "actors": self.pool.actors,
            "cpus_per_actor": self.pool.cpus,
            "gpus_per_actor": self.pool.gpus,
            "cpus": self.machine.cpus,
            "gpus": self.machine.gpus,
            "notes": list(self.notes),
        }


def estimate(manifest: CorpusManifest) -> Estimate:
    """Plan a corpus and measure what it costs.

    Raises:
        PlanError: If the plan cannot run, or would wait for ever.
        ValueError: If the manifest cannot be carried out.
    """
    machine = _machine(manifest)
    pool = actor_pool_for(manifest.resources, machine)
    ready = prepare(manifest)
    rates = _rates(ready, pool.threads)
    keys = [one.spec.key for one in ready.loaded]
    numbers = Counter[int]()
    splits = Counter[str]()
    for shard in ready.plan.shards:
        for number, count in zip(*np.unique(shard.generator, return_counts=True), strict=True):
            numbers[int(number)] += int(count)
        splits[shard.name.split] += len(shard)
    counts = {keys[number]: count for number, count in sorted(numbers.items())}
    work = sum(count / rates[key] for key, count in counts.items())
    return Estimate(
        images=len(ready.plan.records),
        rejected_images=len(ready.plan.rejects),
        patches=ready.plan.patches,
        shards=len(ready.plan.shards),
        splits=dict(splits),
        generators=counts,
        bytes=_bytes(ready),
        seconds=work / min(pool.actors, machine.cpus),
        patches_per_s={key: round(rate, 2) for key, rate in rates.items()},
        pool=pool,
        machine=machine,
        notes=_notes(ready.plan.rejects),
    )


def _machine(manifest: CorpusManifest) -> Machine:
    if manifest.resources.address is None:
        return local_machine()
    with connected(manifest.resources.address, local_machine()):
        return cluster_machine()


def _rates(ready: Prepared, threads: int) -> dict[str, float]:
    """Measure patches a second of each generator, one actor's threads."""
    cut, generate = inline_stages(ready)
    generate.place("cpu", threads)
    batch = ready.manifest.resources.batch_size
    shard = ready.plan.shards[0]
    chosen = np.arange(min(batch, len(shard)))
    rates = {}
    for number, one in enumerate(ready.loaded):
        part = replace(
            shard,
            image=shard.image[chosen],
            y=shard.y[chosen],
            x=shard.x[chosen],
            generator=np.full(len(chosen), number, np.int16),
        )
        pieces = cut(task_for(ready, part))
        if not len(pieces.rows):
            rates[one.spec.key] = float("nan")
            continue
        generate(pieces)
        started = time.perf_counter()
        generate(pieces)
        rates[one.spec.key] = len(pieces.rows) / (time.perf_counter() - started)
    known = [rate for rate in rates.values() if rate == rate]
    slowest = min(known, default=1.0)
    return {key: rate if rate == rate else slowest for key, rate in rates.items()}


def _notes(rejects: Sequence[Reject]) -> tuple[str, ...]:
    notes = [f"refused: {reject.uri}: {reject.detail}" for reject in rejects[:_SHOWN]]
    if len(rejects) > _SHOWN:
        notes.append(f"... and {len(rejects) - _SHOWN} more")
    return tuple(notes)


def _bytes(ready: Prepared) -> int:
    manifest, output = ready.manifest, ready.manifest.output
    channels = 3.0 if manifest.patches.color == "rgb" else 1.0
    if ready.plan.records[0].domain == "raw":
        channels = 4.0
    elif ready.loaded[0].generator.gives == "raw":
        channels = 1.0  # four channels of half the height and width
    samples = 2 * ready.plan.patches * manifest.patches.size**2 * channels
    raw = samples * sample_bytes(output.encoding)
    return int(sum(raw * format_of(f).stored_share(output.encoding) for f in output.formats))
