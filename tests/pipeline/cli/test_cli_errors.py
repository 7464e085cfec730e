from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.errors import ErrorGroup, explain
from pipeline.errors import PlanError
from pipeline.manifest.mistakes import ManifestError, Mistake
from pipeline.storage import DatasetError, StorageError
from tests.contracts.command import interruptible, noisemill, write_manifest

MISTAKE = Mistake(file="m.yaml", line=3, column=1, key_path="seed", found="found 'x'")


class RayTaskError(Exception):
    """Stands for Ray's wrapping of what a worker raised."""

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__(text)
        self.cause = cause


RayTaskError.__module__ = "ray.exceptions"


def raising(error: BaseException, *, name: str = "verify") -> Result:
    @click.group(cls=ErrorGroup)
    def group() -> None:
        pass

    @group.command(name)
    def command() -> None:
        print("begun")
        raise error

    return CliRunner().invoke(group, [name])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ManifestError([MISTAKE]), 2, "m.yaml:3: seed: found 'x'"),
        (PlanError("no patch can be cut"), 2, "no patch can be cut"),
        (ValueError("sigma is -1"), 1, "sigma is -1"),
        (StorageError(errno.ENOSPC, "cannot write a: the disk is full"), 1, "cannot write a: the"),
        (DatasetError("a is damaged"), 1, "a is damaged"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 1, "/x/y: permission denied."),
        (FileNotFoundError("folder x does not exist."), 1, "folder x does not exist."),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full"),
        (ModuleNotFoundError("No module named 's3fs'"), 1, "No module named 's3fs'"),
        (MemoryError(), 1, "out of memory; use fewer actors"),
        (ValueError(), 1, "ValueError"),
        (KeyError("rows"), 1, "unexpected KeyError: 'rows'. This is a fault of noisemill"),
    ],
)
def test_an_exception_becomes_one_line_and_an_exit_code(
    error: Exception, code: int, message: str
) -> None:
    called = raising(error)
    assert called.exit_code == code
    assert called.stdout == "begun\n"
    assert called.stderr.startswith("Error: ")
    assert called.stderr.count("\n") == 1
    assert message in called.stderr


def test_what_a_ray_worker_raised_is_told_without_ray() -> None:
    inner = StorageError(errno.ENOSPC, "cannot write a: the disk is full")
    outer = RayTaskError("ray::Map() Traceback ...", RayTaskError("again", inner))
    assert explain(outer) == ("cannot write a: the disk is full", 1)
    assert explain(RayTaskError("wrapped", PlanError("no"))) == ("no", 2)


def test_rays_own_errors_lose_their_traceback() -> None:
    text = "the actor died\nTraceback (most recent call last):\n  File 'x', line 3\nOSError: gone"
    assert explain(RayTaskError(text)) == ("Ray: the actor died OSError: gone", 1)


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMILL_DEBUG", "1")
    called = raising(KeyError("rows"))
    assert "Traceback (most recent call last)" in called.stderr
    assert called.stderr.splitlines()[-1].startswith("Error: unexpected KeyError")


@pytest.mark.parametrize(("name", "goes_on"), [("run", True), ("verify", False)])
def test_an_interrupt_exits_with_130_and_says_whether_a_run_goes_on(
    name: str, goes_on: bool
) -> None:
    called = raising(KeyboardInterrupt(), name=name)
    assert called.exit_code == 130
    assert "noisemill: interrupted." in called.stderr
    assert ("run the same command again to go on" in called.stderr) == goes_on


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("rum", "Did you mean 'run'?"),
        ("Verfy", "Did you mean 'verify'?"),
        ("xyzzy", "There are run, plan, verify, inspect, sample, denoise, audit, models,"),
        ("a\x1bb", r"No such command 'a\x1bb'."),
    ],
)
def test_an_unknown_command_is_met_with_the_nearest(word: str, hint: str) -> None:
    called = noisemill(word)
    assert called.exit_code == 2
    assert hint in called.stderr


def test_an_unknown_option_is_met_with_the_nearest() -> None:
    called = noisemill("run", "quickstart", "--inlin")
    assert called.exit_code == 2
    assert "'--inline'" in called.stderr


def test_without_a_command_help_is_shown_and_nothing_heavy_is_imported() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from pipeline.cli import main\n"
        "shown = CliRunner().invoke(main, ['--help'])\n"
        "assert shown.exit_code == 0 and 'kuberay' in shown.stdout\n"
        "heavy = {'torch', 'ray', 'numpy', 'cv2', 'rich', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def start(*arguments: str, **streams: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(interruptible(*arguments), env=environment, **streams)


def test_a_closed_pipe_is_no_reason_to_complain() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = start("schema", stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_into_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        process = start("schema", stdout=full.fileno(), stderr=subprocess.PIPE)
    message = process.communicate(timeout=60)[1].decode()
    assert message == "Error: the output cannot be written: the disk is full.\n"
    assert process.returncode == 1


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    tmp_path: Path,
    texture: Callable[..., np.ndarray],
    write_image: Callable[[Path, np.ndarray], Path],
) -> None:
    write_image(tmp_path / "photos" / "a.png", texture(256, 512))
    manifest = write_manifest(tmp_path / "m.yaml", source=tmp_path / "photos")
    records = tmp_path / "out" / "_records"
    process = start("run", str(manifest), "--inline", stderr=subprocess.PIPE)
    while len(list(records.glob("train-*.json"))) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, message
    assert message.splitlines()[-1].startswith("noisemill: interrupted. What is finished is kept")
    assert "Traceback" not in message
    assert 2 <= len(list(records.glob("train-*.json"))) < 64
    assert not (tmp_path / "out" / "corpus.json").exists()

    again = noisemill("run", manifest, "--inline")
    assert again.exit_code == 0
    assert "made before)" in again.stderr
    whole = noisemill("run", manifest, "--inline", "--set", f"output.path={tmp_path / 'whole'}")
    assert whole.exit_code == 0
    shards = sorted((tmp_path / "whole" / "hdf5").iterdir())
    assert len(shards) == 64
    for shard in shards:
        assert shard.read_bytes() == (tmp_path / "out" / "hdf5" / shard.name).read_bytes()
