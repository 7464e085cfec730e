"""The ranking as numbers, and as CSV and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.benchmark.patches import PatchUnderTest
from pipeline.benchmark.ranking import Interval, Resampling
from pipeline.benchmark.rows import RowKind, RowResult
from pipeline.benchmark.scoring import CONVENTION
from pipeline.manifest.benchmark import BenchmarkManifest
from pipeline.measure.metrics.quality import QUALITY_CONVENTIONS
from pipeline.results.tables import NONE, Table, csv_text, fixed

__all__ = ["Group", "RankedRow", "Ranking", "rank", "ranking_csv", "ranking_markdown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A row's scores on the places of one camera and ISO, or of high ISO.

    Args:
        name: Of the group.
        places: How many.
        psnr: Mean, dB.
        gap: Mean minus that of the row trained on real noise, dB; ``None`` without that row.
    """

    name: str
    places: int
    psnr: float
    gap: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRow:
    """One row of the ranking.

    Args:
        rank: 1 is the best; 0 for rows that do not compete: what is always there but white noise,
            and mixtures with real pairs in them.
        name: Of the row.
        kind: Of the row.
        psnr: dB, with its interval.
        ssim: With its interval.
        gap: PSNR minus that of the row trained on real noise, dB, on the same places; ``None``
            without that row, and for that row itself.
        tied: Whether it cannot be told from the generator ranked above it: the interval of their
            difference contains 0.
        fidelity: Distances of its noise from real noise; ``None`` where it makes none.
        parameters: Of the generator.
        patches: Training patches.
        patches_per_second: Of the generator, written to shards, by one worker; ``None`` where none
            worked.
        training_seconds: Mean of a training.
        groups: Per camera and ISO.
        high: At high ISO; ``None`` where that was not asked for.
        seeds: Mean PSNR of each training, dB.
    """

    rank: int
    name: str
    kind: RowKind
    psnr: Interval
    ssim: Interval
    gap: Interval | None
    tied: bool
    fidelity: Mapping[str, Any] | None
    parameters: int
    patches: int
    patches_per_second: float | None
    training_seconds: float
    groups: Sequence[Group]
    high: Group | None
    seeds: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The outcome of a benchmark.

    Args:
        name: Of the benchmark.
        convention: Of PSNR and SSIM.
        places: Test places.
        scenes: Test scenes.
        by_scene: Whether intervals resample scenes; else places.
        draws: Resamples behind an interval.
        rows: Best first; reference rows where their PSNR puts them.
        failed: Rows without scores.
    """

    name: str
    convention: str
    places: int
    scenes: int
    by_scene: bool
    draws: int
    rows: Sequence[RankedRow]
    failed: Sequence[RowResult] = field(default_factory=list)

    @property
    def above_real(self) -> list[str]:
        """Generators whose denoiser is better than the one trained on real noise, beyond doubt.

        Real noise is the upper bound of a training that is long enough; such rows say that this
        one was not.
        """
        return [row.name for row in self.rows if row.rank and row.gap and row.gap.low > 0]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        data = asdict(self)
        data["failed"] = {row.name: row.failed for row in self.failed}
        data["convention_in_words"] = str(QUALITY_CONVENTIONS[CONVENTION])
        return data


def rank(
    manifest: BenchmarkManifest, places: Sequence[PatchUnderTest], results: Sequence[RowResult]
) -> Ranking:
    """Rank the rows that have scores, by mean PSNR.

    Args:
        manifest: The benchmark.
        places: The test places, in the order of the scores.
        results: Of the rows so far.
    """
    scenes = [place.scene for place in places]
    resampling = Resampling(scenes, draws=manifest.intervals, seed=manifest.seed)
    scored = sorted(
        (result for result in results if result.failed is None),
        key=lambda result: -float(result.psnr.mean()),
    )
    real = next((result for result in scored if result.kind == "real"), None)
    rows, number = [], 0
    above: RowResult | None = None
    for result in scored:
        competes = result.kind in ("generator", "mixture")
        tied = False
        if competes:
            number += 1
            if above is not None:
                tied = resampling.gap(
                    result.psnr, result.name, above.psnr, above.name
                ).contains_zero
            above = result
        rows.append(
            _row(manifest, places, resampling, result, real, number if competes else 0, tied)
        )
    return Ranking(
        name=manifest.name,
        convention=str(CONVENTION),
        places=len(places),
        scenes=len(set(scenes)),
        by_scene=resampling.by_scene,
        draws=manifest.intervals,
        rows=rows,
        failed=[result for result in results if result.failed is not None],
    )


def ranking_csv(ranking: Ranking) -> str:
    """Return the ranking as CSV, one line a row; the convention is part of the columns' names."""
    lines = [_csv_line(row, ranking.convention) for row in ranking.rows]
    return csv_text(list(lines[0]), [list(line.values()) for line in lines]) if lines else ""


