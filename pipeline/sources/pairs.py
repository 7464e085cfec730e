"""Clean/noisy pairs: by a metadata CSV, or by two globs whose wildcards take the same text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from generators.capture import COLUMNS, CaptureValue, capture_column
from pipeline.images import ImageError, display
from pipeline.images.files import read_file
from pipeline.manifest.models import PairsSource, Split, Splits
from pipeline.records import Reject
from pipeline.sources.base import UNSPECIFIED, Candidate, Scan, examine, label_of
from pipeline.sources.listing import Found, glob_regex, list_images, locate
from pipeline.sources.splits import assign

__all__ = ["Matched", "match_globs", "scan_pairs"]

_SPLITS: dict[str, Split | None] = {"": None, "train": "train", "val": "val", "test": "test"}
_SHOWN = 5


def scan_pairs(source: PairsSource, splits: Splits) -> Scan:
    """Return the pairs of a folder, in the order of the CSV or sorted by their shared text.

    Raises:
        FileNotFoundError: If the folder or the CSV does not exist.
        ValueError: If the CSV is wrong (each mistake with its line) or no pair is found.
    """
    found = _by_csv(source, source.metadata) if source.metadata is not None else _by_globs(source)
    chosen = assign(found.candidates, splits)
    wanted = [i for i, split in enumerate(chosen) if source.only is None or split in source.only]
    if not wanted:
        raise ValueError(
            f"no pair of {display(source.path)} is in splits {', '.join(source.only or ())}; "
            f"its {len(chosen)} pairs are in {', '.join(sorted(set(chosen))) or 'none'}."
        )
    scan = examine(
        [found.candidates[i] for i in wanted], [chosen[i] for i in wanted], label_of(source)
    )
    return Scan(scan.records, found.rejects + scan.rejects)


@dataclass(frozen=True, slots=True)
class _Pairs:
    candidates: list[Candidate]
    rejects: list[Reject]


def _by_globs(source: PairsSource) -> _Pairs:
    matched = match_globs(
        source.path,
        list_images(source.path),
        clean=("clean", str(source.clean)),
        noisy=("noisy", str(source.noisy)),
    )
    candidates = [
        Candidate(
            clean=clean.uri,
            noisy=noisy.uri,
            scene=scene,
            split=source.split,
            camera=source.camera,
            iso=source.iso,
            license=source.license or UNSPECIFIED,
        )
        for scene, clean, noisy in matched.pairs
    ]
    return _Pairs(candidates, matched.rejects)


@dataclass(frozen=True, slots=True)
class Matched:
    """Files paired by the text of their wildcards: (that text, file, partner), and the others."""

    pairs: list[tuple[str, Found, Found]]
    rejects: list[Reject]


def match_globs(
    folder: str, files: Sequence[Found], *, clean: tuple[str, str], noisy: tuple[str, str]
) -> Matched:
    """Pair files whose wildcards stand for the same text.

    Args:
        folder: Where they are, for messages.
        files: All files there.
        clean: Name of the manifest's key, and the glob, of the first of each pair.
        noisy: The same of the second.

    Returns:
        The pairs, sorted by the text they share; files without a partner as rejects.

    Raises:
        ValueError: If the globs have different numbers of wildcards, or nothing pairs.
    """
    (clean_key, clean_glob), (noisy_key, noisy_glob) = clean, noisy
    groups = glob_regex(clean_glob).groups, glob_regex(noisy_glob).groups
    if groups[0] != groups[1]:
        raise ValueError(
            f"{clean_key} {clean_glob!r} has {groups[0]} wildcards and {noisy_key} {noisy_glob!r} "
            f"has {groups[1]}; the text they stand for pairs the files, so give equally many."
        )
    ours, theirs = _keyed(files, clean_glob), _keyed(files, noisy_glob)
    # With clean "*.png" and noisy "*_noisy.png" the noisy files fit both; the longer glob has them.
    if len(clean_glob) < len(noisy_glob):
        ours = _without(ours, theirs)
    else:
        theirs = _without(theirs, ours)
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise ValueError(
            f"no pair in folder {display(folder)}: {len(ours)} images fit {clean_key} "
            f"{clean_glob!r}, {len(theirs)} fit {noisy_key} {noisy_glob!r}, and none of them share "
            f"the wildcard's text; {len(files)} images in all. Correct `path`, `{clean_key}` or "
            f"`{noisy_key}`."
        )
    pairs = [
        ("".join(display(part) for part in key) or ours[key].text, ours[key], theirs[key])
        for key in shared
    ]
    rejects = _lonely(ours, theirs, f"{noisy_key} image {noisy_glob!r}")
    return Matched(pairs, rejects + _lonely(theirs, ours, f"{clean_key} image {clean_glob!r}"))


def _lonely(
    files: dict[tuple[str, ...], Found], partners: dict[tuple[str, ...], Found], lacking: str
) -> list[Reject]:
    """Return the rejects of the files that have no partner."""
    detail = f"no {lacking} with the same wildcard text."
    return [
        Reject(uri=display(files[key].uri), reason="missing-partner", detail=detail)
        for key in sorted(files.keys() - partners.keys())
    ]


def _keyed(files: Sequence[Found], glob: str) -> dict[tuple[str, ...], Found]:
    regex = glob_regex(glob)
    matches = ((regex.fullmatch(file.name), file) for file in files)
    return {match.groups(): file for match, file in matches if match is not None}


def _without(
    files: dict[tuple[str, ...], Found], others: dict[tuple[str, ...], Found]
) -> dict[tuple[str, ...], Found]:
    taken = set(others.values())
    return {key: file for key, file in files.items() if file not in taken}


def _by_csv(source: PairsSource, metadata: str) -> _Pairs:
    uri = locate(source.path, metadata)
    rows = csv.DictReader(io.StringIO(_csv_text(uri), newline=""), strict=True)
    missing = [name for name in ("clean", "noisy") if name not in (rows.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{display(uri)}, line 1: no column {' and '.join(missing)}; found "
            f"{', '.join(rows.fieldnames or ()) or 'nothing'}. Expected clean, noisy and "
            f"optionally scene, split, {', '.join(COLUMNS.names())}, separated by commas."
        )
    candidates: list[Candidate] = []
    mistakes: list[str] = []
    try:
        for row in rows:
            try:
                candidates.append(_csv_candidate(row, source))
            except ValueError as error:
                mistakes.append(f"line {rows.line_num}: {error}")
    except csv.Error as error:
        mistakes.append(f"after line {rows.line_num}: {error}; is a quotation mark left open?")
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise ValueError(f"{display(uri)}, {'; '.join(mistakes[:_SHOWN])}{more}")
    if not candidates:
        raise ValueError(f"{display(uri)} has a header and no rows; expected one pair a row.")
    return _Pairs(candidates, [])


def _csv_text(uri: str) -> str:
    try:
        return read_file(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{display(uri)} is not UTF-8 (byte {error.start}); save it as UTF-8."
        ) from None
    except ImageError as error:
        if error.reason == "missing":
            raise FileNotFoundError(f"{display(uri)} does not exist; correct `metadata`.") from None
        raise ValueError(f"{display(uri)}: {error.detail.replace('an image', 'a CSV')}") from None


def _csv_candidate(row: dict[str | None, str | None], source: PairsSource) -> Candidate:
    def cell(name: str) -> str:
        return (row.get(name) or "").strip()

    if None in row:
        raise ValueError("more cells than columns; put text with commas in quotation marks.")
    if None in row.values():
        raise ValueError("fewer cells than columns; an unknown value still needs its comma.")
    clean, noisy = cell("clean"), cell("noisy")
    if not clean or not noisy:
        raise ValueError(f"column {'noisy' if clean else 'clean'} is empty; expected a file name.")
    if cell("split") not in _SPLITS:
        raise ValueError(f"split {cell('split')!r}; expected train, val, test or nothing.")
    return Candidate(
        clean=locate(source.path, clean),
        noisy=locate(source.path, noisy),
        scene=cell("scene") or clean,
        split=_SPLITS[cell("split")] or source.split,
        camera=cell("camera") or source.camera,
        iso=_value("iso", cell("iso")) or source.iso,
        further=_further(row),
        license=source.license or UNSPECIFIED,
    )


def _further(row: dict[str | None, str | None]) -> tuple[tuple[str, CaptureValue], ...]:
    """Return the row's capture metadata beside camera and ISO; other columns are the reader's."""
    names = (name for name in COLUMNS.names() if name not in ("camera", "iso") and name in row)
    values = ((name, _value(name, row[name] or "")) for name in names)
    return tuple((name, value) for name, value in values if value is not None)


def _value(name: str, text: str) -> Any:
    try:
        return capture_column(name).read(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
