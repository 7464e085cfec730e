"""What every shard format shares: names, descriptions, publication, and the reader's contract.

A sink turns rows into the bytes of one file *in memory* and publishes them in one step. Formats do
not touch the disk themselves: a full disk then raises one plain error between two complete states
(HDF5 answers it with a half-closed file), and folders and object stores take the same path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import numpy as np

from pipeline.corpus.columns import ShardRows
from pipeline.pixels import white_level
from pipeline.storage import Data, DatasetError, publish, sha256_bytes

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "FileRecord",
    "ShardName",
    "ShardReader",
    "Sink",
    "SinkOptions",
    "check_attributes",
    "shard_attributes",
]

FORMAT = "noisemill-corpus"
FORMAT_VERSION = 1
_COLORS = {1: "grey", 3: "rgb", 4: "rggb"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One published file of a shard.

    Args:
        format: ``hdf5`` or ``parquet``.
        path: POSIX path below the corpus's root.
        bytes: Size of the file.
        sha256: SHA-256 of the file.
        rows: Number of pairs in it.
    """

    format: str
    path: str
    bytes: int
    sha256: str
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON scalars."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardName:
    """Which shard of its split a file is; file names follow from it alone.

    Args:
        split: ``train``, ``val`` or ``test``.
        index: Number of the shard in its split, from 0.
        count: Shards in the split.

    Raises:
        ValueError: If the index is not below the count.

    Example:
        >>> ShardName(split="train", index=0, count=42).stem
        'train-00000-of-00042'
    """

    split: str
    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"a shard's index must be in [0, {self.count}); got {self.index}.")

    @property
    def stem(self) -> str:
        """File name without folder and extension."""
        return f"{self.split}-{self.index:05d}-of-{self.count:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """How shards look.

    Args:
        manifest_sha256: Hash of the manifest, written into every file.
        tool_version: Version of noisemill, written into every file.
        png_level: PNG compression in Parquet, 0 to 9.
        hdf5_compression: Filter of HDF5 chunks.
        rows_per_group: Largest number of rows in a Parquet row group.
    """

    manifest_sha256: str
    tool_version: str
    png_level: int = 1
    hdf5_compression: Literal["none", "gzip", "lzf"] = "none"
    rows_per_group: int = 100


class Sink(ABC):
    """Writes shards of one format."""

    format: ClassVar[str]

    def __init__(self, options: SinkOptions) -> None:
        self.options = options

    @abstractmethod
    def path(self, name: ShardName, rows: ShardRows) -> str:
        """Return the shard's path below the root, POSIX."""

    @abstractmethod
    def encode(self, name: ShardName, rows: ShardRows) -> Data:
        """Return the file's bytes; equal arguments give equal bytes."""

    def write(self, root: str, name: ShardName, rows: ShardRows) -> FileRecord:
        """Encode a shard and publish it whole; a former file of that name is replaced.

        Args:
            root: Folder or fsspec URL of the corpus.
            name: Which shard it is.
            rows: Its rows, all of the split that ``name`` tells.

        Raises:
            ValueError: If a row is of another split.
            StorageError: If the file cannot be written; nothing is left behind.
        """
        strangers = set(rows.columns["split"]) - {name.split}
        if strangers:
            raise ValueError(f"shard {name.stem} holds rows of {', '.join(sorted(strangers))}.")
        data = self.encode(name, rows)
        path = self.path(name, rows)
        publish(root, path, data)
        return FileRecord(
            format=self.format,
            path=path,
            bytes=memoryview(data).nbytes,
            sha256=sha256_bytes(data),
            rows=len(rows),
        )


class ShardReader(ABC):
    """An open shard. Not safe for several threads or across a fork: open one in each process.

    Attributes:
        rows: Number of pairs.
        attributes: What the file says of itself (see :func:`shard_attributes`).
    """

    rows: int
    attributes: Mapping[str, Any]

    @abstractmethod
    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return whole columns as Python values, ``None`` where unknown; pixels are not read.

        Raises:
            DatasetError: If a column is missing or damaged.
        """

    @abstractmethod
    def pair(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return clean and noisy of one row, each ``(H, W, C)`` as stored; they may be read-only.

        Raises:
            DatasetError: If the row is damaged.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the file back, keep what was learned of it; reading again opens it again."""

    def images(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return clean and noisy of rows ``start`` to ``stop``, each ``(n, H, W, C)`` as stored."""
        pairs = [self.pair(row) for row in range(start, min(stop, self.rows))]
        return np.stack([clean for clean, _ in pairs]), np.stack([noisy for _, noisy in pairs])

    def __del__(self) -> None:
        with suppress(Exception):  # half-made readers, and modules that are gone at exit
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def shard_attributes(
    name: ShardName, rows: ShardRows, options: SinkOptions
) -> dict[str, str | int]:
    """Return what a shard says of itself: root attributes in HDF5, schema metadata in Parquet."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "manifest_sha256": options.manifest_sha256,
        "tool_version": options.tool_version,
        "layout": "NHWC",
        "encoding": rows.encoding,
        "range": f"0..{white_level(rows.clean.dtype):g}",
        "color": _COLORS[rows.channels],
        "split": name.split,
        "shard_index": name.index,
        "num_shards": name.count,
    }


def check_attributes(attributes: Mapping[str, Any], *, where: str) -> None:
    """Check that a file is a shard and of a version that is understood here.

    Raises:
        DatasetError: If it is not.
    """
    if attributes.get("format") != FORMAT:
        raise DatasetError(f"{where} is no noisemill shard; it does not say format={FORMAT!r}.")
    version = attributes.get("format_version")
    if type(version) is not int or version < 1:
        raise DatasetError(f"{where} has no format version.")
    if version > FORMAT_VERSION:
        raise DatasetError(
            f"{where} has format version {version}; this noisemill reads up to {FORMAT_VERSION}. "
            "Install a newer noisemill."
        )
