"""What a source gives: candidates, before a file is opened; records and rejects, after.

A layout (one file of this package each) lists *candidates*: file names and what is known of them.
:func:`examine` then reads every header in a thread pool and turns each candidate into an
:class:`ImageRecord` or a :class:`Reject`, in the order of the list.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from generators.capture import CaptureValue, capture_column
from pipeline.corpus.index import CorpusIndex
from pipeline.images import Header, ImageError, display, read_header
from pipeline.manifest.models import SourceBase, Split
from pipeline.records import ImageRecord, Reject, Role

__all__ = ["UNSPECIFIED", "Candidate", "Scan", "examine", "label_of", "with_capture"]

UNSPECIFIED = "unspecified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A photograph or pair by name.

    Args:
        clean: URI of the clean image; of the first noisy one where the role is ``noisy``.
        noisy: URI of its noisy partner.
        scene: Scene name, valid Unicode.
        split: Split as given by the source or its metadata; by hash of the scene if None.
        camera: Camera name, if known.
        iso: ISO speed, if known.
        further: Further capture metadata, by column.
        license: Licence of the photograph.
        second: URI of a second noisy image of the scene.
        role: ``noisy`` where there is no clean image.
        details: What else is known of it.
    """

    clean: str
    scene: str
    noisy: str | None = None
    split: Split | None = None
    camera: str | None = None
    iso: int | None = None
    further: tuple[tuple[str, CaptureValue], ...] = ()
    license: str = UNSPECIFIED
    second: str | None = None
    role: Role = "clean"
    details: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """What the sources of a manifest hold, in a fixed order.

    Args:
        records: The images.
        rejects: What was refused.
        indexes: By absolute root, the index of each corpus that was read.
    """

    records: list[ImageRecord] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    indexes: dict[str, CorpusIndex] = field(default_factory=dict)


def label_of(source: SourceBase) -> str:
    """Return the source's name in rows and reports."""
    return source.label or str(getattr(source, "type", "source"))


def examine(candidates: Sequence[Candidate], splits: Sequence[Split], label: str) -> Scan:
    """Read the headers of all candidates of one source.

    Args:
        candidates: What the layout found.
        splits: The split of each.
        label: Name of the source.

    Returns:
        One record or reject a candidate, in order. Of several candidates with equal clean files,
        the first is taken.
    """
    uris: dict[str, None] = {}
    for candidate in candidates:
        uris[candidate.clean] = None
        for partner in (candidate.noisy, candidate.second):
            if partner is not None:
                uris[partner] = None
    headers = _read_headers(uris)
    scan = Scan()
    seen: dict[str, Candidate] = {}
    for candidate, split in zip(candidates, splits, strict=True):
        outcome = _judge(candidate, split, label, headers)
        if isinstance(outcome, Reject):
            scan.rejects.append(outcome)
            continue
        first = seen.setdefault(outcome.image_id, candidate)
        # Two given splits that differ are left to the check over all sources: an error, no reject.
        if first is candidate or None not in (first.split, candidate.split):
            scan.records.append(outcome)
        else:
            scan.rejects.append(duplicate(candidate.clean, first.clean))
    return scan


def with_capture(record: ImageRecord, given: Mapping[str, CaptureValue]) -> ImageRecord:
    """Return a record with what the manifest says of how it was taken, where nothing is known.

    Args:
        record: What a source gave.
        given: Values by column, for all images of the source.

    Raises:
        ValueError: If a column of the record is not known, or its value is none of it.
    """
    if not given and not record.further:
        return record
    known = {name: value for name, value in record.capture.items() if value is not None}
    every = {**given, **known}
    for name, value in record.further:
        try:
            every[name] = capture_column(name).check(value)
        except ValueError as error:
            raise ValueError(
                f"source '{record.source}' gives capture column '{name}' of "
                f"{display(record.uri)}: {error}"
            ) from error
    camera, iso = every.pop("camera", None), every.pop("iso", None)
    return replace(
        record,
        camera=None if camera is None else str(camera),
        iso=None if iso is None else int(iso),
        further=tuple(sorted(every.items())),
    )


def duplicate(uri: str, first: str) -> Reject:
    """Return the reject of a file that is equal to an earlier one."""
    return Reject(
        uri=display(uri),
        reason="duplicate",
        detail=f"same content as {display(first)}; taken once.",
    )


def _read_headers(uris: Iterable[str]) -> dict[str, Header | ImageError]:
    def read(uri: str) -> Header | ImageError:
        try:
            return read_header(uri)
        except ImageError as error:
            return error

    names = list(uris)
    # Hashing and disk reads release the interpreter lock; each thread holds one file in memory.
    with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as pool:
        return dict(zip(names, pool.map(read, names), strict=True))


def _judge(
    candidate: Candidate, split: Split, label: str, headers: dict[str, Header | ImageError]
) -> ImageRecord | Reject:
    clean = headers[candidate.clean]
    if isinstance(clean, ImageError):
        return _refuse(candidate.clean, clean, partner=candidate.noisy)
    partners: list[Header | None] = []
    for uri in (candidate.noisy, candidate.second):
        partner = None if uri is None else headers[uri]
        if isinstance(partner, ImageError):
            return _refuse(uri or "", partner, partner=candidate.clean)
        if partner is not None and (refused := _mismatch(candidate, clean, uri or "", partner)):
            return refused
        partners.append(partner)
    noisy, second = partners
    return ImageRecord(
        image_id=clean.sha256[:32],
        uri=candidate.clean,
        sha256=clean.sha256,
        height=clean.height,
        width=clean.width,
        channels=clean.channels,
        depth=clean.depth,
        scene=candidate.scene,
        split=split,
        source=label,
        license=candidate.license,
        domain="raw" if clean.channels == 4 else "srgb",
        camera=candidate.camera,
        iso=candidate.iso,
        noisy_uri=candidate.noisy,
        noisy_sha256=None if noisy is None else noisy.sha256,
        second_uri=candidate.second,
        second_sha256=None if second is None else second.sha256,
        role=candidate.role,
        further=candidate.further,
        details=candidate.details,
    )


def _mismatch(candidate: Candidate, clean: Header, uri: str, partner: Header) -> Reject | None:
    """Refuse a partner of another size than the first image."""
    ours, theirs = ((x.height, x.width, x.channels) for x in (clean, partner))
    if ours == theirs:
        return None
    first = "the clean image" if candidate.role == "clean" else "the first noisy image"
    return Reject(
        uri=display(uri),
        reason="size-mismatch",
        detail=f"height, width, channels {theirs}; {first} "
        f"{display(candidate.clean)} has {ours}. The two must show the same pixels.",
    )


def _refuse(uri: str, error: ImageError, partner: str | None) -> Reject:
    if error.reason == "missing" and partner is not None:
        detail = f"no such file; it is the partner of {display(partner)}."
        return Reject(uri=display(uri), reason="missing-partner", detail=detail)
    return Reject(uri=display(uri), reason=error.reason, detail=error.detail)
