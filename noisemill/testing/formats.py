"""What every shard format must do; each check takes a writer and an empty folder.

    class TestMyFormat(FormatContract):
        def make(self) -> Sink:
            return MySink(options())

The format must be registered (``noisemill.formats``): files are read back by their format's name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noisemill.testing.rows import make_rows, options
from pipeline.corpus.columns import COLUMNS, ShardRows
from pipeline.corpus.formats import ShardName, Sink, open_shard
from pipeline.storage import list_files, read_bytes, sha256_bytes

__all__ = ["CHECKS", "ENCODINGS", "NAME", "FormatContract"]

NAME = ShardName(split="train", index=3, count=12)
ENCODINGS = [("uint8", 3), ("uint8", 1), ("uint8", 4), ("uint16", 3), ("uint16", 4), ("float32", 3)]
# Writes the shard of make_rows() in a fresh process; "killed" dies as the bytes reach the disk.
WRITER = """
import os, signal, sys
from pipeline.corpus.formats import sink
from noisemill.testing.formats import NAME
from noisemill.testing.rows import make_rows, options
if sys.argv[3] == "killed":
    os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
print(sink(sys.argv[1], options()).write(sys.argv[2], NAME, make_rows()).sha256)
"""


def reads_back_what_was_written(sink: Sink, root: str) -> None:
    for encoding, channels in ENCODINGS:
        rows = make_rows(encoding=encoding, channels=channels)
        record = sink.write(root, NAME, rows)
        with open_shard(root, record) as shard:
            assert shard.rows == record.rows == len(rows)
            assert_equal_images(shard.images(0, 99), rows)
            clean, noisy = shard.pair(4)
            assert np.array_equal(clean, rows.clean[4])
            assert np.array_equal(noisy, rows.noisy[4])
            columns = shard.columns(list(COLUMNS))
        for name in COLUMNS:
            assert columns[name] == list(rows.columns[name]), name


def says_what_it_is(sink: Sink, root: str) -> None:
    record = sink.write(root, NAME, make_rows())
    with open_shard(root, record) as shard:
        said = dict(shard.attributes)
    assert said["format"] == "noisemill-corpus"
    assert said["format_version"] == 1
    assert said["manifest_sha256"] == options().manifest_sha256
    assert (said["split"], said["shard_index"], said["num_shards"]) == ("train", 3, 12)
    assert (said["layout"], said["range"], said["color"]) == ("NHWC", "0..255", "rgb")


def names_follow_from_the_shard_alone(sink: Sink, root: str) -> None:
    record = sink.write(root, NAME, make_rows())
    again = sink.write(root, NAME, make_rows(2))
    assert record.path == again.path
    assert Path(record.path).stem == "train-00003-of-00012"
    assert list_files(root) == [record.path]


def records_the_file_as_it_is(sink: Sink, root: str) -> None:
    record = sink.write(root, NAME, make_rows())
    data = read_bytes(root, record.path)
    assert record.bytes == len(data)
    assert record.sha256 == sha256_bytes(data)


def equal_rows_give_equal_bytes(sink: Sink, root: str) -> None:
    first = sink.write(root, NAME, make_rows())
    now = int(time.time())
    # Another process has another hash seed, other addresses, and a second that has passed.
    done = run_writer(sink.format, root, "whole")
    assert int(time.time()) > now
    assert done.stdout.strip() == first.sha256


def survives_a_killed_writer(sink: Sink, root: str) -> None:
    before = sink.write(root, NAME, make_rows(2))
    done = run_writer(sink.format, root, "killed")
    assert done.returncode < 0
    left = [path for path in list_files(root) if path != before.path]
    assert [Path(path).name.startswith(".tmp-") for path in left] == [True]
    # The former file is still whole, and the next writer is not disturbed.
    with open_shard(root, before) as shard:
        assert_equal_images(shard.images(0, 2), make_rows(2))
    with open_shard(root, sink.write(root, NAME, make_rows())) as shard:
        assert_equal_images(shard.images(0, 6), make_rows())


def colours_keep_their_order(sink: Sink, root: str) -> None:
    rows = make_rows(1)
    rows.clean[..., 0], rows.clean[..., 1], rows.clean[..., 2] = 250, 120, 10
    with open_shard(root, sink.write(root, NAME, rows)) as shard:
        assert shard.pair(0)[0][0, 0].tolist() == [250, 120, 10]


CHECKS: dict[str, Callable[[Sink, str], None]] = {
    check.__name__: check
    for check in (
        reads_back_what_was_written,
        says_what_it_is,
        names_follow_from_the_shard_alone,
        records_the_file_as_it_is,
        equal_rows_give_equal_bytes,
        survives_a_killed_writer,
        colours_keep_their_order,
    )
}


def assert_equal_images(images: tuple[np.ndarray, np.ndarray], rows: ShardRows) -> None:
    for found, expected in zip(images, (rows.clean, rows.noisy), strict=True):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


def run_writer(format: str, root: str, how: str) -> subprocess.CompletedProcess[str]:
    time.sleep(1.01 - time.time() % 1 if how == "whole" else 0)
    return subprocess.run(
        [sys.executable, "-c", WRITER, format, root, how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
    )


class FormatContract:
    """The contract as tests; derive, call it ``Test...``, and say how the writer is made."""

    def make(self) -> Sink:
        """Return a writer."""
        raise NotImplementedError("a FormatContract needs make(), which returns a writer.")

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_contract(self, check: Callable[[Sink, str], None], tmp_path: Path) -> None:
        check(self.make(), str(tmp_path))
