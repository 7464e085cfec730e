"""What a manifest asks for, done: a plan, a corpus, a training, an evaluation, a benchmark.

Each function takes a manifest in any form (:data:`noisemill.manifests.AnyManifest`), returns what
was made, and raises :class:`noisemill.Error` only. Nothing is printed unless ``progress`` says so,
and then on standard error: ``auto`` for people, ``json`` for programs. Every job goes on with what
an interrupted one has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from noisemill.manifests import AnyManifest, Overrides, read_corpus_manifest, read_manifest
from pipeline.errors import within_the_tree

if TYPE_CHECKING:
    from pipeline.benchmark.run import BenchmarkResult
    from pipeline.building.estimate import Estimate
    from pipeline.building.progress import Style
    from pipeline.building.run import Result
    from pipeline.evaluation import Evaluated
    from pipeline.manifest.models import (
        BenchmarkManifest,
        EvaluateManifest,
        TrainGeneratorManifest,
    )
    from pipeline.training.jobs.denoiser_result import TrainedDenoiser
    from pipeline.training.jobs.generator_result import TrainedGenerator

__all__ = ["benchmark", "build", "evaluate", "plan", "train"]


@within_the_tree()
def plan(manifest: AnyManifest, *, overrides: Overrides = ()) -> Estimate:
    """Return what building a corpus would do and cost; nothing is written.

    The time is measured on one batch of each generator on this machine.

    Args:
        manifest: Of kind ``corpus``: a path, a bundled name, a dict or a model.
        overrides: ``["patches.size=32"]`` or ``{"patches.size": 32}``.

    Raises:
        Error: If the manifest is wrong, or cannot be carried out.
    """
    from pipeline.building.estimate import estimate

    return estimate(read_corpus_manifest(manifest, overrides))


@within_the_tree()
def build(
    manifest: AnyManifest,
    *,
    overrides: Overrides = (),
    inline: bool = False,
    overwrite: bool = False,
    progress: Style = "quiet",
) -> Result:
    """Make a corpus, or finish one.

    Args:
        manifest: Of kind ``corpus``: a path, a bundled name, a dict or a model.
        overrides: As for :func:`plan`.
        inline: In this process, without Ray.
        overwrite: Start anew where the output holds a corpus of another manifest.
        progress: How progress is told.

    Raises:
        Error: If the manifest is wrong, too much was refused, or the output cannot be written.
    """
    from pipeline.building.run import build as build_corpus

    corpus = read_corpus_manifest(manifest, overrides)
    return build_corpus(corpus, inline=inline, overwrite=overwrite, style=progress)


@within_the_tree()
def train(
    manifest: AnyManifest, *, overrides: Overrides = (), progress: Style = "quiet"
) -> TrainedGenerator | TrainedDenoiser:
    """Train a noise model or a denoiser.

    Args:
        manifest: Of kind ``train-generator`` or ``train-denoiser``, as for :func:`plan`.
        overrides: As for :func:`plan`.
        progress: How progress is told.

    Raises:
        Error: If the manifest or its data are wrong, or the folder holds another training.
    """
    loaded = read_manifest(manifest, overrides, kinds=["train-generator", "train-denoiser"])
    if loaded.manifest.kind == "train-denoiser":
        from pipeline.training.jobs.denoiser import train_denoiser

        return train_denoiser(loaded.manifest, source=loaded.path, style=progress)
    from pipeline.training.jobs.generator import train_generator

    generator = cast("TrainGeneratorManifest", loaded.manifest)
    return train_generator(generator, source=loaded.path, style=progress)


@within_the_tree()
def evaluate(
    manifest: AnyManifest, *, overrides: Overrides = (), progress: Style = "quiet"
) -> Evaluated:
    """Measure a corpus, generators or denoisers.

    Args:
        manifest: Of kind ``evaluate``, as for :func:`plan`.
        overrides: As for :func:`plan`.
        progress: How progress is told.

    Raises:
        Error: If the manifest is wrong, or nothing can be measured.
    """
    from pipeline.evaluation import evaluate as carry_out

    loaded = read_manifest(manifest, overrides, kinds=["evaluate"])
    evaluation = cast("EvaluateManifest", loaded.manifest)
    return carry_out(evaluation, source=loaded.path, style=progress)


@within_the_tree()
def benchmark(
    manifest: AnyManifest, *, overrides: Overrides = (), progress: Style = "quiet"
) -> BenchmarkResult:
    """Rank generators by the denoisers trained on their noise.

    Args:
        manifest: Of kind ``benchmark``, as for :func:`plan`.
        overrides: As for :func:`plan`.
        progress: How progress is told.

    Raises:
        Error: If the manifest is wrong, or a photograph is both trained and tested on.
    """
    from pipeline.benchmark.run import run_benchmark

    loaded = read_manifest(manifest, overrides, kinds=["benchmark"])
    ranking = cast("BenchmarkManifest", loaded.manifest)
    return run_benchmark(ranking, source=loaded.path, style=progress)
