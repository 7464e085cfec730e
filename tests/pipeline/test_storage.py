"""Publishing is all or nothing, and every failure is one line that says where and what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.storage import (
    StorageError,
    check_writable,
    exists,
    file_size,
    is_remote,
    join,
    list_files,
    local_folder,
    open_binary,
    publish,
    read_bytes,
    remove,
    sha256_bytes,
    sha256_file,
)


@pytest.fixture(params=["local", "file-url", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "local": str(tmp_path / "corpus"),
        "file-url": f"file://{tmp_path}/corpus",
        "memory": f"memory://storage-{tmp_path.name}/corpus",
    }[request.param]


def test_what_is_published_is_there(root: str) -> None:
    publish(root, "data/a.bin", b"first")
    publish(root, "data/b.bin", memoryview(b"second"))
    assert list_files(root) == ["data/a.bin", "data/b.bin"]
    assert read_bytes(root, "data/b.bin") == b"second"
    assert file_size(root, "data/a.bin") == 5
    assert sha256_file(root, "data/a.bin") == sha256_bytes(b"first")
    with open_binary(root, "data/a.bin") as file:
        assert file.read(2) == b"fi"


def test_publishing_again_replaces(root: str) -> None:
    publish(root, "a", b"a longer first version")
    publish(root, "a", b"second")
    assert read_bytes(root, "a") == b"second"
    assert list_files(root) == ["a"]


def test_removing_twice_is_no_error(root: str) -> None:
    publish(root, "a", b"x")
    remove(root, "a")
    remove(root, "a")
    assert not exists(root, "a")


def test_a_missing_root_is_empty(root: str) -> None:
    assert list_files(root) == []
    assert not exists(root, "a")


def test_a_missing_file_is_named(root: str) -> None:
    with pytest.raises(StorageError, match=r"corpus/gone"):
        read_bytes(root, "gone")
    with pytest.raises(StorageError, match=r"corpus/gone"):
        file_size(root, "gone")


def test_writability_is_proved_without_a_trace(root: str) -> None:
    check_writable(root)
    assert list_files(root) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../b", ""])
def test_paths_stay_below_the_root(path: str, root: str) -> None:
    with pytest.raises(ValueError, match="below its root"):
        publish(root, path, b"x")


def test_a_failed_write_keeps_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(str(tmp_path), "a", b"former")

    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(str(tmp_path), "a", b"newer")
    assert list_files(str(tmp_path)) == ["a"]
    assert read_bytes(str(tmp_path), "a") == b"former"


def test_a_file_is_complete_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(handle: int) -> None:
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        steps.append("sync folder" if folder else f"sync {os.fstat(handle).st_size} bytes")
        real_sync(handle)

    def replace(source: Path, target: Path) -> None:
        steps.append(f"rename {Path(source).name[:5]} to {Path(target).name}")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    publish(str(tmp_path), "a", b"12345")
    assert steps == ["sync 5 bytes", "rename .tmp- to a", "sync folder"]


def test_an_upload_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    calls = []
    real = type(files).pipe_file

    def pipe_file(self: object, path: str, value: bytes, **rest: object) -> None:
        calls.append((path, value))
        real(self, path, value, **rest)

    monkeypatch.setattr(type(files), "pipe_file", pipe_file)
    publish("memory://one-call", "data/a", b"whole")
    assert calls == [("/one-call/data/a", b"whole")]


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot write .*file/a"):
        publish(str(tmp_path / "file"), "a", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_forbidden_folder_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="permission denied"):
            check_writable(str(tmp_path))
    finally:
        tmp_path.chmod(0o700)


def test_an_unknown_protocol_is_explained() -> None:
    with pytest.raises(StorageError, match="teleport"):
        publish("teleport://somewhere", "a", b"x")


def test_a_path_is_told_from_a_url(tmp_path: Path) -> None:
    assert not is_remote("out/corpus")
    assert is_remote("s3://bucket/corpus")
    assert local_folder(f"file://{tmp_path}") == tmp_path
    assert join("memory://a/b/", "c/d") == "memory://a/b/c/d"


def test_names_are_sorted_and_tested() -> None:
    assert storage.__all__ == sorted(storage.__all__, key=sort_key)


def sort_key(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
