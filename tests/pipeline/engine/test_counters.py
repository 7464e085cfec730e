"""Counts of the stages add up, and beginnings are counted by shard."""

from __future__ import annotations

import subprocess
import sys

from pipeline.engine.counters import AttemptCounters, ProgressCounters


def test_counts_add_up_by_stage() -> None:
    counted = ProgressCounters()
    counted.add("cut", 8, 0)
    counted.add("cut", 6, 2)
    counted.add("write", 3, 1)
    assert counted.snapshot() == {"cut": (14, 2), "generate": (0, 0), "write": (3, 1)}


def test_beginnings_are_counted_by_stage_and_shard() -> None:
    counters = AttemptCounters()
    shards = [("cut", 0), ("cut", 1), ("write", 0), ("cut", 0)]
    assert [counters.begin(*shard) for shard in shards] == [1, 1, 1, 2]


def test_what_every_cluster_starts_first_imports_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.engine.counters;"
        " print({'torch', 'cv2', 'ray', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
