"""The rows of a benchmark, and what is kept of each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.manifest.benchmark import BenchmarkManifest
from pipeline.manifest.models import GeneratorSpec
from pipeline.measure.metrics.base import Array
from pipeline.results.rows import ROWS, RowStore
from pipeline.storage import file_stem, publish

__all__ = ["Row", "RowKind", "RowResult", "SeedResult", "load_result", "rows_of", "save_result"]

RowKind = Literal["real", "generator", "mixture", "real-mixture", "noisy", "bm3d"]
"""``real-mixture`` has the real pairs among its parts, so it is compared with them, not ranked."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the ranking, before anything is made for it.

    Args:
        name: Its name.
        kind: Where its training patches come from; ``noisy`` and ``bm3d`` train nothing.
        spec: Its generator.
        shares: Rows that a mixture takes patches from, and the share of each.
    """

    name: str
    kind: RowKind
    spec: GeneratorSpec | None = None
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether a denoiser is trained for it."""
        return self.kind not in ("noisy", "bm3d")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """One training of a row, or the one test of a row that trains nothing.

    Args:
        seed: Of the training; 0 where there is none.
        psnr: Of each test place, dB.
        ssim: Of each test place.
        seconds: Of training; 0 where there is none.
        weights: File of the denoiser, below the benchmark's folder; empty where there is none.
        weights_sha256: Of that file.
        curve: Step and figures of each validation.
        manifest: Of the training, as JSON values.
    """

    seed: int
    psnr: Sequence[float]
    ssim: Sequence[float]
    seconds: float = 0.0
    weights: str = ""
    weights_sha256: str = ""
    curve: Sequence[Mapping[str, float]] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What a row left.

    Args:
        name: Of the row.
        kind: Of the row.
        fingerprint: Hash of all that decides it; a result of another fingerprint is not taken.
        seeds: Its trainings and their scores; empty where it failed.
        fidelity: Distances of its noise from the real noise; ``None`` where it makes none.
        patches: Training patches.
        generation_seconds: Work behind them, s; 0 where no generator worked.
        parameters: Of the generator; 0 for one without weights.
        corpora: Plan hash of its corpus for each part, ``train`` and ``test``.
        failed: Why it has no scores; ``None`` where it has.
    """

    name: str
    kind: RowKind
    fingerprint: str
    seeds: Sequence[SeedResult] = ()
    fidelity: Mapping[str, Any] | None = None
    patches: int = 0
    generation_seconds: float = 0.0
    parameters: int = 0
    corpora: Mapping[str, str] = field(default_factory=dict)
    failed: str | None = None

    @property
    def done(self) -> bool:
        """Whether it has scores."""
        return self.failed is None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)

    @property
    def psnr(self) -> Array:
        """``(seeds, places)``, dB."""
        return np.array([seed.psnr for seed in self.seeds], np.float64)

    @property
    def ssim(self) -> Array:
        """``(seeds, places)``."""
        return np.array([seed.ssim for seed in self.seeds], np.float64)


def rows_of(manifest: BenchmarkManifest, *, bm3d: bool) -> list[Row]:
    """Return all rows in the order in which they are made.

    Args:
        manifest: The benchmark.
        bm3d: Whether BM3D is one of them.
    """
    white = GeneratorSpec(name="awgn-measured", label="awgn")
    rows = [Row("noisy", "noisy"), Row("real", "real"), Row("awgn", "generator", white)]
    rows += [Row(spec.key, "generator", spec) for spec in manifest.generators]
    rows += [
        Row(m.name, "real-mixture" if "real" in m.shares else "mixture", shares=m.shares)
        for m in manifest.mixtures
    ]
    return [*rows, Row("bm3d", "bm3d")] if bm3d else rows


def result_store(folder: Path) -> RowStore[RowResult]:
    """Return the results of the rows in a benchmark's folder."""
    return RowStore(str(folder), lambda name: f"{ROWS}/{file_stem(name)}.json", _parsed)


def _parsed(data: dict[str, Any]) -> RowResult:
    seeds = [SeedResult(**seed) for seed in data.pop("seeds")]
    return RowResult(**data, seeds=seeds)


def save_result(folder: Path, result: RowResult, shown: Mapping[int, Array]) -> None:
    """Keep a row's result and the estimates that the report shows; the result last."""
    if shown:
        crops = io.BytesIO()
        np.savez_compressed(crops, allow_pickle=False, **{str(k): v for k, v in shown.items()})
        publish(str(folder), _crops(result.name), crops.getvalue())
    result_store(folder).save(result)


def load_result(
    folder: Path, name: str, fingerprint: str
) -> tuple[RowResult, dict[int, Array]] | None:
    """Return what is kept of a row, ``None`` where nothing of this hash is done and readable."""
    result = result_store(folder).load(name, fingerprint)
    crops = folder / _crops(name)
    if result is None or not crops.is_file():
        return None if result is None else (result, {})
    try:
        with np.load(crops) as file:
            return result, {int(key): file[key] for key in file.files}
    except (OSError, ValueError):
        return None  # half-written: the row is made again


def _crops(name: str) -> str:
    return f"{ROWS}/{file_stem(name)}.npz"
