"""The lock of an output folder: one holder, gone with its process, none for URLs."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.lock import run_lock
from pipeline.storage import StorageError, list_files

HOLD = """
import sys, time
from pipeline.lock import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_process_that_holds_it_keeps_others_out_until_it_dies(tmp_path: Path) -> None:
    here = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(StorageError, match="another run"), run_lock(str(tmp_path)):
                pytest.fail("two runs at once")
        finally:
            process.kill()
            process.wait(30)
    with run_lock(str(tmp_path)):
        pass


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), run_lock(str(tmp_path)):
        raise RuntimeError("mine")
    with run_lock(str(tmp_path)):
        assert list_files(str(tmp_path)) == [".lock"]


def test_the_folder_is_made(tmp_path: Path) -> None:
    with run_lock(str(tmp_path / "a" / "b")):
        assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file, not a folder"), run_lock(f"{tmp_path}/file/x"):
        pytest.fail("no folder")


def test_where_there_are_no_locks_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(handle: Any, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with run_lock(str(tmp_path)):
        pass


def test_urls_have_no_lock_and_nothing_is_left_there() -> None:
    with run_lock("memory://noisemill-test-lock"), run_lock("memory://noisemill-test-lock"):
        assert list_files("memory://noisemill-test-lock") == []
    fsspec.filesystem("memory").rm("/noisemill-test-lock", recursive=True)
