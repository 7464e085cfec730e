"""The corpora of a benchmark: the real patches, and each candidate's noise on the same patches.

First the *real* corpora are made, one for training and one for testing: real pairs cut into
patches, or clean photographs shot by a simulated camera. Every candidate then works on these
corpora as its source. So all rows share their clean patches by construction, and each patch brings
its real noisy partner along, which a generator that needs a reference is given.

Each generator is made once for all corpora, and the real patches are scanned once for all
candidates.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.building.progress import Style
from pipeline.building.recipe import LoadedGenerator, load_generators, recipe_of
from pipeline.building.run import Prepared, build, prepare
from pipeline.canonical import sha256_of
from pipeline.corpus.formats import preferred
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
from pipeline.sources import Scan, photographs_of, scan

__all__ = ["CorpusMaker", "Part", "check_test_is_unseen", "seconds_of"]

Part = Literal["train", "test"]
_ENCODINGS: dict[str, SampleType] = {"srgb": "uint8", "raw": "float32"}
_SLUG = 10


@dataclass(slots=True)
class CorpusMaker:
    """Makes the corpora of one benchmark.

    Args:
        manifest: The benchmark.
        style: How progress is shown.
    """

    manifest: BenchmarkManifest
    style: Style
    _generators: dict[str, LoadedGenerator] = field(default_factory=dict)
    _scans: dict[str, Scan] = field(default_factory=dict)

    def generators(self, specs: Sequence[GeneratorSpec]) -> list[LoadedGenerator]:
        """Return generators, each made when it is first asked for.

        Raises:
            FileNotFoundError: If there are no such weights.
            ValueError: If one cannot be made.
        """
        precision = self.manifest.resources.precision
        for spec in specs:
            if spec.model_dump_json() not in self._generators:
                (loaded,) = load_generators([spec], precision=precision)
                self._generators[spec.model_dump_json()] = loaded
        return [self._generators[spec.model_dump_json()] for spec in specs]

    def real(self, part: Part) -> Prepared:
        """Plan the corpus of the real patches to train or to test on.

        Raises:
            ValueError: If what counts as real cannot be made.
        """
        manifest = self.manifest
        photographs: BenchmarkPhotographs = manifest.train if part == "train" else manifest.test
        return self._plan(
            f"{part}-real",
            sources=photographs.sources,
            patches=photographs.patches,
            specs=manifest.real,
        )

    def candidate(self, part: Part, spec: GeneratorSpec, *, real: str, size: int) -> Prepared:
        """Plan the corpus of one candidate's noise on the real patches.

        Args:
            part: On which patches.
            spec: The candidate.
            real: Folder of the real corpus of that part.
            size: Side of its patches, pixels.

        Raises:
            ValueError: If the candidate cannot be made.
        """
        source = CorpusSource(type="corpus", label="real", path=os.path.abspath(real))
        return self._plan(
            f"{part}-{spec.key}",
            sources=[source],
            patches=Patches(size=size, color=self.manifest.train.patches.color),
            specs=[spec],
        )

    def build(self, ready: Prepared) -> CorpusIndex:
        """Make a corpus, or what is missing of it, and return its index."""
        inline = self.manifest.resources.inline
        return build(
            ready.manifest, inline=inline, overwrite=False, style=self.style, ready=ready
        ).index

    def _plan(
        self,
        name: str,
        *,
        sources: Sequence[Source],
        patches: Patches,
        specs: Sequence[GeneratorSpec],
    ) -> Prepared:
        loaded = self.generators(specs)
        corpus = _corpus(self.manifest, name, sources, patches=patches, loaded=loaded)
        key = json.dumps([source.model_dump(mode="json") for source in sources])
        if key not in self._scans:
            self._scans[key] = scan(corpus.sources, corpus.splits)
        return prepare(corpus, loaded=loaded, scanned=self._scans[key])


def seconds_of(index: CorpusIndex) -> float:
    """Return the seconds of work behind a corpus, summed over its shards."""
    return sum(shard.seconds for shard in index.shards)


def check_test_is_unseen(train: Prepared, test: Prepared) -> None:
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


def _contents(ready: Prepared) -> dict[str, str]:
    """Return SHA-256 and URI of every picture that a corpus is made of."""
    records = ready.plan.records
    found = {record.sha256: record.uri for record in records}
    found |= {r.noisy_sha256: r.noisy_uri or r.uri for r in records if r.noisy_sha256}
    return found | photographs_of(ready.manifest.sources)


def _corpus(
    manifest: BenchmarkManifest,
    name: str,
    sources: Sequence[Source],
    *,
    patches: Patches,
    loaded: Sequence[LoadedGenerator],
) -> CorpusManifest:
    encoding = _ENCODINGS[loaded[0].generator.gives]
    # A denoiser is trained on rows in any order, so one format that reads them singly is enough.
    formats = preferred(Output.model_fields["formats"].default)[:1]
    kept = CorpusResources.model_fields
    shared = manifest.resources.model_dump(include=set(kept))
    corpus = CorpusManifest(
        kind="corpus",
        name=name,
        description=f"Made by the benchmark {manifest.name}.",
        seed=manifest.seed,
        sources=list(sources),
        patches=patches,
        generators=[one.spec for one in loaded],
        mix="weighted",
        output=Output(path=name, formats=formats, encoding=encoding),
        resources=CorpusResources(**shared),
        report=False,
    )
    made_by = [[one.generator.revision, one.weights_sha256] for one in loaded]
    digest = sha256_of({"recipe": recipe_of(corpus), "generators": made_by})
    folder = f"{name}-{digest[:_SLUG]}"
    path = str(Path(manifest.output.path).expanduser() / "corpora" / folder)
    return corpus.model_copy(update={"output": corpus.output.model_copy(update={"path": path})})
