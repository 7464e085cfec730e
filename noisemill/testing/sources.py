"""The contract of a source, as checks that any implementation can be put through.

class TestMySource(SourceContract):
def case(self) -> SourceCase:
return SourceCase(make=make)        # writes files into a folder, returns the source
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.images import read_pixels
from pipeline.manifest.models import Splits
from pipeline.manifest.source_base import SourceBase
from pipeline.pixels import sample_type
from pipeline.records import ImageRecord
from pipeline.sources import Scan

__all__ = ["CHECKS", "SourceCase", "SourceContract"]


@dataclass(frozen=True, kw_only=True)
class SourceCase:
    """A source and how its files may be changed.

    Args:
        make: Writes the source's files into an empty folder, always the same, and returns the
            source that reads them. At least two images.
        rename: Gives the files of the folder other names that the source takes as well; ``None``
            where names are part of the layout.
        spoil: Damages one image of the folder; ``None`` where the source has no files of its own.
    """

    make: Callable[[Path], SourceBase]
    rename: Callable[[Path], None] | None = None
    spoil: Callable[[Path], None] | None = None


def scan(source: SourceBase) -> Scan:
    """Return what a source holds."""
    found: Scan = source.scan(Splits())
    return found


def check_records_equal_what_is_read(case: SourceCase, folder: Path) -> None:
    found = scan(case.make(folder))
    assert len(found.records) >= 2, f"only {len(found.records)} images"
    assert found.rejects == []
    for record in found.records:
        for view, (uri, sha256) in record.views().items():
            pixels = read_pixels(uri)
            expected = (record.height, record.width, record.channels)
            assert pixels.shape == expected, f"{view} of {uri} is {pixels.shape}, not {expected}"
            assert len(sha256) == 64, f"{view} of {uri} has no SHA-256"
        assert sample_type(read_pixels(record.uri).dtype) == record.depth


def check_records_are_complete(case: SourceCase, folder: Path) -> None:
    records = scan(case.make(folder)).records
    assert len({record.image_id for record in records}) == len(records), "ids are not unique"
    for record in records:
        assert len(record.image_id) == 32
        assert record.split in ("train", "val", "test")
        assert record.domain in ("srgb", "raw")
        assert record.scene
        assert record.source
        assert record.license


def check_the_order_of_the_directory_does_not_matter(case: SourceCase, folder: Path) -> None:
    source = case.make(folder)
    before = scan(source)
    with listed_backwards():
        assert scan(source).records == before.records, "records follow the order of the directory"


def check_renames_change_no_id_and_no_pixels(case: SourceCase, folder: Path) -> None:
    source = case.make(folder)
    before = by_id(scan(source).records)
    if case.rename is None:
        return
    case.rename(folder)
    after = by_id(scan(source).records)
    assert after.keys() == before.keys(), "ids changed with names"
    assert {r.uri for r in after.values()} != {r.uri for r in before.values()}, "nothing renamed"


def check_another_folder_gives_the_same_ids_and_splits(case: SourceCase, folder: Path) -> None:
    one, two = folder / "one", folder / "two"
    one.mkdir()
    two.mkdir()
    first, second = (scan(case.make(place)).records for place in (one, two))
    assert [(r.image_id, r.split) for r in first] == [(r.image_id, r.split) for r in second]


def check_rejects_carry_reasons_and_leave_the_others(case: SourceCase, folder: Path) -> None:
    source = case.make(folder)
    before = by_id(scan(source).records)
    if case.spoil is None:
        return
    case.spoil(folder)
    found = scan(source)
    assert len(found.rejects) == 1, f"{len(found.rejects)} rejects of one damaged image"
    for reject in found.rejects:
        assert reject.reason
        assert " " not in reject.reason, f"{reject.reason!r} cannot be counted"
        assert reject.detail
        assert reject.uri
    left = by_id(found.records)
    assert len(left) == len(before) - 1
    assert all(before[key] == record for key, record in left.items()), "other records changed"


CHECKS: dict[str, Callable[[SourceCase, Path], None]] = {
    name.removeprefix("check_"): check
    for name, check in sorted(globals().items())
    if name.startswith("check_")
}


def by_id(records: list[ImageRecord]) -> dict[str, ImageRecord]:
    """Return records by image id."""
    return {record.image_id: record for record in records}


@contextmanager
def listed_backwards() -> Iterator[None]:
    """Let the file system list every folder in another order."""
    real_scan, real_list = os.scandir, os.listdir

    class Backwards:
        def __init__(self, *path: Any) -> None:
            with real_scan(*path) as entries:
                self.entries = iter(sorted(entries, key=lambda e: e.name, reverse=True))

        def __enter__(self) -> Backwards:
            return self

        def __exit__(self, *error: object) -> None: ...

        def __iter__(self) -> Iterator[Any]:
            return self.entries

        def __next__(self) -> Any:
            return next(self.entries)

        def close(self) -> None: ...

    patch = pytest.MonkeyPatch()
    patch.setattr(os, "scandir", Backwards)
    patch.setattr(os, "listdir", lambda *path: sorted(real_list(*path), reverse=True))
    try:
        yield
    finally:
        patch.undo()


class SourceContract:
    """The contract as tests; derive, call it ``Test...``, and say what the case is."""

    def case(self) -> SourceCase:
        """Return the source and how its files may be changed."""
        raise NotImplementedError("a SourceContract needs case(), which returns a case.")

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_contract(self, check: Callable[[SourceCase, Path], None], tmp_path: Path) -> None:
        check(self.case(), tmp_path)
