"""What ``noisemill audit`` looks at, and how it tells what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from pipeline.audit import DEFAULT_LIMITS, AuditRow
from pipeline.cli.output import count_of, print_table
from pipeline.manifest.load import load_manifest
from pipeline.manifest.models import AuditLimits, PairsSource, Source, Splits
from pipeline.records import ImageRecord, Reject
from pipeline.sources import scan
from pipeline.sources.base import label_of
from pipeline.storage import exists, local_folder

__all__ = ["Pairs", "pairs_of", "print_audit"]

_COLUMNS = (
    "scene",
    "camera",
    "ISO",
    "offset",
    "good regions",
    "noise",
    "corr x",
    "corr y",
    "shift",
)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs to be measured, what was refused among them, and limits by source label."""

    records: list[ImageRecord]
    rejects: list[Reject]
    limits: Mapping[str, AuditLimits]


def pairs_of(
    folder_or_manifest: str, *, metadata: str | None, clean: str | None, noisy: str | None
) -> Pairs:
    """Return the pairs of a folder or of a manifest's sources.

    Args:
        folder_or_manifest: A folder or URL, or a manifest's file or bundled name.
        metadata: CSV below the folder.
        clean: Glob of the clean images.
        noisy: Glob of the noisy images.

    Raises:
        ValueError: If there are no pairs.
    """
    sources = _sources(folder_or_manifest, metadata, clean, noisy)
    found = scan(sources, Splits())
    records = [record for record in found.records if record.noisy_uri is not None]
    if not records:
        why = "".join(f"\n  {reject.uri}: {reject.detail}" for reject in found.rejects[:10])
        raise ValueError(f"{folder_or_manifest} holds no clean/noisy pairs.{why}")
    pairs = [source for source in sources if isinstance(source, PairsSource)]
    limits = {label_of(s): s.audit for s in pairs if s.audit is not None}
    return Pairs(records, found.rejects, limits)


def print_audit(rows: Sequence[AuditRow], limits: Mapping[str, AuditLimits]) -> None:
    """Print a line a pair, the reasons of suspicion, and what to do about it."""
    verdicts = [row.verdict(limits.get(row.record.source)) for row in rows]
    print_table(
        [*_COLUMNS, "verdict"],
        [
            [
                row.record.scene,
                row.record.camera or "-",
                row.record.iso or "-",
                *_measures(row, _max_offset(limits.get(row.record.source))),
                "unreadable" if row.audit is None else "suspect" if why else "sound",
            ]
            for row, why in zip(rows, verdicts, strict=True)
        ],
        title="Offset and noise in grey levels of 255, shift in pixels",
    )
    suspects = sum(bool(why) for why in verdicts)
    if suspects:
        click.echo("\nWhy suspect:")
        print_table(
            ["", ""],
            [
                [row.record.scene, reason]
                for row, why in zip(rows, verdicts, strict=True)
                for reason in why
            ],
        )
    click.echo(f"\n{_conclusion(rows, limits, suspects)}")


def _conclusion(rows: Sequence[AuditRow], limits: Mapping[str, AuditLimits], suspects: int) -> str:
    regions = good = 0
    for row in rows:
        if row.audit is not None:
            regions += row.audit.offsets.size
            far = row.audit.far_regions(_max_offset(limits.get(row.record.source)))
            good += row.audit.offsets.size - far
    share = f"{good / regions:.0%} of all regions" if regions else "no region"
    text = (
        f"{count_of(len(rows), 'pair')}: {len(rows) - suspects} sound, {suspects} suspect. "
        f"{share[0].upper()}{share[1:]} have a brightness offset within the limit."
    )
    if suspects:
        text += (
            "\nTo keep the good regions and leave out the others, set `audit: {max_offset: 1}` at "
            "the source of a corpus, `data.max_offset: 1` in a training."
        )
    return text


def _max_offset(limits: AuditLimits | None) -> float:
    given = None if limits is None else limits.max_offset
    return DEFAULT_LIMITS["max_offset"] if given is None else given


def _measures(row: AuditRow, max_offset: float) -> list[str]:
    found = row.audit
    if found is None:
        return ["-"] * 6
    good = 1.0 - found.far_regions(max_offset) / found.offsets.size
    return [
        f"{found.offset:+.2f}",
        f"{good:.0%}",
        f"{found.noise:.2f}",
        f"{found.correlation_x:.2f}",
        f"{found.correlation_y:.2f}",
        "-" if found.shift is None else f"{found.shift.pixels:.2f}",
    ]


def _sources(name: str, metadata: str | None, clean: str | None, noisy: str | None) -> list[Source]:
    if metadata is None and clean is None and noisy is None:
        folder = local_folder(name)
        if folder is not None and folder.is_dir() and not exists(name, "metadata.csv"):
            raise click.UsageError(
                f"folder {name} has no metadata.csv; give --metadata, or both --clean and --noisy."
            )
        if not exists(name, "metadata.csv"):
            loaded = load_manifest(name).manifest
            if loaded.kind == "corpus":
                return list(loaded.sources)
            if loaded.kind == "train-generator":
                return list(loaded.data.sources)
            if loaded.kind == "train-denoiser":
                return [s for one in loaded.data.inputs if one.pairs for s in one.pairs.sources]
            raise click.UsageError(f"{name} is of kind {loaded.kind}, which names no pairs itself.")
        metadata = "metadata.csv"
    if metadata is None and (clean is None or noisy is None):
        raise click.UsageError("give --metadata, or both --clean and --noisy.")
    return [PairsSource(type="pairs", path=name, metadata=metadata, clean=clean, noisy=noisy)]
