"""The corpora of a benchmark: the real patches, and each candidate's noise on the same patches.

First the *real* corpora are made, one for training and one for testing: real pairs cut into
patches, or clean photographs shot by a simulated camera. Every candidate then works on these
corpora as its source. So all rows share their clean patches by construction, and each patch brings
its real noisy partner along, which a generator that needs a reference is given.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline.building.progress import Style
from pipeline.building.recipe import load_generators, recipe_of
from pipeline.building.run import build, prepare
from pipeline.canonical import sha256_of
from pipeline.corpus.index import CorpusIndex
from pipeline.manifest.benchmark import BenchmarkManifest, BenchmarkPhotographs
from pipeline.manifest.models import (
    CorpusManifest,
    CorpusSource,
    GeneratorSpec,
    Output,
    Patches,
    Source,
)
from pipeline.manifest.models import Resources as CorpusResources
from pipeline.pixels import SampleType
from pipeline.sources import photographs_of

__all__ = ["Part", "candidate_corpus", "check_test_is_unseen", "made", "real_corpus", "seconds_of"]

Part = Literal["train", "test"]
_ENCODINGS: dict[str, SampleType] = {"srgb": "uint8", "raw": "float32"}
_SLUG = 10


def real_corpus(manifest: BenchmarkManifest, part: Part) -> CorpusManifest:
    """Return the manifest of the real patches to train or to test on.

    Raises:
        ValueError: If what counts as real cannot be made.
    """
    photographs: BenchmarkPhotographs = manifest.train if part == "train" else manifest.test
    return _corpus(
        manifest,
        name=f"{part}-real",
        sources=photographs.sources,
        patches=photographs.patches,
        specs=manifest.real,
    )


def candidate_corpus(
    manifest: BenchmarkManifest, part: Part, spec: GeneratorSpec, *, real: str, size: int
) -> CorpusManifest:
    """Return the manifest of one candidate's noise on the real patches.

    Args:
        manifest: The benchmark.
        part: On which patches.
        spec: The candidate.
        real: Folder of the real corpus of that part.
        size: Side of its patches, pixels.

    Raises:
        ValueError: If the candidate cannot be made.
    """
    source = CorpusSource(type="corpus", label="real", path=os.path.abspath(real))
    return _corpus(
        manifest,
        name=f"{part}-{spec.key}",
        sources=[source],
        patches=Patches(size=size, color=manifest.train.patches.color),
        specs=[spec],
    )


def made(corpus: CorpusManifest, *, inline: bool, style: Style) -> CorpusIndex:
    """Make a corpus, or what is missing of it, and return its index."""
    return build(corpus, inline=inline, overwrite=False, style=style).index


def seconds_of(index: CorpusIndex) -> float:
    """Return the seconds of work behind a corpus, summed over its shards."""
    return sum(shard.seconds for shard in index.shards)


def check_test_is_unseen(train: CorpusManifest, test: CorpusManifest) -> None:
    """Refuse test photographs that are also trained on, found by their content.

    Raises:
        ValueError: If a photograph, or a real noisy partner, is in both; rows of a corpus count as
            the photographs that they were cut from.
    """
    seen = _contents(train)
    both = sorted({uri for content, uri in _contents(test).items() if content in seen})
    if both:
        raise ValueError(
            f"test: {', '.join(both[:5])}{' and others' if len(both) > 5 else ''} "
            f"{'is' if len(both) == 1 else 'are'} also trained on, by content, so the ranking "
            "would reward memory; take other photographs for `test`, or leave them out of `train` "
            "(`only: [train]`)."
        )


def _contents(corpus: CorpusManifest) -> dict[str, str]:
    """Return SHA-256 and URI of every picture that a corpus is made of."""
    records = prepare(corpus).plan.records
    found = {record.sha256: record.uri for record in records}
    found |= {r.noisy_sha256: r.noisy_uri or r.uri for r in records if r.noisy_sha256}
    return found | photographs_of(corpus.sources)


def _corpus(
    manifest: BenchmarkManifest,
    *,
    name: str,
    sources: Sequence[Source],
    patches: Patches,
    specs: Sequence[GeneratorSpec],
) -> CorpusManifest:
    loaded = load_generators(specs, precision=manifest.resources.precision)
    encoding = _ENCODINGS[loaded[0].generator.gives]
    kept = CorpusResources.model_fields
    shared = manifest.resources.model_dump(include=set(kept))
    corpus = CorpusManifest(
        kind="corpus",
        name=name,
        description=f"Made by the benchmark {manifest.name}.",
        seed=manifest.seed,
        sources=list(sources),
        patches=patches,
        generators=list(specs),
        mix="weighted",
        output=Output(path=name, formats=["hdf5"], encoding=encoding),
        resources=CorpusResources(**shared),
        report=False,
    )
    made_by = [[one.generator.revision, one.weights_sha256] for one in loaded]
    digest = sha256_of({"recipe": recipe_of(corpus), "generators": made_by})
    folder = f"{name}-{digest[:_SLUG]}"
    path = str(Path(manifest.output.path).expanduser() / "corpora" / folder)
    return corpus.model_copy(update={"output": corpus.output.model_copy(update={"path": path})})
