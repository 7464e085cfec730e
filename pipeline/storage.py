"""Where a corpus lives: local folders and fsspec URLs behind one set of small functions.

A *root* is a folder name or an fsspec URL (``s3://bucket/corpus``, ``memory://x``); everything
below it is named by a *relative* POSIX path. Files are published whole or not at all:

    local   write ``.tmp-<pid>-<uuid>`` in the same folder, fsync, rename, fsync the folder
    URL     one upload of finished bytes; object stores show an object when its upload is complete

Published files are never changed in place, so a reader needs no locks.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from pipeline.errors import DatasetError, StorageError

__all__ = [
    "TEMP_PREFIX",
    "DatasetError",
    "StorageError",
    "check_writable",
    "exists",
    "file_size",
    "file_stem",
    "is_remote",
    "is_temporary",
    "join",
    "list_files",
    "local_folder",
    "open_binary",
    "publish",
    "read_bytes",
    "remove",
    "sha256_bytes",
    "sha256_file",
    "whole_file",
]

TEMP_PREFIX = ".tmp-"
_BLOCK = 1 << 20
_ADVICE = {
    errno.ENOSPC: "the disk is full; free space there, or choose another output.path",
    errno.EDQUOT: "the disk quota is used up; free space there, or choose another output.path",
    errno.EFBIG: "the file is larger than this file system allows; use smaller shards",
    errno.EACCES: "permission denied; choose a folder that this user may write",
    errno.EPERM: "permission denied; choose a folder that this user may write",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENOENT: "no such file or folder",
}

Data = bytes | bytearray | memoryview


def local_folder(root: str) -> Path | None:
    """Return a root's folder on this machine, or ``None`` if it is remote."""
    scheme, separator, rest = root.partition("://")
    if not separator:
        return Path(root).expanduser()
    return Path(rest) if scheme in ("file", "local") else None


def is_remote(root: str) -> bool:
    """Return True if a root is reached through fsspec."""
    return local_folder(root) is None


def join(root: str, relative: str) -> str:
    """Return the full path or URL of a file below a root.

    Raises:
        ValueError: If ``relative`` is absolute or climbs out of the root.

    Example:
        >>> join("s3://bucket/corpus/", "data/a.parquet")
        's3://bucket/corpus/data/a.parquet'
    """
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise ValueError(f"a corpus path must stay below its root; got {relative!r}.")
    folder = local_folder(root)
    return str(folder / parts) if folder is not None else f"{root.rstrip('/')}/{parts}"


def file_stem(name: str) -> str:
    """Return a name of a person's choice as the name of a file, without suffix.

    Example:
        >>> file_stem("real + naflow")
        'real---naflow'
    """
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)


def publish(root: str, relative: str, data: Data) -> None:
    """Make a file visible with all of its bytes, or not at all; replaces a former one.

    Raises:
        StorageError: If the place is full, missing or not writable. Nothing else is touched.
    """
    target = join(root, relative)
    with _explained("write", target):
        if is_remote(root):
            _upload(target, data)
        else:
            _write_local(Path(target), data)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a name to write a local file under; it takes its own name when all of it is on disk.

        with whole_file(path) as temporary:
            temporary.write_bytes(data)

    Args:
        path: Final name; its folder is made, and a former file is replaced in one step.

    If writing fails or is interrupted, nothing is left behind and a former file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMP_PREFIX}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # An interrupted writer (Ctrl-C too) must not leave its temporary file behind.
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def is_temporary(relative: str) -> bool:
    """Return True if a file is one that a writer had not finished."""
    return PurePosixPath(relative).name.startswith(TEMP_PREFIX)


def check_writable(root: str) -> None:
    """Create the root and prove that a file can be written there, before work is spent.

    Raises:
        StorageError: If it cannot.
    """
    probe = f"{TEMP_PREFIX}{os.getpid()}-{uuid.uuid4().hex}"
    publish(root, probe, b"noisemill")
    remove(root, probe)


def list_files(root: str) -> list[str]:
    """Return the relative paths of all files below a root, sorted; none if it does not exist."""
    folder = local_folder(root)
    with _explained("list", root):
        if folder is None:
            return _list_remote(root)
        paths = []
        for parent, _, names in os.walk(folder):
            below = Path(parent).relative_to(folder)
            paths += [(below / name).as_posix() for name in names]
        return sorted(paths)


def exists(root: str, relative: str) -> bool:
    """Return True if a file is there."""
    target = join(root, relative)
    if not is_remote(root):
        return Path(target).is_file()
    files, path = _filesystem(target)
    with _explained("look for", target):
        return bool(files.isfile(path))


def file_size(root: str, relative: str) -> int:
    """Return a file's size in bytes.

    Raises:
        StorageError: If it is not there.
    """
    target = join(root, relative)
    with _explained("read", target):
        if not is_remote(root):
            return Path(target).stat().st_size
        files, path = _filesystem(target)
        return int(files.size(path))


def open_binary(root: str, relative: str) -> BinaryIO:
    """Open a file for reading.

    Raises:
        StorageError: If it cannot be opened.
    """
    target = join(root, relative)
    with _explained("read", target):
        if not is_remote(root):
            return open(target, "rb")
        files, path = _filesystem(target)
        return cast(BinaryIO, files.open(path, "rb"))


def read_bytes(root: str, relative: str) -> bytes:
    """Return a file's bytes.

    Raises:
        StorageError: If it cannot be read.
    """
    with open_binary(root, relative) as file, _explained("read", join(root, relative)):
        return file.read()


def remove(root: str, relative: str) -> None:
    """Remove a file; one that is already gone is no error."""
    target = join(root, relative)
    with _explained("remove", target), suppress(FileNotFoundError):
        if not is_remote(root):
            os.unlink(target)
        else:
            files, path = _filesystem(target)
            files.rm_file(path)


def sha256_bytes(data: Data) -> str:
    """Return the SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(root: str, relative: str) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits.

    Raises:
        StorageError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with open_binary(root, relative) as file, _explained("read", join(root, relative)):
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _explained(verb: str, where: str) -> Iterator[None]:
    """Turn whatever a file system raises into one line for a person."""
    action = f"{verb} {where}"
    try:
        yield
    except (StorageError, FileExistsError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            error.errno, f"cannot {action}: {error.strerror or error}", where=where
        ) from error
    except OSError as error:
        why = _ADVICE.get(error.errno or 0, error.strerror or str(error) or type(error).__name__)
        raise StorageError(error.errno, f"cannot {action}: {why}", where=where) from error
    except ImportError as error:
        raise StorageError(None, f"cannot {action}: {error}", where=where) from error


def _write_local(target: Path, data: Data) -> None:
    with whole_file(target) as temporary:
        temporary.write_bytes(data)


def _sync_folder(folder: Path) -> None:
    # The rename itself lives in the folder: without this a power cut may undo it.
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec  # heavy, and needed for URLs only

    try:
        files, path = fsspec.core.url_to_fs(url)
    except ValueError as error:
        raise StorageError(None, f"cannot use {url}: {error}", where=url) from error
    return files, str(path)


def _upload(url: str, data: Data) -> None:
    files, path = _filesystem(url)
    files.makedirs(files._parent(path), exist_ok=True)
    # pipe_file, not open().write(): one call with all bytes, so that memory:// and object stores
    # never show a part of them.
    files.pipe_file(path, bytes(data))


def _list_remote(root: str) -> list[str]:
    files, base = _filesystem(root)
    files.invalidate_cache()
    try:
        paths = files.find(base)
    except FileNotFoundError:
        return []
    start = len(base.rstrip("/")) + 1
    return sorted(path[start:] for path in paths)
