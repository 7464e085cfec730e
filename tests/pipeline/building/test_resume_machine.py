"""Whatever happens to an output between runs, the run that ends leaves the undisturbed bytes.

A state machine: runs that stop at any shard, writers killed before they publish, files damaged,
lost or foreign, in any order. After each step a complete run must verify and equal the corpus that
nothing ever happened to.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from pipeline.building.run import build
from pipeline.building.stages.work import MadeShard
from pipeline.building.stages.write import WriteStage
from pipeline.corpus.shard_records import ShardRecord
from pipeline.corpus.verify import verify
from pipeline.manifest.models import CorpusManifest
from tests.contracts.runs import checksums, flip_a_byte

_SHARDS = 5
_FOLDERS = ("data", "hdf5", "_records")


class Stopped(BaseException):
    """The process is gone: nothing that follows a KeyboardInterrupt or a kill is caught."""


def manifest_of(folder: Path, output: Path) -> CorpusManifest:
    return CorpusManifest.model_validate(
        {
            "kind": "corpus",
            "name": "machine",
            "seed": 3,
            "sources": [{"type": "images", "path": str(folder)}],
            "patches": {"size": 8},
            "generators": [{"name": "awgn", "params": {"sigma": [5, 25]}}],
            "output": {"path": str(output), "rows_per_shard": 4},
            "resources": {"batch_size": 2, "actors": 1},
            "report": False,
        }
    )


@contextmanager
def stopping(after: int, *, published: bool) -> Iterator[None]:
    """Stop the run at its shard number ``after``, before or after the shard's files are there."""
    original, seen = WriteStage.__call__, 0

    def write(stage: WriteStage, made: MadeShard) -> ShardRecord:
        nonlocal seen
        seen += 1
        if seen > after and not published:
            raise Stopped
        record = original(stage, made)
        if seen > after:
            raise Stopped
        return record

    with mock.patch.object(WriteStage, "__call__", write):
        yield


class ResumedRuns(RuleBasedStateMachine):
    """One output folder, and what may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="resume-machine-"))
        rng = np.random.default_rng(5)
        for name in ("a", "b"):
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            assert cv2.imwrite(str(self.photographs / f"{name}.png"), pixels)
        whole = manifest_of(self.photographs, self.folder / "whole")
        build(whole, inline=True, overwrite=False, style="quiet")
        self.undisturbed = checksums(self.folder / "whole")
        self.manifest = manifest_of(self.photographs, self.output)

    @property
    def photographs(self) -> Path:
        path = self.folder / "photographs"
        path.mkdir(exist_ok=True)
        return path

    @property
    def output(self) -> Path:
        return self.folder / "corpus"

    def files(self) -> list[Path]:
        """Return what runs have left, sorted: shards and records."""
        found = (p for name in _FOLDERS for p in (self.output / name).rglob("*") if p.is_file())
        return sorted(found)

    @rule(after=st.integers(0, _SHARDS), published=st.booleans())
    def a_run_is_stopped(self, after: int, published: bool) -> None:
        try:
            with stopping(after, published=published):
                build(self.manifest, inline=True, overwrite=False, style="quiet")
        except Stopped:
            pass

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def a_file_is_lost(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.files())).unlink()

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def a_file_is_damaged(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(self.files()))
        if path.stat().st_size:
            flip_a_byte(path)

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def a_file_is_cut_short(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(self.files()))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    @precondition(lambda self: (self.output / "data").is_dir())
    @rule()
    def a_killed_writer_leaves_a_temporary_file(self) -> None:
        (self.output / "data" / ".tmp-1-train-00000").write_bytes(b"half of it")

    @precondition(lambda self: (self.output / "corpus.json").exists())
    @rule()
    def the_index_is_lost(self) -> None:
        (self.output / "corpus.json").unlink()

    @rule()
    def a_run_ends(self) -> None:
        build(self.manifest, inline=True, overwrite=False, style="quiet")
        assert verify(str(self.output), deep=True).problems == []
        assert checksums(self.output) == self.undisturbed

    def teardown(self) -> None:
        try:
            self.a_run_ends()
        finally:
            shutil.rmtree(self.folder)


TestResumedRuns = ResumedRuns.TestCase
TestResumedRuns.settings = settings(
    max_examples=15, stateful_step_count=8, deadline=None, derandomize=True
)
