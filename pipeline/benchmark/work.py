"""The work behind one row: its noise, its trainings, their scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import denoisers
from generators.weights_file import find, load_header, sha256_of_file
from pipeline.benchmark.corpora import CorpusMaker, Part, seconds_of
from pipeline.benchmark.fidelity import measure_fidelity
from pipeline.benchmark.patches import PatchUnderTest, load_patches
from pipeline.benchmark.rows import Row, RowResult, SeedResult, rows_of
from pipeline.benchmark.scoring import score_noisy, score_places, score_told
from pipeline.canonical import sha256_of
from pipeline.corpus.index import CorpusIndex
from pipeline.manifest.benchmark import BenchmarkManifest
from pipeline.manifest.denoising import DenoisingData, DenoisingInput, TrainDenoiserManifest
from pipeline.manifest.models import CorpusSource, GeneratorSpec, TrainingOutput, Validation
from pipeline.measure.metrics.base import Array
from pipeline.storage import file_stem
from pipeline.training.jobs.denoiser import train_denoiser

__all__ = ["Real", "Workbench"]

_HASH = 10
_CURVE_PATCH, _CURVE_BATCHES = 128, 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Real:
    """The real patches and the places that are tested on.

    Args:
        folders: Corpus of each part.
        indexes: Its index.
        sides: Side of its patches, pixels.
        places: The sound test places.
        shown: Indices of the places that the report shows.
    """

    folders: Mapping[Part, str]
    indexes: Mapping[Part, CorpusIndex]
    sides: Mapping[Part, int]
    places: Sequence[PatchUnderTest]
    shown: Sequence[int]


@dataclass(slots=True)
class Workbench:
    """Makes rows, one after another; what a row needs of another is made once.

    Args:
        corpora: Makes the corpora.
        folder: Where everything goes.
        real: See :class:`Real`.
        source: Where the manifest is, for the cards of the weights.
        trained_on: Folder of the training patches of each row made so far.
    """

    corpora: CorpusMaker
    folder: Path
    real: Real
    source: str
    trained_on: dict[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> BenchmarkManifest:
        """The benchmark."""
        return self.corpora.manifest

    def fingerprint(self, row: Row) -> str:
        """Return a hash of all that decides a row's result."""
        manifest = self.manifest
        what: dict[str, Any] = {
            "kind": row.kind,
            "generators": [self._identity(spec) for spec in self._specs(row)],
            "shares": dict(row.shares),
            "plans": {part: index.plan_sha256 for part, index in self.real.indexes.items()},
            "places": [place.uri.rpartition("/")[2] for place in self.real.places],
        }
        if row.trains:
            what["denoiser"] = manifest.denoiser.model_dump(mode="json")
            what["schedule"] = manifest.schedule.model_dump(mode="json")
            what["seeds"] = manifest.seeds
            what["precision"] = manifest.resources.precision
        return sha256_of(what)

    def make(self, row: Row) -> tuple[RowResult, dict[int, Array]]:
        """Do all the work of a row.

        Returns:
            Its result, and its estimates of the places that the report shows.

        Raises:
            Exception: Whatever stops it: a generator that fails, a training that diverges.
        """
        if row.kind == "noisy":
            return self._untrained(row, None)
        if row.kind == "bm3d":
            return self._untrained(row, denoisers.create("bm3d", channels=self._channels(), seed=0))
        return self._trained(row)

    def _untrained(
        self, row: Row, denoiser: torch.nn.Module | None
    ) -> tuple[RowResult, dict[int, Array]]:
        places, shown = self.real.places, self.real.shown
        tested = (
            score_noisy(places, show=shown)
            if denoiser is None
            else score_told(denoiser, places, show=shown)
        )
        seed = SeedResult(seed=0, psnr=tested.psnr, ssim=tested.ssim)
        result = RowResult(
            name=row.name, kind=row.kind, fingerprint=self.fingerprint(row), seeds=[seed]
        )
        return result, tested.shown

    def _trained(self, row: Row) -> tuple[RowResult, dict[int, Array]]:
        noise = self._noise(row)
        inputs = self._inputs(row)
        seeds, shown = [], dict[int, Array]()
        for number, seed in enumerate(self.manifest.seeds):
            result, kept = self._train(row, inputs, seed, show=not number)
            seeds.append(result)
            shown |= kept
        return (
            RowResult(
                name=row.name,
                kind=row.kind,
                fingerprint=self.fingerprint(row),
                seeds=seeds,
                **noise,
            ),
            shown,
        )

    def _noise(self, row: Row) -> dict[str, Any]:
        """Make a generator's patches and measure its noise."""
        if row.shares:
            return {}
        if row.spec is None:  # the real noise itself
            index = self.real.indexes["train"]
            self.trained_on[row.name] = self.real.folders["train"]
            return {"patches": index.totals.rows, "corpora": self._named(self.real.indexes)}
        self.trained_on[row.name], index = self._candidate(row.spec, "train")
        folder, test = self._candidate(row.spec, "test")
        fake = {place.source_uri: place for place in load_patches(folder, test)}
        return {
            "fidelity": measure_fidelity(self.real.places, fake).to_dict(),
            "patches": index.totals.rows,
            "generation_seconds": seconds_of(index),
            "parameters": _parameters(row.spec),
            "corpora": {"train": index.plan_sha256, "test": test.plan_sha256},
        }

    def _candidate(self, spec: GeneratorSpec, part: Part) -> tuple[str, CorpusIndex]:
        """Make a generator's noise on the real patches, and return its folder and index."""
        real = self.real
        ready = self.corpora.candidate(part, spec, real=real.folders[part], size=real.sides[part])
        return ready.manifest.output.path, self.corpora.build(ready)

    def _inputs(self, row: Row) -> list[DenoisingInput]:
        shares = row.shares or {row.name: 1.0}
        for name in shares:
            if name not in self.trained_on:
                self._noise_of(name)
        return [
            DenoisingInput(corpus=self.trained_on[name], split=None, weight=share)
            for name, share in shares.items()
        ]

    def _noise_of(self, name: str) -> None:
        """Make the patches of a row that a mixture needs, if they are not there yet."""
        row = self._row(name)
        if row.spec is None:
            self.trained_on[name] = self.real.folders["train"]
        else:
            self.trained_on[name], _ = self._candidate(row.spec, "train")

    def _train(
        self, row: Row, inputs: list[DenoisingInput], seed: int, *, show: bool
    ) -> tuple[SeedResult, dict[int, Array]]:
        manifest = self._training(row, inputs, seed)
        left = train_denoiser(manifest, source=self.source, style=self.corpora.style)
        device = torch.device(manifest.schedule.device)
        denoiser = denoisers.load(left.weights).to(device)
        tested = score_places(
            denoiser, self.real.places, device=device, show=self.real.shown if show else ()
        )
        result = SeedResult(
            seed=seed,
            psnr=tested.psnr,
            ssim=tested.ssim,
            seconds=left.seconds,
            weights=str(Path(left.weights).relative_to(self.folder)),
            weights_sha256=sha256_of_file(Path(left.weights)),
            curve=_curve(Path(manifest.output.path) / "log.jsonl"),
            manifest=manifest.model_dump(mode="json", exclude_defaults=True)
            | {"kind": manifest.kind},
        )
        return result, tested.shown

    def _training(self, row: Row, inputs: list[DenoisingInput], seed: int) -> TrainDenoiserManifest:
        manifest, candidate = self.manifest, self.manifest.denoiser
        place = self.real.places[0]
        training = TrainDenoiserManifest(
            kind="train-denoiser",
            name=f"{row.name}-seed{seed}",
            seed=seed,
            denoiser=candidate.name,
            params=candidate.params,
            loss=candidate.loss,
            data=DenoisingData(
                inputs=inputs,
                domain="raw" if place.domain == "raw" else "srgb",
                color=manifest.train.patches.color,
                patch=candidate.patch or self.real.sides["train"],
                augmentation=candidate.augmentation,
            ),
            validation=self._validation(),
            schedule=manifest.schedule,
            report=False,
            output=TrainingOutput(path="trainings"),
        )
        text = json.dumps(training.model_dump(mode="json"), sort_keys=True)
        plans = ",".join(index.plan_sha256 for index in self.real.indexes.values())
        digest = hashlib.sha256((text + plans).encode()).hexdigest()[:_HASH]
        path = str(self.folder / "trainings" / f"{file_stem(row.name)}-seed{seed}-{digest}")
        return training.model_copy(update={"output": TrainingOutput(path=path)})

    def _validation(self) -> Validation | None:
        """Return what the learning curve is measured on; it chooses nothing."""
        if self.manifest.curve_every is None:
            return None
        folder = str(Path(self.real.folders["test"]).resolve())
        return Validation(
            sources=[CorpusSource(type="corpus", label="test", path=folder)],
            patch=min(_CURVE_PATCH, self.real.sides["test"]),
            max_offset=self.manifest.test.max_offset,
            every=self.manifest.curve_every,
            batches=_CURVE_BATCHES,
        )

    def _specs(self, row: Row) -> list[GeneratorSpec]:
        """Return the generators whose noise a row is trained on."""
        if row.spec is not None:
            return [row.spec]
        return [spec for name in row.shares if (spec := self._row(name).spec) is not None]

    def _row(self, name: str) -> Row:
        return next(row for row in rows_of(self.manifest, bm3d=False) if row.name == name)

    def _identity(self, spec: GeneratorSpec) -> list[Any]:
        (loaded,) = self.corpora.generators([spec])
        return [spec.model_dump(mode="json"), loaded.generator.revision, loaded.weights_sha256]

    def _channels(self) -> int:
        return int(self.real.places[0].clean.shape[2])

    def _named(self, indexes: Mapping[Part, CorpusIndex]) -> dict[str, str]:
        return {part: index.plan_sha256 for part, index in indexes.items()}


def _curve(log: Path) -> list[dict[str, float]]:
    """Return step and validation of each line of a log that has one."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [{"step": line["step"], **line["validation"]} for line in lines if "validation" in line]


def _parameters(spec: GeneratorSpec) -> int:
    return 0 if spec.weights is None else load_header(find(spec.weights)).parameters
