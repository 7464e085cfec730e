"""The figures of an evaluation as tables: on the screen, in Markdown, as CSV.

The main table is over sound blocks where real noise tells them, else over all. Every heading
carries its convention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.likeness import LIKENESS
from pipeline.evaluation.marks import mark, mark_conventions
from pipeline.evaluation.metrics import Shown, picture_metrics, shown
from pipeline.evaluation.noise import OFFSET, NoiseMeasure
from pipeline.evaluation.rows import GROUPS, Row, names_of
from pipeline.manifest.models import EvaluateManifest
from pipeline.measure.metrics.quality import QUALITY_CONVENTIONS, QualityConvention
from pipeline.results.tables import NONE, Table, csv_text, failed_row, fixed

__all__ = [
    "conventions",
    "figures_csv",
    "group_table",
    "key_measures",
    "main_table",
    "main_unit",
    "markdown",
    "measure_shown",
    "printed",
]

_TWO = ("mean", "median")
_SIDES = ("correlation right", "correlation down", "std")


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    value: Callable[[Row, Mapping[str, Any]], str]


def conventions(manifest: EvaluateManifest, rows: Sequence[Row] = ()) -> dict[str, str]:
    """Return what each measure is, with its convention, and each mark of the rows, in words."""
    if manifest.denoisers is not None:
        found = {
            f"psnr, ssim ({name})": str(QUALITY_CONVENTIONS[QualityConvention(name)])
            for name in manifest.metrics.quality
        }
        others = picture_metrics(manifest.metrics)
        found |= {m.title: m.about for m in others if m.name in manifest.metrics.also}
    else:
        measure = NoiseMeasure(manifest.metrics)
        found = {
            **{metric.title: metric.about for metric in measure.distances},
            measure.density.title: measure.density.about,
            "correlation": "of noise with its neighbour; the block's and channel's mean taken off",
            "std": "standard deviation of noise, grey levels",
            "correlation distance": "rms difference of the maps, centre left out",
            "spectrum distance": "rms difference of the radial spectra, dB",
            LIKENESS: "of generated with real noise, pixel by pixel: 0 if new, 1 for a copy",
            **mark_conventions(rows),
        }
    if manifest.data is not None and manifest.data.synthetic:
        return found  # noise that was put on has no offset
    limit = manifest.metrics.sound_offset
    levels = f"{limit:g} grey level{'s' if limit != 1 else ''}"
    return {**found, "sound blocks": f"|mean(noisy - clean)| of the real pair at most {levels}"}


def main_table(manifest: EvaluateManifest, rows: Sequence[Row]) -> Table:
    """Return one line a row: the measures that any row has."""
    done = [row for row in rows if row.done]
    over = _subset(rows)
    columns = _quality_columns(rows) if manifest.denoisers is not None else _noise_columns(done)
    lines = [
        [row.name, *(column.value(row, row.subset(over)) for column in columns)]
        if row.done
        else failed_row(row.name, row.error, 1 + len(columns))
        for row in rows
    ]
    if manifest.denoisers is None and done:
        lines.extend(_real_line(done, over, columns))
    blocks = max((row.subset(over).get("blocks", 0) for row in done), default=0)
    return Table(_title(manifest, over, blocks), ["", *(c.title for c in columns)], lines)


def group_table(rows: Sequence[Row], group: str, measure: str) -> Table | None:
    """Return a measure's mean by group, groups down and rows across; nothing for a single group.

    Args:
        rows: All rows.
        group: Of :data:`~pipeline.evaluation.rows.GROUPS`.
        measure: Name of a block value.
    """
    levels, digits = GROUPS[group], measure_shown(rows, measure).digits
    found: dict[tuple[Any, ...], dict[str, str]] = {}
    counts: dict[tuple[Any, ...], int] = {}
    done = [row for row in rows if row.done]
    for row in done:
        for entry in row.figures["groups"][group]:
            key = tuple(entry[level] for level in levels)
            counts[key] = max(counts.get(key, 0), entry["blocks"])
            found.setdefault(key, {})[row.name] = fixed(_mean(entry, measure), digits)
    if len(found) < 2:
        return None
    lines = [
        [_words(key), f"{counts[key]:,}", *(values.get(row.name, NONE) for row in done)]
        for key, values in found.items()
    ]
    title = f"{measure}, mean, by {group}"
    return Table(title, [group, "blocks", *(row.name for row in done)], lines)


def key_measures(rows: Sequence[Row]) -> list[str]:
    """Return the measures worth a table by camera and ISO: the metrics."""
    return [name for name in names_of(rows) if measure_shown(rows, name).name]


def measure_shown(rows: Sequence[Row], name: str) -> Shown:
    """Return how a measure is shown."""
    return shown((row.figures for row in rows), name)


def printed(manifest: EvaluateManifest, rows: Sequence[Row]) -> str:
    """Return the main table as aligned plain text."""
    return main_table(manifest, rows).plain()


def markdown(manifest: EvaluateManifest, rows: Sequence[Row]) -> str:
    """Return all tables as Markdown."""
    parts = [f"# {manifest.name}\n"]
    if manifest.description:
        parts.append(f"{manifest.description}\n")
    parts.append(main_table(manifest, rows).markdown())
    for measure in key_measures(rows):
        for group in ("camera, iso", "image"):
            table = group_table(rows, group, measure)
            if table is not None:
                parts.append(table.markdown())
    meanings = conventions(manifest, rows)
    listed = "\n".join(f"- **{name}**: {text}" for name, text in meanings.items())
    return "\n".join([*parts, f"## Conventions\n\n{listed}\n"])


def figures_csv(rows: Sequence[Row]) -> str:
    """Return every figure flat: one line a row, subset and group."""
    names = names_of(rows)
    pooled = list(dict.fromkeys(n for row in rows for n in row.figures.get("pooled", {})))
    columns = [
        *("row", "status", "over", "image", "camera", "iso", "blocks"),
        *(f"{name} {middle}" for name in names for middle in _TWO),
        *pooled,
        "error",
    ]
    lines: list[list[Any]] = []
    for row in rows:
        for over, place, entry in _entries(row):
            totals = row.figures.get("pooled", {}) if over == "all" else {}
            lines.append(
                [
                    *(row.name, "done", over),
                    *(place.get(level) for level in ("image", "camera", "iso")),
                    entry["blocks"],
                    *((entry.get(name) or {}).get(middle) for name in names for middle in _TWO),
                    *(totals.get(name) for name in pooled),
                    None,
                ]
            )
        if not row.done:
            lines.append([row.name, "failed", *[None] * (len(columns) - 3), row.error])
    return csv_text(columns, lines)


def _entries(row: Row) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for over, entry in row.figures.get("summary", {}).items():
        yield over, {}, entry
    for title, entries in row.figures.get("groups", {}).items():
        for entry in entries:
            yield f"by {title}", entry, entry


def _subset(rows: Sequence[Row]) -> str:
    return "sound" if any(row.subset("sound").get("blocks") for row in rows) else "all"


def _title(manifest: EvaluateManifest, over: str, blocks: int) -> str:
    what = f"{blocks:,} {main_unit(manifest)}{'s' if blocks != 1 else ''}"
    if over == "sound":
        limit = manifest.metrics.sound_offset
        what += f" within {limit:g} grey level{'s' if limit != 1 else ''} of offset"
    middle = "mean" if manifest.denoisers is not None else "mean, or mean / median"
    return f"{manifest.name}: over {what}, {middle}"


def main_unit(manifest: EvaluateManifest) -> str:
    """Return what is measured at a time: ``image`` or ``block``."""
    data = manifest.data
    whole = manifest.denoisers is not None and data is not None and data.block is None
    return "image" if whole else "block"


def _noise_columns(rows: Sequence[Row]) -> list[_Column]:
    names = [
        name
        for name in names_of(rows)
        if name != OFFSET and not name.startswith("real ") and _any(rows, name)
    ]
    pooled = dict.fromkeys(n for row in rows for n in row.figures.get("pooled", {}))
    if any(name.startswith("kld") for name in names):
        pooled = dict.fromkeys(name for name in pooled if not name.startswith("kld"))
    columns = [_Column(name, _value(name, measure_shown(rows, name))) for name in names]
    columns += [_Column(name, _pooled(name)) for name in pooled]
    if any(mark(row) for row in rows):
        columns.append(_Column("mark", lambda row, entry: mark(row)))
    return columns


def _quality_columns(rows: Sequence[Row]) -> list[_Column]:
    names = [n for n in names_of(rows) if n != OFFSET]
    columns = []
    for name in names:
        how = measure_shown(rows, name)
        columns.append(_Column(name, _value(name, how)))
        if how.name == "psnr":
            columns.append(_Column("gain", _gain(rows, name)))
    return columns


def _real_line(rows: Sequence[Row], over: str, columns: Sequence[_Column]) -> Iterator[list[str]]:
    """Yield the line of the real noise itself, where it was measured block by block."""
    row = next((r for r in rows if _any([r], "real std")), None)
    if row is not None:
        entry = row.subset(over)
        known = {name: _one(f"real {name}", 2)(row, entry) for name in _SIDES}
    else:
        real = next(
            (r.figures["noise"]["real"] for r in rows if "real" in r.figures["noise"]), None
        )
        if real is None:
            return
        grid, middle = real["correlation map"], len(real["correlation map"]) // 2
        values = (grid[middle][middle + 1], grid[middle + 1][middle], real["std, grey levels"])
        known = dict(zip(_SIDES, (fixed(value, 2) for value in values), strict=True))
    yield ["real noise", *(known.get(column.title, NONE) for column in columns)]


def _both(name: str, digits: int) -> Callable[[Row, Mapping[str, Any]], str]:
    def value(row: Row, entry: Mapping[str, Any]) -> str:
        found = entry.get(name) or {}
        if found.get("mean") is None and found.get("median") is None:
            return NONE
        return " / ".join(fixed(found.get(middle), digits) for middle in _TWO)

    return value


def _value(name: str, how: Shown) -> Callable[[Row, Mapping[str, Any]], str]:
    """Return what a few bad blocks pull apart as mean and median, the rest as means."""
    return _both(name, how.digits) if how.skewed else _one(name, how.digits)


def _one(name: str, digits: int) -> Callable[[Row, Mapping[str, Any]], str]:
    return lambda row, entry: fixed(_mean(entry, name), digits)


def _pooled(name: str) -> Callable[[Row, Mapping[str, Any]], str]:
    return lambda row, entry: fixed(row.figures.get("pooled", {}).get(name), 4)


def _gain(rows: Sequence[Row], name: str) -> Callable[[Row, Mapping[str, Any]], str]:
    def value(row: Row, entry: Mapping[str, Any]) -> str:
        same = [
            r
            for r in rows
            if r.kind == "input"
            and r.done
            and r.about.get("condition") == row.about.get("condition")
        ]
        mine = (entry.get(name) or {}).get("mean")
        if row.kind == "input" or not same or mine is None:
            return ""
        base = (same[0].subset(_subset(rows)).get(name) or {}).get("mean")
        return NONE if base is None else f"{mine - base:+.2f}"

    return value


def _any(rows: Sequence[Row], name: str) -> bool:
    return any((row.subset("all").get(name) or {}).get("median") is not None for row in rows)


def _mean(entry: Mapping[str, Any], measure: str) -> float | None:
    mean: float | None = (entry.get(measure) or {}).get("mean")
    return mean


def _words(key: tuple[Any, ...]) -> str:
    return ", ".join(
        "unknown" if value is None else f"ISO {value}" if isinstance(value, int) else str(value)
        for value in key
    )
