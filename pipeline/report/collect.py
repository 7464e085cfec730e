"""What a report looks at: a fair sample of the rows of a corpus, with real noise where it exists.

A *cell* is one camera at one ISO speed. From each cell the same patches are taken for every
generator, chosen by a hash of their place: the choice depends neither on the order of the shards
nor on a random number, and generators are compared on equal ground. Rows do not carry the real
noisy partner of their photograph; a :data:`RealPairs` function brings it from the source, with the
source's own clean pixels: a simulated camera's rows hold the clean image that it developed itself.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from pipeline.corpus.index import CorpusIndex
from pipeline.corpus.reader import CorpusReader
from pipeline.measure.metrics.base import Array
from pipeline.measure.noise_score import GREY, is_sound
from pipeline.measure.pair import ImagePair
from pipeline.records import ImageRecord

__all__ = [
    "Cell",
    "Made",
    "Patch",
    "RealPairs",
    "ReportSamples",
    "collect_samples",
    "real_pairs_from",
]

RealPairs: TypeAlias = Callable[[str, int, int, int], tuple[Array, Array] | None]
"""Clean and real noisy pixels of a patch by (source_id, y, x, size), or None: ``(H, W, C)``."""

# Pixels of generated images in a report: 6 million take some 5 s to read, measure and draw.
PIXEL_BUDGET = 6_000_000
ROWS_PER_CELL = 64
MAX_FILES = 64
_KEYS = ("source_id", "crop_y", "crop_x", "generator", "camera", "iso", "width")
_DETAILS = ("source_uri", "scene", "params", "split", "domain")


class Cell(NamedTuple):
    """One camera at one ISO speed; ``None`` where unknown."""

    camera: str | None
    iso: int | None

    def __str__(self) -> str:
        parts = [self.camera or "", f"ISO {self.iso}" if self.iso else ""]
        return ", ".join(part for part in parts if part) or "camera unknown"


class _Place(NamedTuple):
    """Which patch of which photograph; the same for all generators."""

    cell: Cell
    source_id: str
    y: int
    x: int

    @property
    def order(self) -> bytes:
        text = f"{self.source_id}\x1f{self.y}\x1f{self.x}"
        return hashlib.blake2b(text.encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made(ImagePair):
    """One generated row.

    Args:
        clean: ``(H, W, C)`` as stored: the request's clean image, or what a camera developed.
        noisy: Same shape and type.
        params: What the generator drew.
    """

    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """One patch of a photograph and all that was made of it.

    Args:
        cell: Camera and ISO of its rows.
        source_id: Id of the photograph.
        source_uri: Where it was read from.
        scene: Scene of the photograph.
        y: Top, pixels.
        x: Left, pixels.
        domain: ``srgb`` or ``raw``.
        made: Generator key to row.
        real: The source's own pair, if it has one.
    """

    cell: Cell
    source_id: str
    source_uri: str
    scene: str
    y: int
    x: int
    domain: str
    made: Mapping[str, Made]
    real: ImagePair | None = None

    @property
    def sound(self) -> bool:
        """Whether the real noise has no brightness offset, or there is none."""
        return self.real is None or is_sound(float(self.real.noise.mean()) * GREY)

    @property
    def clean(self) -> Array:
        """The clean image: the source's own where it was read again, else the first generator's."""
        return (self.real or next(iter(self.made.values()))).clean


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSamples:
    """The patches of a report.

    Args:
        generators: Generator keys, in the order of the manifest.
        patches: Patches, cell by cell, each cell in the order of the hash.
        rows_seen: Rows whose place was looked at.
    """

    generators: Sequence[str]
    patches: Sequence[Patch]
    rows_seen: int = 0

    @property
    def cells(self) -> dict[Cell, list[Patch]]:
        """Patches by cell, cells sorted by camera and ISO."""
        found: defaultdict[Cell, list[Patch]] = defaultdict(list)
        for patch in self.patches:
            found[patch.cell].append(patch)
        return dict(sorted(found.items(), key=lambda item: _cell_order(item[0])))

    @property
    def has_real(self) -> bool:
        """Return True if any patch has real noise."""
        return any(patch.real is not None for patch in self.patches)


@dataclass
class _Row:
    file: int
    row: int
    details: dict[str, Any] = field(default_factory=dict)


def collect_samples(
    root: str,
    index: CorpusIndex,
    *,
    per_cell: int = ROWS_PER_CELL,
    real_pairs: RealPairs | None = None,
) -> ReportSamples:
    """Read a sample of a corpus's rows.

    Args:
        root: Folder or URL of the corpus.
        index: Its index.
        per_cell: Largest number of rows a generator and cell; fewer where patches are large or
            cells many, so that a report's time and memory stay bounded.
        real_pairs: Brings real noise; ``None`` where no source has pairs.

    Raises:
        DatasetError: If a shard is damaged.
        StorageError: If a shard cannot be read.
    """
    reader = CorpusReader(root, index)
    rows, width = _places(reader)
    chosen = _choose(rows, per_cell, width)
    made = _read(reader, chosen)
    order = [entry.key for entry in index.generators]
    patches = [
        _patch(place, made[place], order, real_pairs)
        # By photograph within a cell's order: real_pairs decodes each one once.
        for place in sorted(made, key=lambda p: (p.source_id, p.y, p.x))
    ]
    patches.sort(key=lambda p: (_cell_order(p.cell), _Place(p.cell, p.source_id, p.y, p.x).order))
    return ReportSamples(generators=order, patches=patches, rows_seen=len(rows))


def real_pairs_from(records: Iterable[ImageRecord], read: Callable[[str], Array]) -> RealPairs:
    """Return a function that cuts real patches out of the pairs of a plan.

    Args:
        records: Image records; those without a noisy partner give nothing.
        read: Reads one image by its URI: ``(H, W, C)``.
    """
    pairs = {r.image_id: (r.uri, r.noisy_uri) for r in records if r.noisy_uri is not None}
    last: dict[str, list[Array]] = {}

    def cut(source_id: str, y: int, x: int, size: int) -> tuple[Array, Array] | None:
        if source_id not in pairs:
            return None
        if source_id not in last:
            last.clear()  # one photograph at a time: patches come photograph by photograph
            last[source_id] = [read(uri) for uri in pairs[source_id]]
        clean, noisy = (image[y : y + size, x : x + size] for image in last[source_id])
        return clean, noisy

    return cut


def _cell_order(cell: Cell) -> tuple[bool, str, int]:
    return (cell.camera is None, cell.camera or "", cell.iso or 0)


def _files(reader: CorpusReader) -> list[int]:
    """Return an even choice of the files, at most ``MAX_FILES``."""
    files = [number for number, file in enumerate(reader.files) if file.rows]
    if len(files) <= MAX_FILES:
        return files
    return [files[i] for i in np.linspace(0, len(files) - 1, MAX_FILES).astype(int).tolist()]


def _places(reader: CorpusReader) -> tuple[dict[tuple[str, _Place], _Row], int]:
    found: dict[tuple[str, _Place], _Row] = {}
    width = 1
    for file in _files(reader):
        with reader.opened(file) as shard:
            columns = shard.columns(_KEYS)
        for row in range(reader.files[file].rows):
            value = {name: columns[name][row] for name in _KEYS}
            cell = Cell(value["camera"] or None, value["iso"] or None)
            place = _Place(cell, value["source_id"], int(value["crop_y"]), int(value["crop_x"]))
            found[value["generator"], place] = _Row(file, row)
            width = max(width, int(value["width"]))
    return found, width


def _choose(
    rows: Mapping[tuple[str, _Place], _Row], per_cell: int, width: int
) -> dict[tuple[str, _Place], _Row]:
    groups: defaultdict[tuple[str, Cell], list[_Place]] = defaultdict(list)
    for generator, place in rows:
        groups[generator, place.cell].append(place)
    share = PIXEL_BUDGET // (max(len(groups), 1) * width * width)
    count = max(2, min(per_cell, share))
    chosen = {}
    for (generator, _), places in groups.items():
        for place in sorted(places, key=lambda p: p.order)[:count]:
            chosen[generator, place] = rows[generator, place]
    return chosen


def _read(
    reader: CorpusReader, chosen: Mapping[tuple[str, _Place], _Row]
) -> dict[_Place, dict[str, tuple[_Row, Made]]]:
    by_file: defaultdict[int, list[tuple[str, _Place, _Row]]] = defaultdict(list)
    for (generator, place), row in chosen.items():
        by_file[row.file].append((generator, place, row))
    made: defaultdict[_Place, dict[str, tuple[_Row, Made]]] = defaultdict(dict)
    for file, wanted in by_file.items():
        with reader.opened(file) as shard:
            columns = shard.columns(_DETAILS)
            for generator, place, row in sorted(wanted, key=lambda item: item[2].row):
                row.details = {name: columns[name][row.row] for name in _DETAILS}
                clean, noisy = (np.array(image) for image in shard.pair(row.row))
                params = _params(row.details["params"])
                made[place][generator] = (row, Made(clean=clean, noisy=noisy, params=params))
    return made


def _patch(
    place: _Place,
    rows: Mapping[str, tuple[_Row, Made]],
    order: Sequence[str],
    real_pairs: RealPairs | None,
) -> Patch:
    keys = sorted(rows, key=lambda key: order.index(key) if key in order else len(order))
    made = {key: rows[key][1] for key in keys}
    details = rows[keys[0]][0].details
    shape = made[keys[0]].clean.shape
    real = real_pairs(place.source_id, place.y, place.x, shape[0]) if real_pairs else None
    return Patch(
        cell=place.cell,
        source_id=place.source_id,
        source_uri=str(details["source_uri"]),
        scene=str(details["scene"]),
        y=place.y,
        x=place.x,
        domain=str(details["domain"]),
        made=made,
        # A grey corpus of a colour source, or a raw one, has no real partner of its own kind.
        real=ImagePair(clean=np.array(real[0]), noisy=np.array(real[1]))
        if real is not None and real[0].shape == real[1].shape == shape
        else None,
    )


def _params(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
