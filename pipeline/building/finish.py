"""The end of a run: rejects, card, index, report.

``corpus.json`` makes the folder a corpus, so everything that belongs to the corpus is there before
it; only the report comes later, because it reads the corpus. A run that finds everything there
and said leaves every file as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.building.plan import Plan
from pipeline.building.recipe import LoadedGenerator, recipe_sha256
from pipeline.corpus.card import CARD_NAME, write_card
from pipeline.corpus.index import (
    CorpusIndex,
    GeneratorEntry,
    SourceEntry,
    Totals,
    is_corpus,
    load_corpus,
    write_index,
)
from pipeline.corpus.provenance import git_revision, hardware, software_versions, utc_now
from pipeline.corpus.repeats import promise
from pipeline.corpus.shard_records import ShardRecord
from pipeline.images import ImageError, read_pixels
from pipeline.manifest.models import CorpusManifest
from pipeline.records import merged
from pipeline.report import collect_samples, real_pairs_from, write_report
from pipeline.report.page import REPORT_NAME
from pipeline.sources.base import label_of
from pipeline.storage import DatasetError, StorageError, exists, join, publish

__all__ = ["finish"]

REJECTED_NAME = "rejected.jsonl"


def finish(
    manifest: CorpusManifest,
    loaded: Sequence[LoadedGenerator],
    plan: Plan,
    records: Sequence[ShardRecord],
    *,
    seconds: float,
) -> tuple[CorpusIndex, str | None]:
    """Publish everything behind the shards.

    Args:
        manifest: The corpus.
        loaded: Its generators.
        plan: Its plan.
        records: Every shard's record, in order.
        seconds: Wall time of the run so far.

    Returns:
        The index, and where the report is, if the manifest wants one.
    """
    root = manifest.output.path
    told = manifest.model_dump(mode="json")
    before = _published(root)
    complete = all(exists(root, name) for name in (REJECTED_NAME, CARD_NAME))
    if complete and before is not None and _same(before, told, plan, records):
        if not manifest.report or exists(root, REPORT_NAME):
            return before, join(root, REPORT_NAME) if manifest.report else None
        return before, _report(root, before, plan)
    _write_rejects(root, plan, records)
    index = CorpusIndex(
        name=manifest.name,
        manifest=told,
        manifest_sha256=recipe_sha256(manifest),
        plan_sha256=plan.sha256,
        seed=manifest.seed,
        created=utc_now(),
        software=software_versions(),
        git=git_revision(),
        hardware=hardware(_gpu_names()),
        generators=[_generator(one) for one in loaded],
        sources=_sources(manifest, plan),
        shards=list(records),
        totals=Totals.of(records, seconds=seconds),
    )
    write_card(root, index)
    write_index(root, index)
    return index, _report(root, index, plan) if manifest.report else None


def _published(root: str) -> CorpusIndex | None:
    """Return the index that is there, if it can be read."""
    if not is_corpus(root):
        return None
    try:
        return load_corpus(root)
    except (FileNotFoundError, DatasetError, StorageError):
        return None


def _same(
    index: CorpusIndex, told: dict[str, Any], plan: Plan, records: Sequence[ShardRecord]
) -> bool:
    """Return True if the index is up to date.

    How fast a run was allowed to be makes no corpus another one; its licence or name does.
    """
    ways = ("resources", "limits", "report")
    was, now = ({k: v for k, v in m.items() if k not in ways} for m in (index.manifest, told))
    return (
        index.plan_sha256 == plan.sha256
        and was == now
        and list(map(_made, index.shards)) == list(map(_made, records))
    )


def _made(record: ShardRecord) -> tuple[object, ...]:
    return record.processor, *record.files


def _report(root: str, index: CorpusIndex, plan: Plan) -> str:
    paired = any(record.noisy_uri for record in plan.records)
    try:
        real = real_pairs_from(plan.records, read_pixels) if paired else None
        samples = collect_samples(root, index, real_pairs=real)
    except ImageError:
        # The corpus is finished; photographs that went away since take only the comparison along.
        samples = collect_samples(root, index)
    return write_report(root, index, samples)


def _write_rejects(root: str, plan: Plan, records: Sequence[ShardRecord]) -> None:
    rejects = [*plan.rejects, *(reject for record in records for reject in record.rejects)]
    lines = [json.dumps(one.to_dict(), ensure_ascii=False) + "\n" for one in merged(rejects)]
    publish(root, REJECTED_NAME, "".join(lines).encode("utf-8", "backslashreplace"))


def _generator(one: LoadedGenerator) -> GeneratorEntry:
    return GeneratorEntry(
        key=one.spec.key,
        name=one.spec.name,
        revision=one.generator.revision,
        weights=one.spec.weights,
        weights_sha256=one.weights_sha256,
        license=one.license,
        repeats=promise(same_bits=one.same_bits, precision=one.precision),
    )


def _sources(manifest: CorpusManifest, plan: Plan) -> list[SourceEntry]:
    images = Counter(record.source for record in plan.records)
    found: dict[str, set[str]] = {}
    for record in plan.records:
        found.setdefault(record.source, set()).add(record.license)
    licenses = {label: "; ".join(sorted(several)) for label, several in found.items()}
    return [
        SourceEntry(
            label=label_of(source),
            type=source.type,
            license=source.license or licenses.get(label_of(source)),
            images=images[label_of(source)],
        )
        for source in manifest.sources
    ]


def _gpu_names() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
