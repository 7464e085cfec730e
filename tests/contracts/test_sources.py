"""Every source keeps the contract, and the contract can fail."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noisemill.testing.sources import CHECKS, SourceCase
from pipeline.kinds import SOURCES
from pipeline.manifest.models import (
    CorpusSource,
    ImagesSource,
    MosaicsSource,
    NoisyPairsSource,
    PairsSource,
    PhotographsSource,
    SiddSource,
    Splits,
)
from pipeline.manifest.source_base import SourceBase
from pipeline.pictures.saving import save_picture
from pipeline.records import Reject
from pipeline.sources import Scan
from tests.contracts.corpora import write_corpus
from tests.contracts.raw_files import mosaic_of, write_png, write_sidd


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 40, 3), dtype=np.uint8)


def images(folder: Path) -> SourceBase:
    for seed, name in enumerate(("a", "b", "below/c")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_picture(folder / f"{name}.png", picture(seed))
    return ImagesSource(type="images", path=str(folder), split="train")


def pairs(folder: Path) -> SourceBase:
    for seed, name in enumerate("abc"):
        save_picture(folder / f"{name}_mean.png", picture(seed))
        save_picture(folder / f"{name}_real.png", picture(seed + 10))
    return PairsSource(type="pairs", path=str(folder), clean="*_mean.png", noisy="*_real.png")


def pairs_of_a_table(folder: Path) -> SourceBase:
    pairs(folder)
    lines = ["clean,noisy,scene,camera,iso"]
    lines += [f"{name}_mean.png,{name}_real.png,{name},S6,800" for name in "abc"]
    (folder / "metadata.csv").write_text("\n".join(lines))
    return PairsSource(type="pairs", path=str(folder), metadata="metadata.csv")


def corpus(folder: Path) -> SourceBase:
    write_corpus(str(folder))
    return CorpusSource(type="corpus", path=str(folder))


def noisy_pairs(folder: Path) -> SourceBase:
    for seed, name in enumerate("abc"):
        save_picture(folder / f"{name}_1.png", picture(seed))
        save_picture(folder / f"{name}_2.png", picture(seed + 10))
    return NoisyPairsSource(type="noisy-pairs", path=str(folder), first="*_1.png", second="*_2.png")


def mosaics(folder: Path) -> SourceBase:
    rng = np.random.default_rng(4)
    for name in "abc":
        packed = rng.integers(70, 1000, (12, 16, 4)).astype(np.uint16)
        write_png(folder / f"{name}.png", mosaic_of(packed, "GRBG"))
    (folder / "mosaics.yaml").write_text("cfa: GRBG\nblack_level: 64\nwhite_level: 1023\n")
    return MosaicsSource(type="mosaics", path=str(folder), camera="C", iso=800)


def sidd(color: str) -> Callable[[Path], SourceBase]:
    def make(folder: Path) -> SourceBase:
        write_sidd(folder, "small", color)
        return SiddSource(type="sidd", path=str(folder), layout="small", color=color)

    return make


def renamed(folder: Path) -> None:
    for file in sorted(folder.rglob("*.png")):
        file.rename(file.with_name(f"x{file.name}"))


def emptied(folder: Path) -> None:
    images = (path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".mat"))
    min(images).write_bytes(b"")


CASES = {
    "images": SourceCase(make=images, rename=renamed, spoil=emptied),
    "pairs": SourceCase(make=pairs, rename=renamed, spoil=emptied),
    "pairs-table": SourceCase(make=pairs_of_a_table, spoil=emptied),
    "corpus": SourceCase(make=corpus),
    "noisy-pairs": SourceCase(make=noisy_pairs, rename=renamed, spoil=emptied),
    "mosaics": SourceCase(make=mosaics, rename=renamed, spoil=emptied),
    # Names are SIDD's own: phone, ISO speed and scene are read out of them.
    "sidd": SourceCase(make=sidd("srgb"), spoil=emptied),
    "sidd-raw": SourceCase(make=sidd("raw"), spoil=emptied),
    "photographs": SourceCase(make=lambda folder: PhotographsSource(type="photographs")),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_contract(
    case: SourceCase, check: Callable[[SourceCase, Path], None], tmp_path: Path
) -> None:
    check(case, tmp_path)


def test_every_source_has_a_case() -> None:
    kinds = {name.removesuffix("-table").removesuffix("-raw") for name in CASES}
    assert kinds >= set(SOURCES.names())


class Faulty(ImagesSource):
    """A folder of photographs, right in everything but what a subclass breaks."""

    def scan(self, splits: Splits) -> Scan:
        return self.broken(super().scan(splits))

    def broken(self, scan: Scan) -> Scan:
        return scan


class SaysAnotherHeight(Faulty):
    def broken(self, scan: Scan) -> Scan:
        return Scan([dataclasses.replace(r, height=31) for r in scan.records], scan.rejects)


class FollowsTheDirectory(Faulty):
    def broken(self, scan: Scan) -> Scan:
        order = [entry.name for entry in os.scandir(self.path)]
        return Scan(sorted(scan.records, key=lambda r: order.index(Path(r.uri).name)), scan.rejects)


class NamesById(Faulty):
    def broken(self, scan: Scan) -> Scan:
        ids = [(r, f"{Path(r.uri).name:-<32}") for r in scan.records]
        return Scan([dataclasses.replace(r, image_id=i) for r, i in ids], scan.rejects)


class HasNoScene(Faulty):
    def broken(self, scan: Scan) -> Scan:
        return Scan([dataclasses.replace(r, scene="") for r in scan.records], scan.rejects)


class SplitsByFolder(Faulty):
    def broken(self, scan: Scan) -> Scan:
        split = "val" if self.path.endswith("two") else "train"
        return Scan([dataclasses.replace(r, split=split) for r in scan.records], scan.rejects)


class GivesNoReason(Faulty):
    def broken(self, scan: Scan) -> Scan:
        return Scan(scan.records, [Reject(uri=r.uri, reason="", detail="") for r in scan.rejects])


FAULTS: list[tuple[type[Faulty], str]] = [
    (SaysAnotherHeight, "records_equal_what_is_read"),
    (HasNoScene, "records_are_complete"),
    (FollowsTheDirectory, "the_order_of_the_directory_does_not_matter"),
    (NamesById, "renames_change_no_id_and_no_pixels"),
    (SplitsByFolder, "another_folder_gives_the_same_ids_and_splits"),
    (GivesNoReason, "rejects_carry_reasons_and_leave_the_others"),
]


@pytest.mark.parametrize(("faulty", "check"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_contract_catches(faulty: type[Faulty], check: str, tmp_path: Path) -> None:
    def make(folder: Path) -> SourceBase:
        for seed, name in enumerate("abc"):
            save_picture(folder / f"{name}.png", picture(seed))
        return faulty(type="images", path=str(folder), split="train")

    with pytest.raises(AssertionError):
        CHECKS[check](SourceCase(make=make, rename=renamed, spoil=emptied), tmp_path)


def test_every_check_is_shown_to_fail() -> None:
    assert {check for _, check in FAULTS} == set(CHECKS)
