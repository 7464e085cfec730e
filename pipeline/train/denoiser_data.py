"""From a denoiser's training manifest to its batches: corpora, pairs and streams, and their card.

Everything that can be wrong with the data is found here, before the first step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generators.base import Domain
from generators.seeds import patch_seed
from generators.training import DataUse
from pipeline.canonical import sha256_of
from pipeline.corpus import INDEX_NAME
from pipeline.manifest.load import load_manifest
from pipeline.manifest.models import (
    DenoisingInput,
    Splits,
    TrainDenoiserManifest,
    TrainingData,
    Validation,
)
from pipeline.sources import photographs_behind, photographs_of, scan_for_training
from pipeline.storage import read_bytes
from pipeline.train.generator_data import check_held_out, make_batches
from pipeline.train.streamed_rows import StreamedRows
from pipeline.training.batches import Batches
from pipeline.training.corpus_rows import CorpusReservoir
from pipeline.training.mixed import BatchRows, MixedBatches
from pipeline.training.pair_rows import Crops, PairRows, Rows
from pipeline.training.store import TrainingStore

__all__ = ["DenoisingBatches", "denoising_batches", "validation_batches"]

# The crops that are held out do not follow the training's seed: curves of several seeds compare.
_VALIDATION_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """One input, ready to be drawn from.

    Args:
        rows: Its rows.
        about: What the card says of it, JSON values.
        identity: What must not change while the training is interrupted, JSON values.
        sources: SHA-256 of the photographs that its rows are from, and their scenes.
        store: Its pairs in memory, if it is pairs.
    """

    rows: Rows
    about: dict[str, Any]
    identity: str
    sources: Mapping[str, str] = field(default_factory=dict)
    store: TrainingStore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisingBatches:
    """A training's data.

    Args:
        batches: This process's rows of every batch.
        domain: Of the images.
        about: What the card says of each input.
        identity: What must not change while the training is interrupted.
        inputs: The inputs.
    """

    batches: MixedBatches
    domain: Domain
    about: list[dict[str, Any]]
    identity: list[str]
    inputs: list[_Input]


def denoising_batches(manifest: TrainDenoiserManifest, share: range) -> DenoisingBatches:
    """Open the inputs of a training.

    Args:
        manifest: The training.
        share: Which rows of each batch this process takes.

    Raises:
        ValueError: If an input is damaged, empty, or of images that the training is not for.
        FileNotFoundError: If an input does not exist.
    """
    data, size = manifest.data, manifest.schedule.batch_size
    made = []
    for number, one in enumerate(data.inputs):
        seed = patch_seed(manifest.seed, "input", str(number))
        crops = Crops(patch=data.patch, size=size, seed=seed, augmentation=data.augmentation)
        opened = {"corpus": _corpus, "pairs": _pairs, "stream": _stream}[one.kind](
            one, manifest, crops
        )
        where = f"input {number} ({one.corpus or one.stream or 'pairs'})"
        _check_kind(where, opened.rows.domain, opened.rows.channels, manifest)
        made.append(opened)
    batches = MixedBatches(
        [one.rows for one in made],
        [one.weight for one in data.inputs],
        size=size,
        seed=manifest.seed,
        share=share,
    )
    shares = [one.weight / sum(i.weight for i in data.inputs) for one in data.inputs]
    about = [{**one.about, "share": round(part, 4)} for one, part in zip(made, shares, strict=True)]
    return DenoisingBatches(
        batches=batches,
        domain=data.domain,
        about=about,
        identity=[one.identity for one in made],
        inputs=made,
    )


def validation_batches(manifest: TrainDenoiserManifest, training: DenoisingBatches) -> Batches:
    """Return the held-out batches of a training that has a validation.

    Raises:
        ValueError: If an image of the validation is also trained on, or there are no pairs.
    """
    validation = manifest.validation
    assert validation is not None
    batches, store = make_batches(
        validation,
        use="pairs",
        domain=manifest.data.domain,
        size=manifest.schedule.batch_size,
        seed=_VALIDATION_SEED,
        color=manifest.data.color,
        conditioned=False,
    )
    shown = _photographs(validation) if any(one.sources for one in training.inputs) else set()
    for one in training.inputs:
        if one.store is not None:
            check_held_out(one.store, store)
        both = sorted({one.sources[sha256] for sha256 in shown if sha256 in one.sources})
        if both:
            raise ValueError(
                f"validation: {', '.join(both[:8])} {'is' if len(both) == 1 else 'are'} also "
                f"trained on, in {one.about['input']}, so the figures would mean nothing; keep "
                "validation photographs out of the training data (`split`, `only`, other files)."
            )
    return batches


def _corpus(one: DenoisingInput, manifest: TrainDenoiserManifest, crops: Crops) -> _Input:
    assert one.corpus is not None
    data, twice = manifest.data, manifest.loss == "noise2noise"
    reservoir = CorpusReservoir(
        one.corpus,
        split=one.split,
        generators=one.generators,
        format=one.format,
        twice=twice,
        check=data.check,
    )
    if min(reservoir.sides) < data.patch:
        height, width = reservoir.sides
        raise ValueError(
            f"corpus {one.corpus} has patches of {height}x{width} pixels, and data.patch is "
            f"{data.patch}; lower data.patch or make the corpus with larger patches."
        )
    # Here already: a corpus may be read whole in the next line.
    _check_kind(f"corpus {one.corpus}", reservoir.domain, reservoir.channels, manifest)
    rows = PairRows(
        reservoir,
        crops,
        names=("noisy", "second") if twice else ("clean", "noisy"),
        domain=reservoir.domain,
        channels=reservoir.channels,
        memory=int(data.memory),
    )
    index = reservoir.index
    used = {file.path: file.sha256 for file in reservoir.files}
    about = {
        "input": f"corpus {index.name}",
        "corpus_json_sha256": hashlib.sha256(read_bytes(one.corpus, INDEX_NAME)).hexdigest(),
        "plan_sha256": index.plan_sha256,
        "shards_sha256": sha256_of(used),
        "format": reservoir.format,
        "split": one.split,
        "generators": one.generators or [entry.key for entry in index.generators],
        "rows": sum(reservoir.counts),
        "read": rows.how,
        "licenses": _licenses(
            index.manifest.get("license"),
            *(source.license for source in index.sources),
            *(entry.license for entry in index.generators),
        ),
    }
    return _Input(
        rows=rows,
        about=about,
        identity=f"corpus {sha256_of(used)}",
        # Only a validation asks for them, and tracing opens the shards of other corpora.
        sources=photographs_behind(index, reservoir.origins) | reservoir.sources
        if manifest.validation
        else {},
    )


def _pairs(one: DenoisingInput, manifest: TrainDenoiserManifest, crops: Crops) -> _Input:
    assert one.pairs is not None
    use: DataUse = "noisy-pairs" if manifest.loss == "noise2noise" else "pairs"
    values = {name: getattr(one.pairs, name) for name in type(one.pairs).model_fields}
    data = TrainingData.model_construct(
        **values, patch=crops.patch, augmentation=crops.augmentation
    )
    batches, store = make_batches(
        data,
        use=use,
        domain=manifest.data.domain,
        size=crops.size,
        seed=crops.seed,
        color=manifest.data.color,
        conditioned=False,
    )
    scenes = sorted({image.scene for image in store.images})
    about = {
        "input": "pairs",
        "scenes": scenes,
        "simulated": [device.model_dump(mode="json") for device in one.pairs.simulate],
        "share_of_places_within_offset": round(store.kept_fraction, 4),
        "read": "from memory",
        "licenses": sorted(store.licenses),
    }
    content = hashlib.sha256()
    for image in store.images:
        for pixels in image.images().values():
            content.update(pixels.tobytes())
    return _Input(
        rows=BatchRows(batches, manifest.data.domain),
        about=about,
        identity=f"pairs {content.hexdigest()}",
        store=store,
    )


def _stream(one: DenoisingInput, manifest: TrainDenoiserManifest, crops: Crops) -> _Input:
    assert one.stream is not None
    loaded = load_manifest(one.stream).manifest
    if loaded.kind != "corpus":
        raise ValueError(f"stream: {one.stream} is of kind {loaded.kind}; give a corpus manifest.")
    if loaded.patches.size < crops.patch:
        raise ValueError(
            f"stream {one.stream} cuts patches of {loaded.patches.size} pixels, and data.patch is "
            f"{crops.patch}; lower data.patch or raise the manifest's patches.size."
        )
    rows = StreamedRows(
        loaded,
        crops,
        split=one.split,
        generators=one.generators,
        twice=manifest.loss == "noise2noise",
        memory=int(manifest.data.memory),
        device=manifest.schedule.device,
    )
    plan = rows.ready.plan.sha256
    about = {
        "input": f"stream of {loaded.name}",
        "plan_sha256": plan,
        "split": one.split,
        "generators": one.generators or [spec.key for spec in loaded.generators],
        "patches": len(rows),
        "read": rows.how,
        "licenses": _licenses(
            loaded.license,
            *(record.license for record in rows.records),
            *(generator.license for generator in rows.ready.loaded),
        ),
    }
    behind = photographs_of(loaded.sources) if manifest.validation else {}
    return _Input(rows=rows, about=about, identity=f"stream {plan}", sources=rows.sources | behind)


def _check_kind(where: str, domain: str, channels: int, manifest: TrainDenoiserManifest) -> None:
    """Refuse images of another domain or number of channels than the denoiser's."""
    data = manifest.data
    wanted = 4 if data.domain == "raw" else 1 if data.color == "grey" else 3
    if (domain, channels) != (data.domain, wanted):
        raise ValueError(
            f"{where} gives {domain} images of {channels} channels, and this denoiser is trained "
            f"on {data.domain} images of {wanted}; set data.domain (srgb, raw) and data.color "
            "(rgb, grey), or choose other data."
        )


def _photographs(validation: Validation) -> set[str]:
    """Return the SHA-256 of every photograph that a validation shows.

    Rows of a corpus name the photograph that they were cut from.
    """
    found = {
        sha256
        for record in scan_for_training(validation.sources, Splits()).records
        for _, sha256 in record.views().values()
    }
    return found | photographs_of(validation.sources).keys()


def _licenses(*found: Any) -> list[str]:
    return sorted({str(name) for name in found if name})