def ranking_markdown(ranking: Ranking) -> str:
    """Return the ranking as a Markdown table with a line that says how it was measured."""
    high = any(row.high for row in ranking.rows)
    kld = next((str(row.fidelity["kld_convention"]) for row in ranking.rows if row.fidelity), "")
    columns = ["", "trained on", "PSNR, dB", "SSIM", "gap to real, dB"]
    columns += [row.high.name for row in ranking.rows if row.high][:1]
    columns += [f"KLD ({kld})", "AKLD", "corr. error", "patches/s", "parameters"]
    cells = []
    for row in ranking.rows:
        found = row.fidelity or {}
        cells.append(
            [
                f"{row.rank}{'=' if row.tied else ''}" if row.rank else NONE,
                row.name,
                _interval(row.psnr, 2),
                _interval(row.ssim, 4),
                _interval(row.gap, 2, signed=True),
                *([fixed(row.high.psnr if row.high else None, 2)] if high else []),
                fixed(found.get("kld"), 4),
                fixed(found.get("akld"), 3),
                fixed(found.get("correlation_error"), 2),
                f"{row.patches_per_second:,.0f}" if row.patches_per_second else NONE,
                f"{row.parameters:,}" if row.parameters else NONE,
            ]
        )
    what = "scenes" if ranking.by_scene else "places"
    how = QUALITY_CONVENTIONS[CONVENTION]
    lines = [
        Table("", columns, cells, words=2).markdown(),
        f"{ranking.places} test places of {ranking.scenes} "
        f"{'scene' if ranking.scenes == 1 else 'scenes'}. PSNR and SSIM: "
        f"{ranking.convention} ({how}). Intervals: 95 %, {ranking.draws:,} resamples of {what} "
        "and seeds. `=`: not told from the generator above.",
    ]
    if ranking.above_real:
        above = ", ".join(ranking.above_real)
        lines += ["", f"Better than real noise, so the training was too short: {above}."]
    return "\n".join(lines)


def _csv_line(row: RankedRow, how: str) -> dict[str, Any]:
    found = row.fidelity or {}
    return {
        "rank": row.rank or "",
        "row": row.name,
        "kind": row.kind,
        f"psnr_{how}_db": row.psnr.mean,
        "psnr_low": row.psnr.low,
        "psnr_high": row.psnr.high,
        f"ssim_{how}": row.ssim.mean,
        "ssim_low": row.ssim.low,
        "ssim_high": row.ssim.high,
        "gap_to_real_db": row.gap.mean if row.gap else "",
        "gap_low": row.gap.low if row.gap else "",
        "gap_high": row.gap.high if row.gap else "",
        "tied_with_above": int(row.tied),
        "kld": found.get("kld", ""),
        "kld_convention": found.get("kld_convention", ""),
        "akld_1_sample": found.get("akld", ""),
        "correlation_error": found.get("correlation_error", ""),
        "patches_per_second": row.patches_per_second or "",
        "parameters": row.parameters or "",
        "training_seconds": row.training_seconds or "",
        "high_iso_psnr_db": row.high.psnr if row.high else "",
    }


def _interval(found: Interval | None, digits: int, *, signed: bool = False) -> str:
    if found is None:
        return NONE
    sign = "+" if signed else ""
    numbers = f"{found.mean:{sign}.{digits}f} ({found.low:{sign}.{digits}f} to "
    return f"{numbers}{found.high:{sign}.{digits}f})".replace("-", "−")


def _row(
    manifest: BenchmarkManifest,
    places: Sequence[PatchUnderTest],
    resampling: Resampling,
    result: RowResult,
    real: RowResult | None,
    number: int,
    tied: bool,
) -> RankedRow:
    gap = None
    if real is not None and result is not real:
        gap = resampling.gap(result.psnr, result.name, real.psnr, real.name)
    seconds = result.generation_seconds
    return RankedRow(
        rank=number,
        name=result.name,
        kind=result.kind,
        psnr=resampling.mean(result.psnr, result.name),
        ssim=resampling.mean(result.ssim, result.name),
        gap=gap,
        tied=tied,
        fidelity=result.fidelity,
        parameters=result.parameters,
        patches=result.patches,
        patches_per_second=result.patches / seconds if seconds else None,
        training_seconds=float(np.mean([seed.seconds for seed in result.seeds])),
        groups=_groups(places, result, real),
        high=_high(manifest, places, result, real),
        seeds=[float(np.mean(seed.psnr)) for seed in result.seeds],
    )


def _groups(
    places: Sequence[PatchUnderTest], result: RowResult, real: RowResult | None
) -> list[Group]:
    shots = sorted({(place.camera, place.iso) for place in places})
    return [
        _group(
            _shot(*shot),
            [i for i, place in enumerate(places) if (place.camera, place.iso) == shot],
            result,
            real,
        )
        for shot in shots
    ]


def _high(
    manifest: BenchmarkManifest,
    places: Sequence[PatchUnderTest],
    result: RowResult,
    real: RowResult | None,
) -> Group | None:
    if manifest.high_iso is None:
        return None
    chosen = [i for i, place in enumerate(places) if place.iso >= manifest.high_iso]
    return _group(f"PSNR at ISO ≥ {manifest.high_iso}", chosen, result, real) if chosen else None


def _group(name: str, chosen: list[int], result: RowResult, real: RowResult | None) -> Group:
    psnr = float(result.psnr[:, chosen].mean())
    gap = None if real is None else psnr - float(real.psnr[:, chosen].mean())
    return Group(name=name, places=len(chosen), psnr=psnr, gap=gap)


def _shot(camera: str, iso: int) -> str:
    if not camera and not iso:
        return "unknown"
    return f"{camera or 'unknown camera'}, ISO {iso}" if iso else camera
