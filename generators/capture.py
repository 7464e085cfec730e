"""Capture metadata: what the camera was told, in named columns with a value a row.

Noise models are conditioned on how a photograph was taken: by which camera, at which ISO speed, for
how long, in which light. It is kept in the field's own words (names and numbers with units); each
model maps them to its own vocabulary, so no index ever travels between two models.

A column has one line in :data:`COLUMNS`. Sources that fill it, generators that need it and corpora
that store it know it by that line alone. Another distribution adds one by an entry point:

    [project.entry-points."noisemill.capture"]
    focal_length = "my_package.noise:FOCAL_LENGTH"      # a CaptureColumn
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from generators.registry import Registry

__all__ = [
    "COLUMNS",
    "CaptureColumn",
    "CaptureMetadata",
    "CaptureValue",
    "capture_column",
    "configuration_name",
    "configuration_row",
    "configurations_in_words",
]

CaptureValue = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureColumn:
    """What a column of capture metadata holds. Every value may be unknown.

    Args:
        kind: Type of a value: text, a whole number >= 0, or a finite number.
        doc: What it means, as stored beside the column.
        unit: Unit of the numbers, e.g. ``"s"``; empty for text and for numbers without one.
    """

    kind: Literal["string", "int32", "float32"]
    doc: str
    unit: str = ""

    def check(self, value: object) -> CaptureValue:
        """Return a value if it is one of this column's.

        Raises:
            ValueError: If it is not; the message says what is expected.
        """
        accepted = self._accept(value)
        if accepted is None:
            raise ValueError(f"{value!r}; expected {self._expected}.")
        return accepted

    def read(self, text: str) -> CaptureValue | None:
        """Return the value that a cell of a table stands for; None if it is empty.

        Raises:
            ValueError: If the text is no such value; the message says what is expected.
        """
        text = text.strip()
        if not text:
            return None
        value: object = text
        if self.kind == "float32":
            with suppress(ValueError):
                value = float(text)
        # Not all that int() takes is a number in a table: 1_000, or digits of other scripts.
        elif self.kind == "int32" and text.isascii() and text.isdigit():
            value = int(text)
        accepted = self._accept(value)
        if accepted is None:
            raise ValueError(f"{text!r}; expected {self._expected}, or nothing.")
        return accepted

    def _accept(self, value: object) -> CaptureValue | None:
        if isinstance(value, str):
            return value if self.kind == "string" and value and "\0" not in value else None
        if self.kind == "string" or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if self.kind == "float32":
            return float(value) if math.isfinite(value) else None
        return int(value) if 0 < value < 2**31 and value == int(value) else None

    @property
    def _expected(self) -> str:
        if self.kind == "string":
            return "text"
        if self.kind == "int32":
            return "a whole number above 0, such as 3200"
        return f"a number{f' in {self.unit}' if self.unit else ''}, such as 0.02"


_CAMERA = CaptureColumn(kind="string", doc="Camera name, if known.")
_ISO = CaptureColumn(kind="int32", doc="ISO speed, if known.")
_EXPOSURE = CaptureColumn(kind="float32", doc="Exposure time in seconds, if known.", unit="s")
_ILLUMINANT = CaptureColumn(kind="string", doc="Name of the light, e.g. D65, if known.")
_GAIN = CaptureColumn(
    kind="float32",
    doc="Sensor gain in white levels per electron, if known.",
    unit="white levels per electron",
)

COLUMNS = Registry(
    "capture column",
    "noisemill.capture",
    {
        "camera": "generators.capture:_CAMERA",
        "iso": "generators.capture:_ISO",
        "exposure": "generators.capture:_EXPOSURE",
        "illuminant": "generators.capture:_ILLUMINANT",
        "gain": "generators.capture:_GAIN",
    },
)


def capture_column(name: str) -> CaptureColumn:
    """Return what a column holds.

    Raises:
        ValueError: If there is no such column.
    """
    column = COLUMNS.load(name)
    if not isinstance(column, CaptureColumn):
        raise ValueError(
            f"capture column '{name}' of {COLUMNS.owner(name)} is a {type(column).__name__}; its "
            "entry point must name a generators.capture.CaptureColumn."
        )
    return column


def configuration_name(camera: str, iso: int) -> str:
    """Return the name of a configuration in weights and on cards, e.g. ``"S6_00800"``."""
    return f"{camera}_{iso:05d}"


def configurations_in_words(names: Iterable[str]) -> str:
    """Return configurations by camera, ``"G4 ISO 100; S6 ISO 100, 800"``; ``"none"`` of none."""
    speeds: dict[str, list[str]] = {}
    for name in names:
        camera, _, iso = name.rpartition("_")
        speeds.setdefault(camera, []).append(str(int(iso)))
    return "; ".join(f"{camera} ISO {', '.join(isos)}" for camera, isos in speeds.items()) or "none"


def configuration_row(
    camera: str | None, iso: int | None, known: Sequence[str], *, who: str, remedy: str
) -> int:
    """Return where a camera and ISO stand among the configurations that weights know.

    Args:
        camera: The camera; ``None`` is not known.
        iso: The ISO speed, likewise.
        known: Names of the configurations.
        who: Whose weights, for the message, e.g. ``"generator 'naflow'"``.
        remedy: What else than setting `camera` and `iso` can be done, for the message.

    Raises:
        ValueError: If it is not among them; the message names those that are.
    """
    name = configuration_name(camera, iso) if camera is not None and iso is not None else "?"
    if name not in known:
        raise ValueError(
            f"{who} does not know camera {camera!r} at ISO {iso}; its weights know "
            f"{configurations_in_words(known)}. Set `camera` and `iso` to one of them, or {remedy}."
        )
    return known.index(name)


@dataclass(frozen=True, init=False, slots=True)
class CaptureMetadata:
    """Named columns of what is known of every row of a batch.

    Camera and ISO are always there, unknown or not; a column that is not there is unknown in every
    row.

    Args:
        columns: One value a row, ``None`` where unknown: ``camera=("Nikon D800",), iso=(3200,)``.

    Raises:
        ValueError: If there is no column, or their lengths differ.

    Example:
        >>> capture = CaptureMetadata(camera=("A", "B"), exposure=(0.01, None))
        >>> capture.iso, capture["exposure"], capture["gain"]
        ((None, None), (0.01, None), (None, None))
    """

    columns: Mapping[str, tuple[Any, ...]]

    def __init__(self, **columns: Sequence[CaptureValue | None]) -> None:
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) != 1:
            told = ", ".join(f"{number} of {name}" for name, number in lengths.items())
            raise ValueError(
                f"capture metadata needs one value a row in every column; got {told or 'none'}."
            )
        unknown = (None,) * next(iter(lengths.values()))
        every: dict[str, tuple[Any, ...]] = {"camera": unknown, "iso": unknown}
        every |= {name: tuple(values) for name, values in columns.items()}
        object.__setattr__(self, "columns", every)

    def __len__(self) -> int:
        return len(self.columns["camera"])

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        """Return a column's values, all ``None`` where there is no such column."""
        return self.columns.get(name) or (None,) * len(self)

    @property
    def camera(self) -> tuple[str | None, ...]:
        """Camera names, e.g. ``"Nikon D800"``; ``None`` where unknown."""
        return self.columns["camera"]

    @property
    def iso(self) -> tuple[int | None, ...]:
        """ISO speeds, e.g. ``3200``; ``None`` where unknown."""
        return self.columns["iso"]

    @classmethod
    def unknown(cls, rows: int) -> CaptureMetadata:
        """Return ``rows`` rows of which nothing is known."""
        return cls(camera=(None,) * rows)

    @classmethod
    def same(cls, rows: int, **values: CaptureValue | None) -> CaptureMetadata:
        """Return ``rows`` rows with the same values, ``same(4, camera="Nikon D800", iso=800)``."""
        return cls(camera=(None,) * rows).given(**values)

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, CaptureValue | None]]) -> CaptureMetadata:
        """Return what is known of each row, given row by row; a name not given is unknown."""
        names = dict.fromkeys(name for row in rows for name in row)
        every: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names}
        return cls(**{"camera": (None,) * len(rows), **every})

    def select(self, rows: Sequence[int]) -> CaptureMetadata:
        """Return the given rows, in the given order."""
        return CaptureMetadata(
            **{name: [values[i] for i in rows] for name, values in self.columns.items()}
        )

    def given(self, **values: CaptureValue | None) -> CaptureMetadata:
        """Return the same with values in place of the rows' own, where they are not ``None``."""
        every = {name: (value,) * len(self) for name, value in values.items() if value is not None}
        return CaptureMetadata(**{**self.columns, **every})
