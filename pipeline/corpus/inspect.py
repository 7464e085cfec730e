"""What is in a corpus: counts, noise levels, sizes, and a contact sheet to look at.

The contact sheet shows one pair a line: clean, noisy, and the noise amplified by a fixed gain about
mid-grey, so that two lines (and two corpora) can be compared by eye.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.corpus.index import CorpusIndex, load_corpus
from pipeline.corpus.reader import CorpusReader, open_corpus
from pipeline.pixels import to_unit64
from pipeline.storage import is_remote, publish

__all__ = ["GAIN", "NoiseLevels", "Summary", "draw_gallery", "summarise", "summarise_index"]

GAIN = 5.0
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_SIDE = 224
_CANDIDATES = 6
_MARGIN = 12
_TEXT = 18
_UNKNOWN = "unknown"
_PAPER, _INK, _GREY = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLevels:
    """Distribution of ``noise_std`` over the rows of a generator, in units of the white level."""

    rows: int
    mean: float
    minimum: float
    q05: float
    q25: float
    median: float
    q75: float
    q95: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Numbers of a corpus.

    Args:
        name: Name of the corpus.
        rows: Number of pairs.
        splits: Pairs of each split.
        generators: Pairs of each generator, by key.
        captures: Pairs of each camera and ISO, ``"unknown"`` where not known.
        further: Columns of capture metadata beside camera and ISO.
        noise: Noise levels of each generator.
        image: ``(height, width)`` of the images, pixels, with their number of pairs.
        bytes: Bytes of each format's files.
        files: Files of each format.
        rejected: Pairs that were planned and refused.
    """

    name: str
    rows: int
    splits: Mapping[str, int]
    generators: Mapping[str, int]
    captures: Mapping[tuple[str, int | None], int]
    further: Sequence[str]
    noise: Mapping[str, NoiseLevels]
    image: Mapping[tuple[int, int], int]
    bytes: Mapping[str, int]
    files: Mapping[str, int]
    rejected: int

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        plain = {
            key: getattr(self, key)
            for key in ("name", "rows", "splits", "generators", "bytes", "files", "rejected")
        }
        return {
            **plain,
            "shots": [
                {"camera": camera, "iso": iso, "rows": rows}
                for (camera, iso), rows in self.captures.items()
            ],
            **({"further": list(self.further)} if self.further else {}),
            "noise": {key: asdict(levels) for key, levels in self.noise.items()},
            "images": [
                {"height": height, "width": width, "rows": rows}
                for (height, width), rows in self.image.items()
            ],
        }


def summarise(root: str) -> Summary:
    """Count what a corpus holds; pixels are not read.

    Raises:
        FileNotFoundError: If ``root`` is not a corpus.
        DatasetError: If a shard is damaged.
    """
    return summarise_index(root, load_corpus(root))


def summarise_index(root: str, index: CorpusIndex) -> Summary:
    """Count what the shards of an index hold; ``corpus.json`` need not be there yet."""
    generators: Counter[str] = Counter()
    captures: Counter[tuple[str, int | None]] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    levels: dict[str, list[float]] = {}
    further: set[str] = set()
    for _, shard in CorpusReader(root, index).shards():
        columns = shard.columns(["generator", "camera", "iso", "height", "width", "noise_std"])
        generators.update(columns["generator"])
        further.update(shard.further)
        cameras = [camera or _UNKNOWN for camera in columns["camera"]]
        captures.update(zip(cameras, columns["iso"], strict=True))
        sizes.update(zip(columns["height"], columns["width"], strict=True))
        for key, level in zip(columns["generator"], columns["noise_std"], strict=True):
            levels.setdefault(key, []).append(level)
    files = [file for shard in index.shards for file in shard.files]
    return Summary(
        name=index.name,
        rows=sum(shard.rows for shard in index.shards),
        splits=index.splits,
        generators=dict(sorted(generators.items())),
        captures=dict(sorted(captures.items(), key=lambda item: (item[0][0], item[0][1] or 0))),
        further=sorted(further),
        noise={key: _levels(values) for key, values in sorted(levels.items())},
        image=dict(sorted(sizes.items())),
        bytes={
            name: sum(file.bytes for file in files if file.format == name) for name in index.formats
        },
        files=dict(sorted(Counter(file.format for file in files).items())),
        rejected=index.totals.rejected,
    )


def draw_gallery(root: str, path: str, rows: int = 6) -> None:
    """Draw a contact sheet: clean, noisy, noise amplified, one pair a line.

    Lines are spread over generators, cameras and ISO speeds; the same corpus gives the same sheet.

    Args:
        root: Folder or URL of the corpus.
        path: PNG file to write, a local file or a URL.
        rows: Number of lines, at most.

    Raises:
        FileNotFoundError: If ``root`` is not a corpus.
        ValueError: If the corpus holds no pairs, or ``rows`` is below 1.
        DatasetError: If a shard is damaged.
    """
    if rows < 1:
        raise ValueError(f"a gallery needs at least one line; got rows={rows}.")
    reader = open_corpus(root)
    chosen = _choose(reader, rows)
    if not chosen:
        raise ValueError(f"{root} holds no pairs to draw.")
    lines = [_line(reader, candidates) for candidates in chosen]
    reader.close()
    sheet = _sheet(reader.index.name, lines)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    folder, name = _divide(path)
    publish(folder, name, buffer.getvalue())


