"""A shard format as another package would bring it: one file, numpy's own archives."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.corpus.columns import COLUMNS, ShardRows
from pipeline.corpus.formats.base import (
    ShardName,
    ShardReader,
    Sink,
    check_attributes,
    shard_attributes,
)
from pipeline.storage import DatasetError, join, read_bytes


class NpzReader(ShardReader):
    """Reads a shard into memory."""

    def __init__(self, root: str, path: str) -> None:
        where = join(root, path)
        try:
            with np.load(io.BytesIO(read_bytes(root, path))) as archive:
                self._arrays = {name: archive[name] for name in archive.files}
            self.attributes = json.loads(str(self._arrays["attributes"]))
        except (ValueError, KeyError, EOFError) as error:
            raise DatasetError(f"{where} is damaged or no npz file: {error}") from error
        check_attributes(self.attributes, where=where)
        self.rows = len(self._arrays["clean"])
        stored = {name.removeprefix("column-") for name in self._arrays if "column-" in name}
        self.further = sorted(stored - set(COLUMNS))

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        return {name: json.loads(str(self._arrays[f"column-{name}"])) for name in names}

    def pair(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= row < self.rows:
            raise IndexError(f"there is no row {row} of {self.rows}.")
        return self._arrays["clean"][row], self._arrays["noisy"][row]

    def close(self) -> None:
        pass


class NpzSink(Sink):
    """Writes ``npz/<name>.npz``."""

    format = "npz"
    folders = ("npz",)
    suffix = ".npz"
    reader = NpzReader

    def encode(self, name: ShardName, rows: ShardRows) -> bytes:
        # np.savez stamps no times, so equal rows give equal bytes.
        buffer = io.BytesIO()
        columns = {f"column-{key}": json.dumps(_plain(rows.columns[key])) for key in rows.columns}
        told = json.dumps(shard_attributes(name, rows, self.options))
        np.savez(buffer, clean=rows.clean, noisy=rows.noisy, attributes=told, **columns)  # type: ignore[arg-type]
        return buffer.getvalue()


def _plain(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)
