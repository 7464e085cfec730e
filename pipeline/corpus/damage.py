"""Is a file of a corpus the one that its index lists? Told in one wording, wherever it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pipeline.corpus.formats.base import FileRecord
from pipeline.storage import DatasetError, StorageError, file_size, sha256_file

__all__ = ["REMEDY", "Check", "check_files", "damage"]

Check = Literal["nothing", "sizes", "checksums"]
REMEDY = (
    "Run the corpus's manifest again to mend it, or fetch it again; `noisemill verify` says what "
    "else is wrong."
)
_READERS = 4
_MOST_TOLD = 5


def damage(root: str, file: FileRecord, check: Check = "checksums") -> str | None:
    """Return what is wrong with a file, one line that names it; ``None`` if nothing is.

    Args:
        root: Folder or URL of the corpus.
        file: As the index or a shard's record lists it.
        check: ``checksums`` reads the file whole; ``sizes`` asks for its size only.
    """
    if check == "nothing":
        return None
    try:
        size = file_size(root, file.path)
        if size != file.bytes:
            return f"{file.path}: {size} bytes; the corpus lists {file.bytes}."
        digest = file.sha256 if check == "sizes" else sha256_file(root, file.path)
    except StorageError as error:
        return f"{file.path}: {error.strerror or error}."
    if digest != file.sha256:
        return f"{file.path}: changed since it was written; SHA-256 {digest}, not {file.sha256}."
    return None


def check_files(root: str, files: Sequence[FileRecord], check: Check) -> None:
    """Check files before the first of their pixels is used.

    Raises:
        DatasetError: If any is damaged; the message names the first few and says what to do.
    """
    if check == "nothing":
        return
    with ThreadPoolExecutor(_READERS) as pool:
        told = [text for text in pool.map(lambda file: damage(root, file, check), files) if text]
    if told:
        more = [f"and {len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
        lines = "".join(f"\n  {line}" for line in [*told[:_MOST_TOLD], *more])
        raise DatasetError(f"corpus {root} is damaged:{lines}\n{REMEDY}")
