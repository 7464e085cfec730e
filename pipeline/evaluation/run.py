"""One evaluation: its rows in turn, each kept when it is done, then the files for people.

    evaluation.json   everything: manifest, conventions, software, every row with all its groups
    evaluation.csv    the same numbers flat, one line a row and group
    evaluation.md     the tables
    report.html       the page
    rows/             one JSON file a row; what makes a second run go on where the first stopped

What is wrong with the data ends an evaluation before its first row; what is wrong with one
generator or denoiser fails its row, which says why, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from pipeline.building.progress import Style, duration, tell
from pipeline.canonical import sha256_of
from pipeline.corpus.provenance import git_revision, hardware, software_versions, utc_now
from pipeline.engine.connection import connected
from pipeline.engine.resources import local_machine
from pipeline.evaluation.rows import Row, row_store
from pipeline.evaluation.tables import conventions, figures_csv, markdown, printed
from pipeline.evaluation.tasks import Job, Prepared, prepare
from pipeline.kinds import METRICS
from pipeline.lock import run_lock
from pipeline.manifest.models import EvaluateManifest
from pipeline.measure.metrics.quality import QUALITY_CONVENTIONS, QualityConvention
from pipeline.results.rows import failure_text, json_text
from pipeline.storage import join, publish

__all__ = ["Evaluated", "evaluate"]

# Raised only when the meaning of a figure changes: rows of another version are measured again.
FIGURES_VERSION = 1
# What decides no figure.
_WAYS = {
    "name",
    "description",
    "output",
    "report",
    "resources",
    "corpus",
    "generators",
    "denoisers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What an evaluation found.

    Args:
        manifest: The evaluation.
        rows: Its rows, in order.
        path: Its folder.
        files: The files it wrote, below the folder.
        seconds: Time it took.
        taken_over: Rows that were there already.
    """

    manifest: EvaluateManifest
    rows: Sequence[Row]
    path: str
    files: Sequence[str]
    seconds: float
    taken_over: int

    def row(self, name: str) -> Row:
        """Return a row by name.

        Raises:
            KeyError: If there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "path": self.path,
            "files": list(self.files),
            "seconds": round(self.seconds, 3),
            "taken_over": self.taken_over,
            "conventions": conventions(self.manifest, self.rows),
            "rows": [row.to_dict() for row in self.rows],
        }

    def describe(self) -> str:
        """Return the table and where the rest is."""
        failed = [f"{row.name} failed: {row.error}" for row in self.rows if not row.done]
        before = f", {self.taken_over} taken over" if self.taken_over else ""
        count = f"{len(self.rows)} row{'s' if len(self.rows) != 1 else ''}"
        where = [join(self.path, name) for name in self.files]
        return "\n".join(
            [
                printed(self.manifest, self.rows),
                *failed,
                f"\n{count}{before}; {duration(self.seconds)}.",
                *where,
            ]
        )


def evaluate(manifest: EvaluateManifest, *, source: str = "", style: Style = "quiet") -> Evaluated:
    """Measure a corpus, generators or denoisers, or go on with an interrupted evaluation.

    Args:
        manifest: The evaluation.
        source: Where the manifest is, for the record.
        style: How progress is shown.

    Returns:
        All rows, failed ones included.

    Raises:
        FileNotFoundError: If a corpus or a folder of pairs is not there.
        ValueError: If there is nothing to measure on.
        DatasetError: If a corpus is damaged.
        StorageError: If the output cannot be written, or another run is at work there.
        RuntimeError: If every row failed.
    """
    started = time.monotonic()
    root = manifest.output.path
    torch.set_num_threads(manifest.resources.threads)
    with run_lock(root):
        tell(style, "reading what is measured on")
        prepared = prepare(manifest)
        for line in prepared.notes:
            tell(style, line)
        base = _figures_follow_from(manifest, prepared)
        keys = {job.name: sha256_of({**base, "row": job.content}) for job in prepared.jobs}
        store = row_store(root)
        kept = {name: store.load(name, key) for name, key in keys.items()}
        taken = sum(row is not None for row in kept.values())
        rows = []
        with _workers(manifest, wanted=taken < len(keys)):
            for job in prepared.jobs:
                row = kept[job.name]
                if row is None:
                    row = _measure(job, keys[job.name], style)
                    store.save(row)
                rows.append(row)
        found = Evaluated(
            manifest=manifest,
            rows=rows,
            path=root,
            files=("evaluation.json", "evaluation.csv", "evaluation.md")
            + (("report.html",) if manifest.report else ()),
            seconds=time.monotonic() - started,
            taken_over=taken,
        )
        _publish(found, source)
    measured = [row for row in rows if row.kind != "input"]
    if not any(row.done for row in measured):
        reasons = "\n  ".join(f"{row.name}: {row.error}" for row in measured)
        raise RuntimeError(f"no row could be measured:\n  {reasons}")
    return found


def _figures_follow_from(manifest: EvaluateManifest, prepared: Prepared) -> Mapping[str, Any]:
    # Each row carries its own condition: another level leaves the rows of the first as they are.
    exclude: dict[str, Any] = {
        **dict.fromkeys(_WAYS, True),
        "data": {"awgn", "noise"},
        "metrics": {"also"},
    }
    # Only where there are some: rows of before there were others are still good.
    others = {name: METRICS.load(name).revision for name in manifest.metrics.also}
    return {
        "version": FIGURES_VERSION,
        "manifest": manifest.model_dump(mode="json", exclude=exclude),
        "data": prepared.content,
        **({"metrics": others} if others else {}),
    }


def _workers(manifest: EvaluateManifest, *, wanted: bool) -> AbstractContextManager[None]:
    """Join or start the cluster once for all rows, where they are measured on one."""
    if not wanted or manifest.corpus is None or manifest.resources.inline:
        return nullcontext()
    return connected(manifest.resources.address, local_machine())


def _measure(job: Job, key: str, style: Style) -> Row:
    """Measure one row; whatever goes wrong with it is its error."""
    started = time.monotonic()
    empty = Row(name=job.name, kind=job.kind, key=key, about=job.about)
    tell(style, f"measuring {job.name}")
    try:
        figures, more = job.run(_every_ten_seconds(job.name, style))
    except Exception as error:
        seconds = round(time.monotonic() - started, 3)
        text = failure_text(error)
        tell(style, f"{job.name} failed: {text}")
        return replace(empty, error=text, seconds=seconds)
    return replace(
        empty,
        figures=figures,
        about={**job.about, **more},
        seconds=round(time.monotonic() - started, 3),
    )


def _every_ten_seconds(name: str, style: Style) -> Callable[[int], None]:
    told = time.monotonic()

    def after(count: int) -> None:
        nonlocal told
        if time.monotonic() - told > 10.0:
            told = time.monotonic()
            tell(style, f"{name}: {count:,} measured")

    return after


def _publish(found: Evaluated, source: str) -> None:
    manifest, root = found.manifest, found.path
    quality = {str(n): str(QUALITY_CONVENTIONS[QualityConvention(n)]) for n in QualityConvention}
    record = {
        "format": "noisemill-evaluation",
        "format_version": FIGURES_VERSION,
        "name": manifest.name,
        "created": utc_now(),
        "source": source,
        "manifest": manifest.model_dump(mode="json"),
        "conventions": conventions(manifest, found.rows),
        "quality_conventions": {name: quality[name] for name in manifest.metrics.quality},
        "software": software_versions(),
        "git": git_revision(),
        "hardware": hardware(),
        "rows": [row.to_dict() for row in found.rows],
    }
    publish(root, "evaluation.json", json_text(record).encode())
    publish(root, "evaluation.csv", figures_csv(found.rows).encode())
    publish(root, "evaluation.md", markdown(manifest, found.rows).encode())
    if manifest.report:
        # Drawing takes a second, and its library is loaded where it is needed.
        from pipeline.report.evaluation import REPORT_NAME, render_evaluation

        publish(root, REPORT_NAME, render_evaluation(manifest, found.rows).encode())
