"""The columns of a patch row, stated once: sinks, readers, checks and the documentation follow.

A *shard* holds N pairs of stored pixels, ``clean`` and ``noisy``, each ``(N, H, W, C)``, and N
values of every column of :data:`COLUMNS`. Pixels are as they are stored, after clipping and
quantisation: uint8 in 0..255, uint16 in 0..65535 or float32 with the white level at 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from generators.capture import COLUMNS as CAPTURE_COLUMNS
from generators.capture import capture_column
from pipeline.pixels import SampleType, sample_type, white_level

__all__ = [
    "COLUMNS",
    "Column",
    "ColumnKind",
    "ShardRows",
    "Values",
    "column_of",
    "known_columns",
    "noise_std",
]

ColumnKind = Literal["string", "int32", "uint64", "float32"]
Values = Sequence[Any] | np.ndarray

_CHANNELS = (1, 3, 4)
_CHOICES = {"split": ("train", "val", "test"), "domain": ("srgb", "raw")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a patch row.

    Args:
        kind: Type of a value.
        doc: What it means, for the documentation and for files that carry descriptions.
        nullable: Whether a value may be unknown (``None``; in HDF5 ``""``, ``-1`` or NaN).
    """

    kind: ColumnKind
    doc: str
    nullable: bool = False


COLUMNS: Mapping[str, Column] = {
    "sample_id": Column(kind="string", doc="Unique name of this row in the corpus."),
    "source_id": Column(kind="string", doc="Id of the photograph, from its file's content."),
    "source_sha256": Column(kind="string", doc="SHA-256 of the photograph's file."),
    "source_uri": Column(kind="string", doc="Where the photograph was read from."),
    "scene": Column(kind="string", doc="Scene of the photograph; splits never divide one."),
    "crop_y": Column(kind="int32", doc="Top of the patch in the photograph, pixels."),
    "crop_x": Column(kind="int32", doc="Left of the patch in the photograph, pixels."),
    "height": Column(kind="int32", doc="Height of the stored images, pixels."),
    "width": Column(kind="int32", doc="Width of the stored images, pixels."),
    "generator": Column(kind="string", doc="Key of the noise generator in the manifest."),
    "generator_revision": Column(kind="int32", doc="Revision of the generator's pixels."),
    "weights_sha256": Column(kind="string", doc="SHA-256 of the weights; empty if there are none."),
    "params": Column(kind="string", doc="What the generator drew for this row, as JSON."),
    "camera": Column(kind="string", doc="Camera name, if known.", nullable=True),
    "iso": Column(kind="int32", doc="ISO speed, if known.", nullable=True),
    "seed": Column(kind="uint64", doc="Seed of this row's noise."),
    "split": Column(kind="string", doc="train, val or test."),
    "noise_std": Column(
        kind="float32", doc="Standard deviation of the stored noisy - clean, white level 1."
    ),
    "domain": Column(kind="string", doc="srgb (encoded) or raw (linear, packed R G G B)."),
}


def column_of(name: str) -> Column:
    """Return what a column holds: one of :data:`COLUMNS`, or further capture metadata.

    Raises:
        ValueError: If it is neither.
    """
    if name in COLUMNS:
        return COLUMNS[name]
    known = capture_column(name)
    return Column(kind=known.kind, doc=known.doc, nullable=True)


def known_columns(further: Iterable[str]) -> dict[str, Column]:
    """Return :data:`COLUMNS`, and those of some further columns that are known here."""
    return {**COLUMNS, **{name: column_of(name) for name in further if name in CAPTURE_COLUMNS}}


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardRows:
    """The rows of one shard, checked and in canonical types.

    Args:
        clean: ``(N, H, W, C)`` uint8, uint16 or float32 stored pixels; C is 1, 3 (RGB) or 4 (raw).
        noisy: Same shape and type.
        columns: Every column of :data:`COLUMNS`, N values each, and further capture metadata where
            a source of the corpus gives any. After construction they are in this order, the
            further ones by name; strings and nullable columns are lists, the others numpy arrays of
            the column's type.

    Raises:
        ValueError: If shapes, lengths, names or values do not fit the table.
        TypeError: If the pixels have another type.
    """

    clean: np.ndarray
    noisy: np.ndarray
    columns: dict[str, Any]

    def __post_init__(self) -> None:
        _check_pixels(self.clean, self.noisy)
        _check_names(self.columns)
        order = (*COLUMNS, *sorted(set(self.columns) - set(COLUMNS)))
        rows = self.clean.shape[0]
        columns = {name: _canonical(name, self.columns[name], rows) for name in order}
        _check_ids(columns["sample_id"])
        for name, axis in (("height", 1), ("width", 2)):
            if (columns[name] != self.clean.shape[axis]).any():
                raise ValueError(
                    f"column {name!r} must be the images' own, {self.clean.shape[axis]}."
                )
        object.__setattr__(self, "columns", columns)

    def __len__(self) -> int:
        return int(self.clean.shape[0])

    @property
    def encoding(self) -> SampleType:
        """Name of the stored type."""
        return sample_type(self.clean.dtype)

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return int(self.clean.shape[3])


