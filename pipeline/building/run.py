"""Building a corpus: plan, run what is missing, then publish the index.

    prepare   load generators, freeze the plan, look at what the output already holds
    run       make the missing shards, on Ray or in this process
    finish    rejected.jsonl, card, corpus.json (last), report

Whatever stops a run, finished shards stay; running the manifest again makes only what is missing
and ends with the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.building.finish import finish
from pipeline.building.plan import Plan, PlannedShard, make_plan
from pipeline.building.progress import Display, Style, tell
from pipeline.building.recipe import LoadedGenerator, load_generators, recipe_sha256
from pipeline.building.reject_budget import RejectBudget, check_photographs
from pipeline.building.resume import Resumed, look_at_output, refuse_foreign, remember_plan
from pipeline.building.stages.cut import CutStage
from pipeline.building.stages.generate import GenerateStage
from pipeline.building.stages.work import CutTask
from pipeline.building.stages.write import WriteStage
from pipeline.corpus.formats import SinkOptions
from pipeline.corpus.index import CorpusIndex
from pipeline.corpus.repeats import mixed_processors
from pipeline.corpus.shard_records import ShardRecord
from pipeline.engine.connection import cluster_machine, connected
from pipeline.engine.counters import ProgressCounters
from pipeline.engine.graph import run_on_ray
from pipeline.engine.in_process import run_in_process
from pipeline.engine.progress_actor import ProgressActor
from pipeline.engine.resources import actor_pool_for, local_machine
from pipeline.engine.work import Stages
from pipeline.lock import run_lock
from pipeline.manifest.models import CorpusManifest
from pipeline.sources.base import Scan, label_of
from pipeline.version import __version__

__all__ = ["Prepared", "Result", "build", "inline_stages", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that could start: manifest, generators and plan."""

    manifest: CorpusManifest
    loaded: list[LoadedGenerator]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Result:
    """What a run leaves.

    Args:
        index: The corpus's index.
        report: Where the report is, if one was written.
        made: Shards made now; the others were there.
        seconds: Wall time.
        patches_per_s: Rate of this run; 0 if nothing had to be made.
    """

    index: CorpusIndex
    report: str | None
    made: int
    seconds: float
    patches_per_s: float


def prepare(
    manifest: CorpusManifest,
    *,
    loaded: list[LoadedGenerator] | None = None,
    scanned: Scan | None = None,
) -> Prepared:
    """Load the generators and freeze the plan; nothing is written.

    Args:
        manifest: What to make.
        loaded: Its generators, where somebody loaded them before.
        scanned: Its sources, where somebody scanned them before.

    Raises:
        ValueError: If a generator, a source or the plan is wrong.
        FileNotFoundError: If a source or weights do not exist.
    """
    if loaded is None:
        loaded = load_generators(manifest.generators, precision=manifest.resources.precision)
    return Prepared(manifest, loaded, make_plan(manifest, loaded, scanned))


def build(
    manifest: CorpusManifest,
    *,
    inline: bool,
    overwrite: bool,
    style: Style,
    ready: Prepared | None = None,
) -> Result:
    """Make a corpus, or finish one.

    Args:
        manifest: What to make.
        inline: In this process, without Ray.
        overwrite: Start anew where the output holds a corpus of another manifest.
        style: How progress is shown.
        ready: The same manifest prepared, where somebody needed its plan before.

    Raises:
        ValueError: If the manifest cannot be carried out.
        RejectBudgetError: If too much was refused.
        StorageError: If the output cannot be written, or another run is at work there.
    """
    started = time.monotonic()
    root = manifest.output.path
    if not inline and root.startswith("memory:"):
        raise ValueError(
            f"output.path {root} is the memory of one process; workers would each write into their "
            "own. Add --inline, or give a folder or a URL."
        )
    refuse_foreign(root)
    ready = ready or prepare(manifest)
    check_photographs(ready.plan.rejects, len(ready.plan.records), manifest.limits.max_rejected)
    with run_lock(root):
        resumed = look_at_output(root, ready.plan, manifest, overwrite=overwrite)
        remember_plan(root, ready.plan, manifest)
        records = dict(resumed.done)
        missing = [shard for shard in ready.plan.shards if shard.index not in records]
        tell(style, _what_is_to_do(ready, missing))
        budget = RejectBudget(ready.plan.patches, manifest.limits.max_rejected)
        budget.add(reject for record in records.values() for reject in record.rejects)
        # Closed at once where it ends early, so that Ray stops before anything is told.
        with closing(_run(ready, missing, resumed, inline=inline, style=style)) as running:
            for record in running:
                records[record.index] = record
                budget.add(record.rejects)
        mixed = mixed_processors(record.processor for record in records.values() if record.rows)
        if mixed:
            tell(style, mixed)
        seconds = time.monotonic() - started
        ordered = [records[shard.index] for shard in ready.plan.shards]
        index, report = finish(ready.manifest, ready.loaded, ready.plan, ordered, seconds=seconds)
    rows = sum(records[shard.index].rows for shard in missing)
    return Result(index, report, len(missing), seconds, rows / seconds if missing else 0.0)


