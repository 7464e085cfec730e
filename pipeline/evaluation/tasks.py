"""What is evaluated, made ready: the data checked once, and one job for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import denoisers
from generators.weights_file import sha256_of_file
from pipeline.building.recipe import load_generators
from pipeline.evaluation.corpora import (
    CorpusMeasure,
    Opened,
    PairMeasure,
    ShardPiece,
    check_size,
    open_subject,
    own_partners,
    pairs_of,
    told,
)
from pipeline.evaluation.degradations import Degradation, degradations_of
from pipeline.evaluation.denoised import (
    DenoiserMeasure,
    channels_of,
    estimator,
    noisy_images,
)
from pipeline.evaluation.domains import check_domain, one_domain
from pipeline.evaluation.generated import GeneratorMeasure, blocks_of
from pipeline.evaluation.marks import TOLD
from pipeline.evaluation.metrics import noise_metrics, picture_metrics
from pipeline.evaluation.noise import Measured, NoiseMeasure, NoiseSums
from pipeline.evaluation.rows import noise_figures, score_figures
from pipeline.evaluation.spread import in_process, on_ray
from pipeline.manifest.evaluation import CorpusTask, DenoisersTask, GeneratorsTask
from pipeline.manifest.models import (
    CorpusManifest,
    DenoiserSpec,
    EvaluateManifest,
    EvaluationData,
    GeneratorSpec,
    Splits,
)
from pipeline.records import ImageRecord
from pipeline.sources import scan

__all__ = ["INPUT", "Job", "Prepared", "prepare"]

INPUT = "noisy input"
Figures = tuple[Mapping[str, Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row to be measured.

    Args:
        name: Of the row.
        kind: ``generator``, ``denoiser`` or ``input``.
        content: What its figures follow from, beside the data and the metrics.
        about: What is known of it before it is measured.
        run: Measures it; told how to report progress. Returns figures, and more about the row.
    """

    name: str
    kind: str
    content: Any
    run: Callable[[Callable[[int], None]], Figures]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An evaluation that can begin.

    Args:
        jobs: One a row.
        content: Hashes of what is measured on.
        notes: What a person should know before it begins.
    """

    jobs: Sequence[Job]
    content: Any
    notes: Sequence[str] = ()


def prepare(manifest: EvaluateManifest) -> Prepared:
    """Read and check what is measured on.

    Raises:
        FileNotFoundError: If a corpus or a folder is not there.
        ValueError: If there is nothing to measure on, or a metric compares something else.
        DatasetError: If a corpus is damaged.
    """
    task = manifest.task
    if isinstance(task, DenoisersTask):
        picture_metrics(manifest.metrics)  # refused now, if one compares something else
        return _denoisers(manifest, task)
    noise_metrics(manifest.metrics)
    if isinstance(task, CorpusTask):
        return _corpus(manifest, task)
    return _generators(manifest, task)


def _corpus(manifest: EvaluateManifest, task: CorpusTask) -> Prepared:
    opened = open_subject(task.corpus)
    check_size(opened)
    if task.data is None:
        partners = own_partners(opened)
        content: Any = sorted((r.sha256, r.noisy_sha256 or "") for r in partners.values())
        real: _Shared | None = None
    else:
        pairs = pairs_of(task.data)
        measure = PairMeasure(manifest.metrics, task.data.block or opened.size, task.data.grid)
        partners, real = {}, _Shared(manifest, measure, pairs)
        content = [(r.sha256, r.noisy_sha256) for r in pairs]
    entries = {entry.key: entry for entry in opened.index.generators}
    jobs = [
        Job(
            name=key,
            kind="generator",
            content=key,
            about={
                "generator": entries[key].name,
                "weights": entries[key].weights,
                "weights_sha256": entries[key].weights_sha256,
            },
            run=partial(
                _corpus_row, manifest, opened, CorpusMeasure(manifest.metrics, partners), key, real
            ),
        )
        for key in opened.generators
    ]
    return Prepared(jobs=jobs, content=[opened.content, content])


class _Shared:
    """Real noise of pairs, measured when the first row asks."""

    def __init__(
        self, manifest: EvaluateManifest, measure: PairMeasure, pairs: Sequence[ImageRecord]
    ) -> None:
        self.manifest, self.measure, self.pairs = manifest, measure, pairs
        self.sums: NoiseSums | None = None

    def __call__(self) -> NoiseSums:
        if self.sums is None:
            empty = NoiseMeasure(self.manifest.metrics).empty()
            found = _merged(_spread(self.manifest, self.measure, self.pairs), empty)
            self.sums = found.noise("real").total()
            if not self.sums.blocks:
                raise ValueError(
                    "no block of the pairs is sound: all have a brightness offset beyond "
                    f"{self.manifest.metrics.sound_offset:g} grey levels. Raise "
                    "metrics.sound_offset, or take other pairs (`noisemill audit` measures them)."
                )
        return self.sums


def _corpus_row(
    manifest: EvaluateManifest,
    opened: Opened,
    measure: CorpusMeasure,
    key: str,
    real: _Shared | None,
    after: Callable[[int], None],
) -> Figures:
    pieces = [ShardPiece(opened.root, file, key) for file in opened.files]
    empty = NoiseMeasure(manifest.metrics.model_copy(update={"akld_samples": 1})).empty()
    found = _merged(_spread(manifest, measure, pieces), empty, after)
    if not found.scores.cells:
        raise ValueError(f"the corpus has no row of generator '{key}' in this split.")
    if real is None and not found.real:
        raise ValueError(
            "none of its rows can be held against the real noise of its photograph: the patches "
            "are of another kind (grey or raw), or no block is sound (metrics.sound_offset). Give "
            "pairs of its kind: data.sources."
        )
    against = None if real is None else real()
    told = real is None and _was_told(opened, key)
    return noise_figures(found, manifest.metrics.sound_offset, against), {TOLD: told}


def _was_told(opened: Opened, key: str) -> bool:
    """Return True if a corpus's generator was given each patch's own real noisy partner."""
    specs = CorpusManifest.model_validate(dict(opened.index.manifest)).generators
    try:
        loaded = load_generators([spec for spec in specs if spec.key == key], precision="float32")
    except (OSError, ValueError, ImportError):
        return False  # made elsewhere, of weights that are not here
    return any("reference" in one.generator.needs for one in loaded)


def _generators(manifest: EvaluateManifest, task: GeneratorsTask) -> Prepared:
    pairs = pairs_of(task.data)
    check_domain(manifest, one_domain(pairs))
    jobs = [
        Job(
            name=spec.key,
            kind="generator",
            content=[
                spec.model_dump(mode="json", exclude={"label", "weight"}),
                _weights(spec.weights),
            ],
            about={
                "generator": spec.name,
                "weights": spec.weights,
                "weights_sha256": _weights(spec.weights),
                "params": spec.params,
            },
            run=partial(_generator_row, manifest, task.data, pairs, spec),
        )
        for spec in task.generators
    ]
    return Prepared(
        jobs=jobs,
        content=[(r.sha256, r.noisy_sha256, r.camera, r.iso) for r in pairs],
        notes=[f"{len(pairs)} pairs"],
    )


def _generator_row(
    manifest: EvaluateManifest,
    data: EvaluationData,
    pairs: Sequence[ImageRecord],
    spec: GeneratorSpec,
    after: Callable[[int], None],
) -> Figures:
    generator = load_generators([spec], precision="float32")[0].generator
    generator.place(manifest.resources.device)
    measure = GeneratorMeasure(generator, spec.key, manifest, one_domain(pairs))
    found = measure(blocks_of(data, pairs), after)
    figures = noise_figures(found, manifest.metrics.sound_offset)
    return figures, {
        "revision": generator.revision,
        "notes": measure.notes,
        TOLD: measure.told,
    }


def _denoisers(manifest: EvaluateManifest, task: DenoisersTask) -> Prepared:
    data = task.data
    records = _images(data)
    degradations = degradations_of(data, records, device=manifest.resources.device)
    for domain in {degradation.domain for degradation in degradations}:
        check_domain(manifest, domain)
    jobs = []
    for degradation in degradations:
        behind = f", {degradation.name}" if len(degradations) > 1 else ""
        images = partial(noisy_images, data, records, degradation, seed=manifest.seed)
        jobs.append(
            Job(
                name=INPUT + behind,
                kind="input",
                content=[INPUT, degradation.content],
                about=degradation.about,
                run=partial(_input_row, manifest, images, degradation, INPUT + behind),
            )
        )
        for spec in task.denoisers:
            jobs.append(
                Job(
                    name=spec.key + behind,
                    kind="denoiser",
                    content=[
                        spec.model_dump(mode="json", exclude={"label"}),
                        _denoiser_weights(spec),
                        degradation.content,
                        [manifest.resources.tile, manifest.resources.overlap],
                    ],
                    about={
                        "denoiser": spec.name,
                        "weights_sha256": _denoiser_weights(spec),
                        "ensemble": spec.ensemble,
                        **degradation.about,
                    },
                    run=partial(
                        _denoiser_row,
                        manifest,
                        images,
                        degradation,
                        spec,
                        channels_of(data, degradation),
                        spec.key + behind,
                    ),
                )
            )
    return Prepared(
        jobs=jobs,
        content=[(r.sha256, r.noisy_sha256) for r in records],
        notes=[f"{len(records)} images"],
    )


def _images(data: EvaluationData) -> list[ImageRecord]:
    """Return real pairs, or the clean images that noise is put on; all of one domain."""
    if data.synthetic:
        found = scan(data.sources, Splits())
        records = found.records
        if not records:
            raise ValueError(f"data.sources hold no images.{told(found.rejects)}")
    else:
        records = pairs_of(data)
    one_domain(records)
    return list(records)


def _input_row(
    manifest: EvaluateManifest,
    images: Callable[[], Iterator[Any]],
    degradation: Degradation,
    name: str,
    after: Callable[[int], None],
) -> Figures:
    found = DenoiserMeasure(manifest, degradation)(
        name, lambda item: np.asarray(item.noisy, np.float64), images(), after
    )
    return _quality(manifest, found), {}


def _denoiser_row(
    manifest: EvaluateManifest,
    images: Callable[[], Iterator[Any]],
    degradation: Degradation,
    spec: DenoiserSpec,
    channels: int,
    name: str,
    after: Callable[[int], None],
) -> Figures:
    params = dict(spec.params)
    if denoisers.must_know_channels(spec.name):
        params.setdefault("channels", channels)
    denoiser = denoisers.load(spec.name, **params)
    estimate = estimator(
        denoiser, spec, degradation, channels=channels, resources=manifest.resources
    )
    found = DenoiserMeasure(manifest, degradation)(name, estimate, images(), after)
    count = getattr(denoiser, "parameters", None)
    size = sum(p.numel() for p in count()) if callable(count) else 0
    return _quality(manifest, found), {"family": denoiser.name, "parameters": size}


def _quality(manifest: EvaluateManifest, found: Any) -> Mapping[str, Any]:
    pooled = {f"psnr ({n}, pooled)": s.result().pooled for n, s in found.pooled.items()}
    return {
        **score_figures(found.scores, manifest.metrics.sound_offset),
        "pooled": {k: v if np.isfinite(v) else None for k, v in pooled.items()},
        "metrics": {metric.title: metric.to_dict() for metric in found.metrics},
    }


def _spread(
    manifest: EvaluateManifest, measure: Callable[[Any], Measured], pieces: Sequence[Any]
) -> Iterator[Measured]:
    if manifest.resources.inline:
        return in_process(measure, pieces)
    return on_ray(measure, pieces, address=manifest.resources.address)


def _merged(
    parts: Iterator[Measured], into: Measured, after: Callable[[int], None] = lambda count: None
) -> Measured:
    done = 0
    for part in parts:
        into.merge(part)
        done += sum(len(found) for found in part.scores.cells.values())
        after(done)
    return into


def _weights(name: str | None) -> str:
    """Return the hash of a generator's weights; a wrong name is told by its row."""
    from generators.weights_file import find

    return _hash(lambda: find(name)) if name is not None else ""


def _denoiser_weights(spec: DenoiserSpec) -> str:
    return _hash(lambda: denoisers.find(spec.name))


def _hash(find: Callable[[], Any]) -> str:
    try:
        return sha256_of_file(find())
    except (OSError, ValueError):
        return ""