def noise_std(clean: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Return each row's noise level as it is stored.

    Args:
        clean: ``(N, H, W, C)`` stored pixels.
        noisy: Same shape and type.

    Returns:
        ``(N,)`` float32, the standard deviation of ``noisy - clean`` over all samples of a row, in
        units of the white level.
    """
    white = white_level(clean.dtype)
    levels = [
        np.subtract(b, a, dtype=np.float64).std() / white for a, b in zip(clean, noisy, strict=True)
    ]
    return np.asarray(levels, dtype=np.float32)


def _check_pixels(clean: np.ndarray, noisy: np.ndarray) -> None:
    sample_type(clean.dtype)
    if clean.ndim != 4 or 0 in clean.shape or clean.shape[3] not in _CHANNELS:
        raise ValueError(
            "clean must be (N, H, W, C) with at least one row and 1, 3 or 4 channels; "
            f"its shape is {clean.shape}."
        )
    if noisy.shape != clean.shape or noisy.dtype != clean.dtype:
        raise ValueError(
            f"noisy must be as clean, {clean.shape} {clean.dtype}; "
            f"it is {noisy.shape} {noisy.dtype}."
        )
    if clean.dtype.kind == "f":
        for name, image in (("clean", clean), ("noisy", noisy)):
            if not np.isfinite(image).all():
                row = int(np.argmin(np.isfinite(image).all(axis=(1, 2, 3))))
                raise ValueError(f"{name} holds values that are not finite, first in row {row}.")


def _check_names(columns: Mapping[str, Any]) -> None:
    missing = [name for name in COLUMNS if name not in columns]
    unknown = sorted(set(columns) - set(COLUMNS) - set(CAPTURE_COLUMNS.names()))
    if missing or unknown:
        raise ValueError(
            f"rows must have the columns {', '.join(COLUMNS)}; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}."
        )


def _canonical(name: str, values: Values, rows: int) -> Any:
    """Return a column's values in the type of the table."""
    column = column_of(name)
    if len(values) != rows:
        raise ValueError(f"column {name!r} has {len(values)} values for {rows} rows.")
    plain = values.tolist() if isinstance(values, np.ndarray) else list(values)
    known = [value for value in plain if value is not None]
    if len(known) < rows and not column.nullable:
        raise ValueError(
            f"column {name!r} must have a value in every row; row {plain.index(None)} has none."
        )
    if column.kind == "string":
        _check_strings(name, known)
        return [_storable(value, nullable=column.nullable) for value in plain]
    numbers = _numbers(name, column.kind, known)
    if not column.nullable:
        return numbers
    if column.kind == "float32" and not np.isfinite(numbers).all():  # HDF5 keeps NaN for "unknown"
        raise ValueError(f"column {name!r} must be finite or None; got {numbers.tolist()}.")
    if column.kind != "float32" and (numbers < 0).any():  # HDF5 keeps -1 for "unknown"
        raise ValueError(f"column {name!r} must be >= 0 or None; got {int(numbers.min())}.")
    places = iter(numbers.tolist())
    return [None if value is None else next(places) for value in plain]


def _storable(value: str | None, *, nullable: bool) -> str | None:
    if value is None or (nullable and not value):  # HDF5 keeps "" for "unknown"
        return None
    if value.isascii():
        return value
    # A file name that is not UTF-8 arrives with lone surrogates, which no format can store.
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _numbers(name: str, kind: str, values: list[Any]) -> np.ndarray:
    if kind == "float32":
        return np.asarray(values, dtype=np.float32)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max  # computed anew each time they are asked for
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"column {name!r} takes whole numbers; got {value!r}.")
        if not low <= value <= high:
            raise ValueError(f"column {name!r} is {kind}; {value} does not fit.")
    return np.array(values, dtype=kind)


def _check_strings(name: str, values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"column {name!r} takes text; got {value!r}.")
        if "\0" in value:  # HDF5 ends a string at NUL, Parquet does not: they would differ
            raise ValueError(f"column {name!r} must not hold NUL characters; got {value!r}.")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"column {name!r} is one of {_CHOICES[name]}; got {value!r}.")


def _check_ids(ids: list[str]) -> None:
    if len(set(ids)) != len(ids):
        twice = next(value for value in ids if ids.count(value) > 1)
        raise ValueError(f"sample_id must differ between rows; {twice!r} appears twice.")
    for value in ids:
        # Parquet names its images after the id, and readers take that for a bare file name.
        if not value or "/" in value or "\\" in value or not value.isprintable():
            raise ValueError(f"sample_id must be usable as a file name; got {value!r}.")
