"""The page: what was collected and measured, as one HTML file without outside resources."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from pipeline.corpus.formats import format_of
from pipeline.corpus.index import CorpusIndex
from pipeline.measure.metrics.kld import KldConvention
from pipeline.measure.pair import ImagePair
from pipeline.pixels import to_unit64
from pipeline.report import figures
from pipeline.report.collect import Patch, ReportSamples
from pipeline.report.layout import label, layout, plain
from pipeline.report.measure import (
    REAL,
    CellTable,
    NoiseProfile,
    Score,
    cell_tables,
    edge_share,
    profiles,
)
from pipeline.storage import exists, join, publish, read_bytes

__all__ = ["GALLERY_NAME", "REPORT_NAME", "pick_gallery", "render_report", "write_report"]

REPORT_NAME = "report.html"
GALLERY_NAME = "gallery.png"
REJECTED_NAME = "rejected.jsonl"
MAX_CELLS = 12
MAX_SHARDS = 1000
TILE_PIXELS = 192
MAX_GALLERY_ROWS = 4
MAX_EDGE_SHARE = 0.05
MAX_CANDIDATES = 48


def write_report(
    root: str,
    index: CorpusIndex,
    samples: ReportSamples,
    *,
    verified: bool | None = None,
    convention: KldConvention = KldConvention.NAFLOW,
) -> str:
    """Write ``report.html`` and ``gallery.png`` into a corpus.

    Args:
        root: Folder or URL of the corpus.
        index: Its index.
        samples: What :func:`pipeline.report.collect.collect_samples` read.
        verified: Whether every checksum was found right; ``None`` if nobody looked.
        convention: KLD convention of the tables.

    Returns:
        Where the page is.

    Raises:
        StorageError: If it cannot be written.
    """
    rejects = _read_rejects(root)
    page = render_report(index, samples, rejects, verified=verified, convention=convention)
    publish(root, REPORT_NAME, page.encode())
    shown = [patch for _, patches in pick_gallery(samples) for patch in patches]
    if shown:
        rows = [shown[i] for i in _spread(len(shown), MAX_GALLERY_ROWS)]
        publish(root, GALLERY_NAME, figures.gallery_png(rows, samples.generators))
    return join(root, REPORT_NAME)


def render_report(
    index: CorpusIndex,
    samples: ReportSamples,
    rejects: Sequence[Mapping[str, Any]] = (),
    *,
    verified: bool | None = None,
    convention: KldConvention = KldConvention.NAFLOW,
) -> str:
    """Return the page's HTML.

    Args:
        index: The corpus's index.
        samples: Patches to show and measure.
        rejects: Refused inputs, as in ``rejected.jsonl``.
        verified: Whether every checksum was found right; ``None`` if nobody looked.
        convention: KLD convention of the tables.
    """
    return layout("template.html.j2").render(
        **_facts(index),
        verified=verified,
        rejects=_reject_reasons(rejects),
        gain=figures.NOISE_GAIN,
        has_real=samples.has_real,
        rows_seen=samples.rows_seen,
        gallery=[_gallery_cell(str(cell), patches) for cell, patches in pick_gallery(samples)],
        cells=len(samples.cells),
        diagrams=_diagrams(samples),
        convention=str(convention),
        tables=[_table(table) for table in cell_tables(samples, convention)],
    )


def pick_gallery(samples: ReportSamples) -> list[tuple[Any, list[Patch]]]:
    """Choose the patches to show: every generator in every cell, textured and well exposed.

    Returns:
        Cell and patches, at most 12 cells spread evenly over all.
    """
    cells = list(samples.cells.items())
    cells = [cells[i] for i in _spread(len(cells), MAX_CELLS)]
    count = {1: 4, 2: 3, 3: 2, 4: 2}.get(len(cells), 1)
    return [(cell, _pick(patches, count)) for cell, patches in cells]


def _spread(length: int, count: int) -> list[int]:
    """Return at most ``count`` indices below ``length``, evenly apart."""
    return sorted({round(i) for i in np.linspace(0, length - 1, min(length, count)).tolist()})


def _pick(patches: Sequence[Patch], count: int) -> list[Patch]:
    left = sorted(patches[:MAX_CANDIDATES], key=_interest, reverse=True)
    wanted = {key for patch in patches for key in patch.made}
    shown: list[Patch] = []
    while left and (wanted or len(shown) < count):
        # First what shows generators not yet seen, then other photographs, then interest.
        sources = {patch.source_id for patch in shown}
        best = max(left, key=lambda p: (len(wanted & p.made.keys()), p.source_id not in sources))
        if not wanted & best.made.keys() and len(shown) >= count:
            break
        left.remove(best)
        shown.append(best)
        wanted -= best.made.keys()
    return shown


def _interest(patch: Patch) -> tuple[bool, bool, float]:
    clean = to_unit64(patch.clean)
    well_exposed = 0.15 < clean.mean() < 0.8
    # The outline of a badly aligned pair is no noise, and would be all that one sees.
    share = 0.0 if patch.real is None else edge_share(patch.real)
    if not patch.sound or share > MAX_EDGE_SHARE:
        return False, well_exposed, -share
    return True, well_exposed, min(float(clean.std()), 0.1)


def _facts(index: CorpusIndex) -> dict[str, Any]:
    data = index.to_dict()
    shards = [file for shard in index.shards for file in shard.files]
    seconds = index.totals.seconds
    manifest = yaml.safe_dump(dict(index.manifest), sort_keys=False, allow_unicode=True)
    return {
        "name": index.name,
        "description": str(index.manifest.get("description") or "").strip(),
        "license": index.manifest.get("license"),
        "attribution": index.manifest.get("attribution"),
        "created": index.created.replace("T", " ").replace("Z", " UTC"),
        "totals": index.totals,
        "speed": index.totals.rows / seconds if seconds > 0 else None,
        "planned": sum(shard.planned for shard in index.shards),
        "splits": index.splits,
        "formats": index.formats,
        "images": sum(source.images for source in index.sources),
        "patch": (index.manifest.get("patches") or {}).get("size"),
        "generators": index.generators,
        "sources": index.sources,
        "seed": index.seed,
        "hardware": {label(k): plain(value) for k, value in index.hardware.items() if value},
        "software": {key: value for key, value in index.software.items() if value},
        "git": index.git,
        "hashes": {"manifest": index.manifest_sha256, "plan": index.plan_sha256},
        "format_version": data["format_version"],
        "manifest": manifest,
        "files": shards[:MAX_SHARDS],
        "files_more": max(0, len(shards) - MAX_SHARDS),
        "examples": _examples(index),
    }


def _examples(index: CorpusIndex) -> list[str]:
    """Return how to open the corpus without noisemill, a few lines of Python a format."""
    first = {file.format: (shard, file) for shard in reversed(index.shards) for file in shard.files}
    formats = sorted(first, key=lambda name: (not format_of(name).hub_pictures, name))
    told = (format_of(name).example(first[name][1].path, first[name][0].split) for name in formats)
    return [text for text in told if text is not None]


def _gallery_cell(title: str, patches: Sequence[Patch]) -> dict[str, Any]:
    return {"title": title, "rows": [_gallery_row(patch) for patch in patches]}


def _gallery_row(patch: Patch) -> dict[str, Any]:
    clean = figures.crop(figures.picture(patch.clean, patch.domain))
    pairs: list[tuple[str, ImagePair, Mapping[str, Any]]] = [
        (key, made, made.params) for key, made in patch.made.items()
    ]
    if patch.real is not None:
        pairs.insert(0, (REAL, patch.real, {}))
    side = clean.shape[1]
    return {
        "scene": patch.scene,
        "place": f"y {patch.y}, x {patch.x}",
        "side": side,
        "width": side * max(1, TILE_PIXELS // side),
        "cropped": patch.clean.shape[1] > side,
        "clean": figures.image_uri(clean),
        "tiles": [_tile(key, pair, params, patch.domain) for key, pair, params in pairs],
    }


def _tile(
    key: str, pair: ImagePair, params: Mapping[str, Any], domain: str
) -> dict[str, str | float]:
    return {
        "key": key,
        "noisy": figures.image_uri(figures.crop(figures.picture(pair.noisy, domain))),
        "noise": figures.image_uri(figures.crop(figures.noise_picture(pair))),
        "std": float(pair.noise.std()) * 255.0,
        "params": _short_params(params),
    }


def _diagrams(samples: ReportSamples) -> list[dict[str, Any]]:
    found = profiles(samples)
    real = found.pop(REAL, None)
    return [_diagram(key, profile, real, samples) for key, profile in found.items()]


def _diagram(
    key: str, profile: NoiseProfile, real: NoiseProfile | None, samples: ReportSamples
) -> dict[str, Any]:
    place = list(samples.generators).index(key) if key in samples.generators else 0
    color = figures.PALETTE[place % len(figures.PALETTE)]
    # A camera that stays raw has four channels and cannot be laid beside three.
    beside = real if real is not None and real.channels == profile.channels else None
    return {
        "key": key,
        "color": color,
        "patches": profile.patches,
        "moments": _moments(profile),
        "real": None if beside is None else _moments(beside),
        "histogram": Markup(figures.histogram_svg(profile, beside, color)),
        "variance": Markup(figures.variance_svg(profile, beside, color)),
        "correlation": Markup(figures.correlation_svg(profile, beside)),
        "covariance": Markup(figures.covariance_svg(profile, beside)),
    }


def _moments(profile: NoiseProfile) -> dict[str, float]:
    value = profile.moments.result()
    return {
        "mean": value.mean * 255.0,
        "std": value.std * 255.0,
        "skewness": value.skewness,
        "kurtosis": value.excess_kurtosis,
    }


def _table(table: CellTable) -> dict[str, Any]:
    compared = {key: s for key, s in table.scores.items() if s.kld.values}
    best = {
        name: min(compared, key=lambda key: getattr(compared[key], name).mean, default=None)
        for name in ("kld", "akld")
    }
    several = len(compared) > 1
    return {
        "title": "All cameras and ISO speeds" if table.cell is None else str(table.cell),
        "total": table.cell is None,
        "used": table.used,
        "offset": table.offset,
        "rows": [
            _table_row(key, score, {name: several and best[name] == key for name in best})
            for key, score in table.scores.items()
        ],
    }


def _table_row(key: str, score: Score, best: Mapping[str, bool]) -> dict[str, Any]:
    values = {name: getattr(score, name).mean for name in ("std", "right", "down", "kld", "akld")}
    medians = {f"{name}_median": getattr(score, name).median for name in ("kld", "akld")}
    return {"key": key, "best": best, **values, **medians}


def _read_rejects(root: str) -> list[Mapping[str, Any]]:
    if not exists(root, REJECTED_NAME):
        return []
    lines = read_bytes(root, REJECTED_NAME).decode(errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _reject_reasons(rejects: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return reasons with how many inputs and patches each cost, and one example; most first."""
    inputs: Counter[str] = Counter()
    patches: Counter[str] = Counter()
    examples: dict[str, Mapping[str, Any]] = {}
    for reject in rejects:
        reason = str(reject.get("reason", "unknown"))
        inputs[reason] += 1
        patches[reason] += int(reject.get("patches", 0))
        examples.setdefault(reason, reject)
    return [
        {
            "reason": reason,
            "inputs": number,
            "patches": patches[reason],
            "uri": str(examples[reason].get("uri", "")),
            "detail": str(examples[reason].get("detail", "")),
        }
        for reason, number in inputs.most_common()
    ]


def _short_params(params: Mapping[str, Any]) -> str:
    parts = []
    for key, value in params.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        if len(text) <= 24:
            parts.append(f"{key} {text}")
    return ", ".join(parts[:3])
