"""What every shard format shares: names, descriptions, publication, and the reader's contract.

The life of a shard, whatever its format:

    1. it is checked    rows are a :class:`ShardRows`, all of the split that its name tells
    2. it is named      ``FOLDER/SPLIT-INDEX-of-COUNT.SUFFIX``, from the name and the rows' type
    3. it is encoded    :meth:`Sink.encode` makes the file's bytes *in memory*; equal rows give
                        equal bytes
    4. it is published  whole or not at all, and its size and SHA-256 go into a :class:`FileRecord`
    5. it is read       :class:`ShardReader` checks what the file says of itself, then gives columns
                        and rows; closed, it opens its file again when it is asked

Formats do not touch the disk themselves: a full disk then raises one plain error between two
complete states (HDF5 answers it with a half-closed file), and folders and object stores take the
same path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from pipeline.corpus.columns import ShardRows
from pipeline.pixels import SampleType, white_level
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
        format: Name of its format.
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
        manifest_sha256: Hash of the manifest's recipe, written into every file.
        tool_version: Version of noisemill, written into every file.
        settings: What each format picks its own from (:attr:`Sink.settings`): ``output`` of the
            manifest.
    """

    manifest_sha256: str
    tool_version: str
    settings: Mapping[str, Any] = field(default_factory=dict)


class Sink(ABC):
    """A format: what its files are called, and how they are written and read.

    Attributes:
        format: Name of the format, as manifests give it.
        folders: Folders below a corpus's root that hold its files, and nothing else.
        suffix: Of its files, with the dot.
        settings: Keys of the options that it obeys, with their defaults.
        reader: What opens a file, given the corpus's root and the path below it.
        single_rows: Whether a row is read without its neighbours, so that any order is fast.
        hub_folder: Which of the folders Hugging Face ``datasets`` opens; ``None`` for none.
        hub_pictures: Whether images of that folder show as pictures there.
    """

    format: ClassVar[str]
    folders: ClassVar[tuple[str, ...]]
    suffix: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    reader: ClassVar[type[ShardReader]]
    single_rows: ClassVar[bool] = False
    hub_folder: ClassVar[str | None] = None
    hub_pictures: ClassVar[bool] = False

    def __init__(self, options: SinkOptions) -> None:
        self.options = options

    def setting(self, key: str) -> Any:
        """Return one of the format's :attr:`settings`, as it is wanted or by default."""
        return self.options.settings.get(key, self.settings[key])

    @classmethod
    def stored_share(cls, encoding: SampleType) -> float:
        """Return about what share of the pixels' own bytes a file takes; 1 if not compressed."""
        return 1.0

    @classmethod
    def example(cls, path: str, split: str) -> str | None:
        """Return lines of Python that open one of its files without noisemill, if there are any.

        Args:
            path: Of a file of the corpus, below its root.
            split: Of that file.
        """
        return None

    def folder(self, rows: ShardRows) -> str:
        """Return the folder below the root for rows of this type."""
        return self.folders[0]

    def path(self, name: ShardName, rows: ShardRows) -> str:
        """Return the shard's path below the root, POSIX."""
        return f"{self.folder(rows)}/{name.stem}{self.suffix}"

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
        further: Names of the columns of capture metadata beside camera and ISO, sorted.
    """

    rows: int
    attributes: Mapping[str, Any]
    further: Sequence[str] = ()

    @abstractmethod
    def __init__(self, root: str, path: str) -> None:
        """Open a shard.

        Args:
            root: Folder or URL of the corpus.
            path: The shard's path below it.

        Raises:
            StorageError: If the file cannot be read.
            DatasetError: If it is damaged or no shard.
        """

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