def _what_is_to_do(ready: Prepared, missing: Sequence[PlannedShard]) -> str:
    plan = ready.plan
    there = len(plan.shards) - len(missing)
    refused = f" ({len(plan.rejects):,} refused)" if plan.rejects else ""
    made = f" ({there:,} made before)" if there else ""
    return (
        f"{plan.patches:,} patches from {len(plan.records):,} photographs{refused}, "
        f"shards: {len(plan.shards):,}{made}"
    )


def inline_stages(ready: Prepared) -> tuple[CutStage, GenerateStage]:
    """Return the stages up to the stored pixels, for this process."""
    return _cut_stage(ready), _generate_stage(ready.loaded, ready.manifest)


def task_for(ready: Prepared, shard: PlannedShard) -> CutTask:
    """Return a shard's task with just the records it needs."""
    used = sorted({int(i) for i in shard.image})
    position = {image: i for i, image in enumerate(used)}
    local = [position[int(i)] for i in shard.image]
    limits = {
        label_of(source): source.audit
        for source in ready.manifest.sources
        if source.type == "pairs" and source.audit is not None
    }
    return CutTask(
        shard=replace(shard, image=np.asarray(local, dtype=shard.image.dtype)),
        records=[ready.plan.records[i] for i in used],
        limits=limits,
        further=ready.plan.further,
    )


def _run(
    ready: Prepared,
    missing: Sequence[PlannedShard],
    resumed: Resumed,
    *,
    inline: bool,
    style: Style,
) -> Generator[ShardRecord, None, None]:
    if not missing:
        return
    tasks = [task_for(ready, shard) for shard in missing]
    done = sum(record.planned for record in resumed.done.values())
    display = Display(ready.plan.patches, done=done, style=style)
    manifest = ready.manifest
    if inline:
        counters = ProgressCounters()
        stages = _stages(
            ready, lambda device, threads: _placed(ready.loaded, manifest, device, threads)
        )
        with display.watching(counters.snapshot):
            yield from run_in_process(
                tasks, stages, threads=manifest.resources.threads, counters=counters
            )
        return
    local, address = local_machine(), manifest.resources.address
    if address is None:
        actor_pool_for(manifest.resources, local)  # refuse before a cluster is started
    tell(style, "starting Ray" if address is None else f"joining the Ray cluster {address}")
    with connected(address, local):
        pool = actor_pool_for(manifest.resources, cluster_machine())
        progress = ProgressActor.start(manifest.limits.attempts_per_shard)
        with display.watching(progress.snapshot):
            yield from run_on_ray(
                tasks, _stages(ready, partial(_loaded, manifest)), pool=pool, progress=progress
            )


def _stages(ready: Prepared, generate: Callable[[str, int], GenerateStage]) -> Stages:
    return Stages(cut=_cut_stage(ready), generate=generate, write=_write_stage(ready))


def _loaded(manifest: CorpusManifest, device: str, threads: int) -> GenerateStage:
    """Return the generate stage of a worker, which loads the generators itself."""
    loaded = load_generators(manifest.generators, precision=manifest.resources.precision)
    return _placed(loaded, manifest, device, threads)


def _placed(
    loaded: Sequence[LoadedGenerator], manifest: CorpusManifest, device: str, threads: int
) -> GenerateStage:
    stage = _generate_stage(loaded, manifest)
    stage.place(device, threads)
    return stage


def _generate_stage(loaded: Sequence[LoadedGenerator], manifest: CorpusManifest) -> GenerateStage:
    return GenerateStage(
        loaded,
        seed=manifest.seed,
        size=manifest.patches.size,
        batch_size=manifest.resources.batch_size,
        encoding=manifest.output.encoding,
    )


def _cut_stage(ready: Prepared) -> CutStage:
    patches = ready.manifest.patches
    return CutStage(
        size=patches.size,
        color=patches.color,
        min_texture=patches.min_texture,
        references=any("reference" in one.generator.needs for one in ready.loaded),
    )


def _write_stage(ready: Prepared) -> WriteStage:
    output = ready.manifest.output
    return WriteStage(
        output.path,
        formats=output.formats,
        options=SinkOptions(
            manifest_sha256=recipe_sha256(ready.manifest),
            tool_version=__version__,
            settings=output.model_dump(mode="json"),
        ),
        plan_sha256=ready.plan.sha256,
    )