def _levels(values: Sequence[float]) -> NoiseLevels:
    array = np.asarray(values, dtype=np.float64)
    low, q05, q25, median, q75, q95, high = (float(q) for q in np.quantile(array, _QUANTILES))
    return NoiseLevels(
        rows=len(array),
        mean=float(array.mean()),
        minimum=low,
        q05=q05,
        q25=q25,
        median=median,
        q75=q75,
        q95=q95,
        maximum=high,
    )


_Candidate = tuple[int, int, dict[str, Any]]  # file, row in it, some of its columns


def _choose(reader: CorpusReader, rows: int) -> list[list[_Candidate]]:
    """Return candidates for each line, over as many generators, cameras and ISO as possible."""
    groups: dict[tuple[str, str, int], list[_Candidate]] = {}
    for file in _spread(range(len(reader.files)), 8 * rows):
        names = ["sample_id", "generator", "camera", "iso", "noise_std"]
        columns = reader.shard(file).columns(names)
        keys = zip(columns["generator"], columns["camera"], columns["iso"], strict=True)
        for row, (generator, camera, iso) in enumerate(keys):
            values = {name: column[row] for name, column in columns.items()}
            key = (generator, camera or "", iso or 0)
            groups.setdefault(key, []).append((file, row, values))
    # With more groups than lines, take groups evenly; with fewer, several lines of each.
    named = _spread([groups[key] for key in sorted(groups)], rows)
    lines = []
    for number, group in enumerate(named):
        share = rows // len(named) + (number < rows % len(named))
        size = -(-len(group) // share)
        lines += [group[start : start + size] for start in range(0, len(group), size)]
    return lines


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most ``count`` items, evenly from first to last."""
    if len(items) <= count:
        return list(items)
    places = np.linspace(0, len(items) - 1, count).round().astype(int)
    return [items[place] for place in places]


def _line(reader: CorpusReader, candidates: Sequence[_Candidate]) -> tuple[str, list[np.ndarray]]:
    """Return caption and images of the candidate with the most to see in its clean image."""
    pairs = []
    for file, row, values in _spread(candidates, _CANDIDATES):
        clean, noisy = reader.shard(file).pair(row)
        pairs.append((to_unit64(clean), to_unit64(noisy), values))
    clean, noisy, values = max(pairs, key=lambda pair: float(pair[0].std()))
    amplified = 0.5 + GAIN * (noisy - clean)
    camera = values["camera"] or "camera unknown"
    iso = f"ISO {values['iso']}" if values["iso"] is not None else "ISO unknown"
    level = f"noise {255 * values['noise_std']:.2f} grey levels"
    caption = f"{values['generator']}  ·  {camera}  ·  {iso}  ·  {level}"
    return caption, [_displayed(clean), _displayed(noisy), _displayed(amplified, linear=False)]


def _displayed(image: np.ndarray, *, linear: bool = True) -> np.ndarray:
    """Return an image as 8-bit RGB to look at; packed raw is reduced to one colour a cell."""
    if image.shape[2] == 4:
        red, green, blue = image[..., 0], image[..., 1:3].mean(axis=2), image[..., 3]
        image = np.stack([red, green, blue], axis=2)
        if linear:
            image = np.clip(image, 0, 1) ** (1 / 2.2)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    shown: np.ndarray = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return shown


def _sheet(name: str, lines: Sequence[tuple[str, list[np.ndarray]]]) -> Image.Image:
    """Put the lines under a title and column heads."""
    font, bold = ImageFont.load_default(13), ImageFont.load_default(17)
    tiles = [[_tile(image) for image in images] for _, images in lines]
    width = max(tile.width for line in tiles for tile in line)
    heights = [max(tile.height for tile in line) for line in tiles]
    head = _MARGIN + 2 * _TEXT + 10
    total = head + sum(height + _TEXT + _MARGIN for height in heights) + _MARGIN
    sheet = Image.new("RGB", (3 * width + 4 * _MARGIN, total), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), name, fill=_INK, font=bold)
    heads = ("clean", "noisy", f"noise x{GAIN:g} around mid-grey")
    lefts = [_MARGIN + column * (width + _MARGIN) for column in range(3)]
    for left, text in zip(lefts, heads, strict=True):
        draw.text((left, _MARGIN + _TEXT + 4), text, fill=_INK, font=font)
    top = head
    for (caption, _), line, height in zip(lines, tiles, heights, strict=True):
        for left, tile in zip(lefts, line, strict=True):
            sheet.paste(tile, (left, top))
        draw.text((_MARGIN, top + height + 2), caption, fill=_GREY, font=font)
        top += height + _TEXT + _MARGIN
    return sheet


def _tile(image: np.ndarray) -> Image.Image:
    """Enlarge a small image by a whole factor, so that pixels stay pixels; reduce a large one."""
    height, width = image.shape[:2]
    tile = Image.fromarray(image)
    factor = _SIDE // max(height, width)
    if factor >= 1:
        return tile.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    # The middle at full size: reducing would average the noise away.
    left, top = (width - min(width, _SIDE)) // 2, (height - min(height, _SIDE)) // 2
    return tile.crop((left, top, left + min(width, _SIDE), top + min(height, _SIDE)))


def _divide(path: str) -> tuple[str, str]:
    if is_remote(path):
        folder, _, name = path.rpartition("/")
        return folder, name
    place = Path(path).expanduser()
    return str(place.parent), place.name
