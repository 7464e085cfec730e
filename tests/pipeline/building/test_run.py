"""Building in one process: interrupted, resumed, refused, and always the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import pipeline.building.finish as finish_module
import pipeline.building.run as build_module
import pipeline.building.stages.generate as generate_module
from generators.base import NoiseRequest, NoiseSample
from generators.parametric import AWGN
from generators.sample_check import SampleError
from pipeline.building.run import Result, build
from pipeline.corpus.index import load_corpus
from pipeline.corpus.repeats import processor
from pipeline.corpus.verify import verify
from pipeline.errors import ManifestChangedError, NotACorpusError, RejectBudgetError
from pipeline.lock import run_lock
from pipeline.manifest.models import CorpusManifest
from pipeline.storage import StorageError, list_files
from tests.contracts.runs import checksums, flip_a_byte, state

Make = Callable[..., CorpusManifest]
Write = Callable[[Path, np.ndarray], Path]


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small files: waiting for the disk would take most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def made(manifest: CorpusManifest, *, overwrite: bool = False) -> Result:
    return build(manifest, inline=True, overwrite=overwrite, style="quiet")


def root(manifest: CorpusManifest) -> Path:
    return Path(manifest.output.path)


def rejected(manifest: CorpusManifest) -> list[dict[str, Any]]:
    lines = (root(manifest) / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


VARIANTS: dict[str, dict[str, Any]] = {
    "8 bit": {},
    "16 bit": {"output": {"encoding": "uint16"}},
    "float": {"output": {"encoding": "float32"}},
    "grey": {"patches": {"color": "grey"}},
    "weighted": {"mix": "weighted"},
    "raw": {
        "generators": [{"name": "camera", "params": {"output": "raw", "iso": 1600}}],
        "output": {"encoding": "uint16"},
    },
    "developed": {"generators": [{"name": "camera", "params": {"iso": [100, 6400]}}]},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_corpus_of_every_kind_is_whole_and_sound(
    corpus_manifest: Make, changes: dict[str, Any]
) -> None:
    manifest = corpus_manifest(**changes)
    result = made(manifest)
    report = verify(manifest.output.path, deep=True)
    assert report.problems == []
    assert (
        report.rows
        == result.index.totals.rows
        == 36 * (1 if manifest.mix == "weighted" else len(manifest.generators))
    )
    assert result.made == len(result.index.shards)
    assert load_corpus(manifest.output.path) == result.index
    assert rejected(manifest) == []


def test_equal_manifests_make_equal_bytes_wherever_they_go(
    corpus_manifest: Make, tmp_path: Path
) -> None:
    first, second = (corpus_manifest(output={"path": str(tmp_path / name)}) for name in "ab")
    made(first)
    made(second)
    assert len(checksums(root(first))) == 18
    assert checksums(root(first)) == checksums(root(second))


@pytest.fixture
def finished(corpus_manifest: Make) -> CorpusManifest:
    manifest = corpus_manifest()
    made(manifest)
    return manifest


def test_every_licence_of_a_source_is_on_the_card(corpus_manifest: Make) -> None:
    source = {"type": "photographs", "names": ["astronaut", "coffee", "chelsea"]}
    patches = {"size": 256, "stride": 256}
    made(manifest := corpus_manifest(sources=[source], patches=patches))
    (entry,) = load_corpus(manifest.output.path).sources
    assert entry.license == "CC0-1.0; public domain (NASA)"
    assert entry.license in (Path(manifest.output.path) / "README.md").read_text()


def test_run_again_with_nothing_missing_leaves_every_file_as_it_was(
    corpus_manifest: Make,
) -> None:
    manifest = corpus_manifest(report=True)
    first = made(manifest)
    before = state(root(manifest))
    assert "report.html" in before
    again = made(manifest)
    assert state(root(manifest)) == before
    assert again.made == 0
    assert again.patches_per_s == 0
    assert (again.index, again.report) == (first.index, first.report)
    # How it is run is no other corpus.
    made(corpus_manifest(report=True, resources={"actors": 2}, limits={"max_rejected": 0.9}))
    assert state(root(manifest)) == before


def test_what_is_told_of_a_corpus_can_change_without_its_shards(
    corpus_manifest: Make, finished: CorpusManifest
) -> None:
    before = state(root(finished))
    result = made(corpus_manifest(license="CC0-1.0"))
    assert result.made == 0
    assert load_corpus(finished.output.path).manifest["license"] == "CC0-1.0"
    after = state(root(finished))
    assert {name for name in after if after[name] != before[name]} == {
        "corpus.json",
        "README.md",
    } | ({"rejected.jsonl"})


def test_a_report_asked_for_later_is_added_and_nothing_else_changes(
    corpus_manifest: Make, finished: CorpusManifest
) -> None:
    before = state(root(finished))
    result = made(corpus_manifest(report=True))
    after = state(root(finished))
    assert result.report == str(root(finished) / "report.html")
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"report.html", "gallery.png"}


def lose_files(root: Path) -> int:
    for name in ("data/train-00002-of-00009.parquet", "hdf5/train-00005-of-00009.h5"):
        (root / name).unlink()
    return 2


def lose_records(root: Path) -> int:
    for number in (0, 8):
        (root / f"_records/train-{number:05d}-of-00009.json").unlink()
    return 2


def lose_everything_behind_the_shards(root: Path) -> int:
    for name in ("corpus.json", "README.md", "rejected.jsonl"):
        (root / name).unlink()
    return 0


def lose_the_plan(root: Path) -> int:
    (root / "_records/plan.json").write_text("{ no")
    return 0


def change_a_byte(root: Path) -> int:
    flip_a_byte(root / "hdf5/train-00003-of-00009.h5")
    return 1


def change_a_byte_of_the_index(root: Path) -> int:
    text = (root / "corpus.json").read_text()
    (root / "corpus.json").write_text(text[: len(text) // 2])
    return 0


def truncate_a_record(root: Path) -> int:
    os.truncate(root / "_records/train-00004-of-00009.json", 30)
    return 1


def leave_orphans(root: Path) -> int:
    for folder in ("", "data", "hdf5", "_records"):
        (root / folder / ".tmp-123-abc").write_bytes(b"half")
    return 0


HARM = {
    function.__name__.replace("_", " "): function
    for function in (
        *(lose_files, lose_records, lose_everything_behind_the_shards, lose_the_plan),
        *(change_a_byte, change_a_byte_of_the_index, truncate_a_record, leave_orphans),
    )
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_whatever_is_lost_is_made_again_to_the_same_bytes_and_nothing_else(
    finished: CorpusManifest, harm: Callable[[Path], int]
) -> None:
    folder = root(finished)
    before, whole = checksums(folder), state(folder)
    missing = harm(folder)
    result = made(finished)
    assert result.made == missing
    assert checksums(folder) == before
    assert verify(finished.output.path, deep=True).problems == []
    kept = [n for n, value in state(folder).items() if n in before and value == whole[n]]
    assert len(kept) == len(before) - 2 * missing
    assert not [name for name in list_files(str(folder)) if ".tmp-" in name]


def started(manifest: CorpusManifest, folder: Path) -> subprocess.Popen[bytes]:
    path = folder / "manifest.yaml"
    path.write_text(json.dumps(manifest.model_dump(mode="json", exclude_none=True)))
    command = [sys.executable, "-m", "pipeline.cli", "run", str(path), "--inline"]
    here = Path(__file__).resolve().parents[3]
    return subprocess.Popen(command, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_killed_in_the_middle_and_run_again_it_ends_with_the_same_bytes(
    corpus_manifest: Make, tmp_path: Path
) -> None:
    changes = {"patches": {"size": 24, "stride": 4}, "resources": {"batch_size": 1}}
    manifest = corpus_manifest(**changes)
    process = started(manifest, tmp_path)
    records = root(manifest) / "_records"
    try:
        while process.poll() is None and len(list(records.glob("train-*.json"))) < 3:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    there = len(list(records.glob("train-*.json")))
    result = made(manifest)
    assert 3 <= there < result.made + there == len(result.index.shards)
    elsewhere = corpus_manifest(**changes, output={"path": str(tmp_path / "whole")})
    made(elsewhere)
    assert checksums(root(manifest)) == checksums(root(elsewhere))
    assert verify(manifest.output.path, deep=False).problems == []


def test_an_interrupt_keeps_the_finished_shards(
    corpus_manifest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = corpus_manifest()
    original = build_module.run_in_process

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Any]:
        for number, record in enumerate(original(*arguments, **options)):
            yield record
            if number == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "run_in_process", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made(manifest)
    assert not (root(manifest) / "corpus.json").exists()
    assert made(manifest).made == 9 - 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_stops_the_run_and_the_next_one_goes_on(
    corpus_manifest: Make, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    manifest = corpus_manifest()
    original, calls = AWGN.sample, 0

    def faulty(self: AWGN, request: NoiseRequest) -> NoiseSample:
        nonlocal calls
        calls += 1
        sample = original(self, request)
        if calls == 8:
            sample.noisy[0, 0, 3, 4] = value
        return sample

    with monkeypatch.context() as patch:
        patch.setattr(AWGN, "sample", faulty)
        with pytest.raises(SampleError, match=rf"made {value} at y 3, x 4.*\.png, patch at y "):
            made(manifest)
    there = len(list((root(manifest) / "_records").glob("train-*.json")))
    assert not (root(manifest) / "corpus.json").exists()
    result = made(manifest)
    assert 0 < there == len(result.index.shards) - result.made
    assert verify(manifest.output.path, deep=True).problems == []


def test_another_manifest_is_refused_with_what_differs_and_nothing_is_touched(
    corpus_manifest: Make, finished: CorpusManifest
) -> None:
    before = state(root(finished))
    with pytest.raises(ManifestChangedError) as raised:
        made(corpus_manifest(seed=8, patches={"size": 12}))
    assert "seed: 7 -> 8" in str(raised.value)
    assert "patches.size: 16 -> 12" in str(raised.value)
    assert "--overwrite" in str(raised.value)
    assert state(root(finished)) == before


def test_other_photographs_are_refused_as_such(
    finished: CorpusManifest,
    photo_folder: Path,
    texture: Callable[..., np.ndarray],
    write_image: Write,
) -> None:
    write_image(photo_folder / "a.png", texture(48, 64, seed=55))
    with pytest.raises(ManifestChangedError, match="the photographs, the weights or a generator"):
        made(finished)


@pytest.mark.parametrize("interrupted", [False, True])
def test_overwrite_replaces_what_is_there_and_leaves_nothing_of_it(
    corpus_manifest: Make, finished: CorpusManifest, tmp_path: Path, interrupted: bool
) -> None:
    if interrupted:
        (root(finished) / "corpus.json").unlink()
    (root(finished) / "notes.txt").write_text("mine")
    changes: dict[str, Any] = {"seed": 8, "output": {"rows_per_shard": 30}}
    manifest = corpus_manifest(**changes)
    assert made(manifest, overwrite=True).made == 3
    assert verify(manifest.output.path, deep=True).problems == []
    assert (root(manifest) / "notes.txt").read_text() == "mine"
    changes["output"]["path"] = str(tmp_path / "fresh")
    made(corpus_manifest(**changes))
    assert checksums(root(manifest)) == checksums(tmp_path / "fresh")


def test_overwrite_of_the_same_manifest_makes_nothing_again(finished: CorpusManifest) -> None:
    before = state(root(finished))
    assert made(finished, overwrite=True).made == 0
    assert state(root(finished)) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["thesis.docx", "data/table.parquet", "README.md"])
def test_a_folder_that_is_no_corpus_is_refused_and_left_as_it_is(
    corpus_manifest: Make, name: str, overwrite: bool
) -> None:
    manifest = corpus_manifest()
    path = root(manifest) / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(NotACorpusError, match=name):
        made(manifest, overwrite=overwrite)
    assert list_files(manifest.output.path) == [name]
    assert path.read_text() == "precious"


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_is_at_work(
    finished: CorpusManifest,
) -> None:
    before = state(root(finished))
    with (
        run_lock(finished.output.path),
        pytest.raises(StorageError, match=r"another run is at work in .*corpus"),
    ):
        made(finished)
    assert state(root(finished)) == before
    assert made(finished).made == 0


def spoil(folder: Path, names: tuple[str, ...]) -> Callable[..., Any]:
    """Return a ``prepare`` after which photographs are damaged."""

    def prepare(manifest: CorpusManifest) -> Any:
        ready = original(manifest)
        for name in names:
            (folder / name).write_bytes(b"")
        return ready

    original = build_module.prepare
    return prepare


def test_past_the_budget_the_run_stops_with_the_reasons_and_keeps_what_is_made(
    corpus_manifest: Make, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # b.png holds rows 24 to 47: shards 3, 4 and 5. More than a tenth of 72 rows is lost with two.
    manifest = corpus_manifest(limits={"max_rejected": 0.2})
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "prepare", spoil(photo_folder, ("b.png",)))
        with pytest.raises(RejectBudgetError) as raised:
            made(manifest)
    message = str(raised.value)
    assert message.startswith("16 of 72 patches were refused (empty: 2)")
    assert "limits.max_rejected = 0.2" in message
    assert f"{photo_folder}/b.png: the file has 0 bytes" in message
    names = sorted(path.name for path in (root(manifest) / "hdf5").iterdir())
    assert names == [f"train-{number:05d}-of-00009.h5" for number in (0, 1, 2)]
    assert not (root(manifest) / "corpus.json").exists()


def test_a_budget_once_passed_stays_passed_until_the_limit_is_raised(
    corpus_manifest: Make, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The very last shard passes it; with nothing missing the run must not end well.
    manifest = corpus_manifest(limits={"max_rejected": 0.3})
    data = (photo_folder / "below" / "c.png").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "prepare", spoil(photo_folder, ("below/c.png",)))
        with pytest.raises(RejectBudgetError, match="24 of 72 patches"):
            made(manifest)
    (photo_folder / "below" / "c.png").write_bytes(data)
    with pytest.raises(RejectBudgetError, match="24 of 72 patches"):
        made(manifest)
    assert not (root(manifest) / "corpus.json").exists()
    result = made(corpus_manifest(limits={"max_rejected": 0.4}))
    assert result.made == 0
    assert result.index.totals.rejected == 24
    assert verify(manifest.output.path, deep=True).problems == []


def test_photographs_count_against_the_budget_before_anything_is_made(
    corpus_manifest: Make, photo_folder: Path
) -> None:
    (photo_folder / "bad.png").write_bytes(b"")
    manifest = corpus_manifest(limits={"max_rejected": 0.2})
    with pytest.raises(RejectBudgetError, match=r"1 of 4 photographs were refused \(empty: 1\)"):
        made(manifest)
    assert not root(manifest).exists()


def test_what_the_manifest_asks_to_leave_out_is_free(
    corpus_manifest: Make, photo_folder: Path, write_image: Write
) -> None:
    write_image(photo_folder / "a.png", np.full((48, 64, 3), 90, np.uint8))
    result = made(corpus_manifest(patches={"min_texture": 1.0}, limits={"max_rejected": 0}))
    assert result.index.totals.rejected == 24


def test_every_refusal_is_listed_with_its_reason(
    corpus_manifest: Make,
    photo_folder: Path,
    texture: Callable[..., np.ndarray],
    write_image: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_image(photo_folder / "small.png", texture(8, 8))
    write_image(photo_folder / "flat.png", np.full((16, 16, 3), 9, np.uint8))
    monkeypatch.setattr(build_module, "prepare", spoil(photo_folder, ("b.png",)))
    manifest = corpus_manifest(limits={"max_rejected": 0.9}, patches={"min_texture": 1.0})
    result = made(manifest)
    found = Counter((r["reason"], r["stage"], r["patches"]) for r in rejected(manifest))
    # b.png's 24 rows lie in shards 3 to 6, a reject a shard; 8 rows of 2 photographs each.
    assert found.pop(("too-small", "plan", 0)) == 1
    assert found.pop(("flat", "cut", 2)) == 1
    assert {key[:2] for key in found} == {("empty", "cut")}
    assert sum(key[2] * times for key, times in found.items()) == 24
    assert result.index.totals.rejected == 26
    assert result.index.totals.rows == 24 * 2
    for reject in rejected(manifest):
        assert reject["uri"].startswith(str(photo_folder))
        assert reject["detail"]


@pytest.mark.parametrize("report", [False, True])
def test_a_corpus_of_which_nothing_was_left_is_still_one(
    corpus_manifest: Make, photo_folder: Path, monkeypatch: pytest.MonkeyPatch, report: bool
) -> None:
    everything = ("a.png", "b.png", "below/c.png")
    monkeypatch.setattr(build_module, "prepare", spoil(photo_folder, everything))
    manifest = corpus_manifest(limits={"max_rejected": 1.0}, report=report)
    result = made(manifest)
    assert result.index.totals.rows == 0
    assert result.index.totals.rejected == 72
    assert checksums(root(manifest)) == {}
    assert verify(manifest.output.path, deep=True).problems == []


def test_the_index_comes_after_everything_that_belongs_to_the_corpus(
    corpus_manifest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    original = finish_module.write_index

    def write(root: str, index: Any) -> None:
        seen.append(set(list_files(root)))
        original(root, index)

    monkeypatch.setattr(finish_module, "write_index", write)
    manifest = corpus_manifest(report=True)
    made(manifest)
    (before,) = seen
    later = set(list_files(manifest.output.path)) - before
    assert later == {"corpus.json", "report.html", "gallery.png"}


def test_a_report_does_without_photographs_that_went_away(
    corpus_manifest: Make, pair_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"type": "pairs", "path": str(pair_folder), "clean": "*_mean.png"}
    manifest = corpus_manifest(sources=[source | {"noisy": "*_Real.png"}], report=True)
    original = finish_module.write_index

    def write(root: str, index: Any) -> None:
        for path in pair_folder.iterdir():
            path.unlink()
        original(root, index)

    monkeypatch.setattr(finish_module, "write_index", write)
    assert made(manifest).report is not None


def test_a_corpus_can_go_into_memory(corpus_manifest: Make, tmp_path: Path) -> None:
    url = "memory://noisemill-test-build"
    memory = fsspec.filesystem("memory")
    try:
        manifest = corpus_manifest(output={"path": url}, report=True)
        result = made(manifest)
        assert verify(url, deep=True).problems == []
        local = made(corpus_manifest(output={"path": str(tmp_path / "local")}))
        hashes = [
            [file.sha256 for shard in one.index.shards for file in shard.files]
            for one in (result, local)
        ]
        assert hashes[0] == hashes[1]
        assert made(manifest).made == 0
        memory.rm_file("/noisemill-test-build/hdf5/train-00001-of-00009.h5")
        assert made(manifest).made == 1
    finally:
        if memory.exists("/noisemill-test-build"):
            memory.rm("/noisemill-test-build", recursive=True)


def test_memory_is_refused_where_workers_would_each_have_their_own(corpus_manifest: Make) -> None:
    manifest = corpus_manifest(output={"path": "memory://nowhere"})
    with pytest.raises(ValueError, match="--inline"):
        build(manifest, inline=False, overwrite=False, style="quiet")


def test_the_rows_of_a_corpus_can_be_the_photographs_of_another(
    corpus_manifest: Make, finished: CorpusManifest, tmp_path: Path
) -> None:
    # Two rows of each patch share their clean image and have noise of their own.
    source = {"type": "corpus", "path": finished.output.path, "pairs": True}
    output = {"path": str(tmp_path / "second"), "rows_per_shard": 200}
    manifest = corpus_manifest(sources=[source], output=output, patches={"size": 8})
    result = made(manifest)
    assert result.index.totals.rows == 72 * 4 * 2
    assert verify(manifest.output.path, deep=True).problems == []


def test_real_pairs_make_a_sound_corpus(corpus_manifest: Make, data_dir: Path) -> None:
    source = {"type": "pairs", "path": str(data_dir / "polyu"), "metadata": "metadata.csv"}
    manifest = corpus_manifest(
        sources=[source | {"only": ["val"], "audit": {"max_clipped": 0.9}}],
        patches={"size": 64, "per_image": 3},
        output={"rows_per_shard": 10},
    )
    result = made(manifest)
    assert verify(manifest.output.path, deep=True).problems == []
    assert result.index.totals.rows + result.index.totals.rejected == 5 * 3 * 2
    assert result.index.splits == {"val": result.index.totals.rows}
    assert result.index.totals.rows > 20


def test_a_run_finished_on_another_kind_of_processor_is_valid_and_tells_so_in_one_line(
    corpus_manifest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = corpus_manifest()
    own = {shard.processor for shard in made(manifest).index.shards}
    before = checksums(root(manifest))
    assert own == {processor("cpu")}
    lose_files(root(manifest))
    told: list[str] = []
    monkeypatch.setattr(build_module, "tell", lambda style, text: told.append(text))
    monkeypatch.setattr(generate_module, "processor", lambda device: "another kind")
    result = made(manifest)
    assert {shard.processor for shard in result.index.shards} == {*own, "another kind"}
    assert len([line for line in told if "2 kinds of processor" in line]) == 1
    assert verify(manifest.output.path, deep=True).problems == []
    assert checksums(root(manifest)) == before
    told.clear()
    assert made(manifest).made == 0
    assert {shard.processor for shard in load_corpus(manifest.output.path).shards} == {
        *own,
        "another kind",
    }


def test_the_index_promises_bits_of_formulas_on_every_processor(finished: CorpusManifest) -> None:
    entries = load_corpus(finished.output.path).generators
    assert {entry.repeats for entry in entries} == {"the same bits on every processor"}
