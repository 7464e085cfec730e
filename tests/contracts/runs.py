"""What a run leaves in a folder, for tests that compare runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

SHARDS = ("data", "hdf5", "tensor")


def checksums(root: str | Path) -> dict[str, str]:
    """Return the SHA-256 of every shard file, by its path below the root."""
    folder = Path(root)
    files = (path for name in SHARDS for path in (folder / name).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def state(root: str | Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, time of modification and bytes of every file but the lock."""
    folder = Path(root)
    return {
        str(path.relative_to(folder)): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            path.read_bytes(),
        )
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def flip_a_byte(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
