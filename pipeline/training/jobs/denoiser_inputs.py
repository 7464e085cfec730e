"""One input of a denoiser's training: a corpus, real pairs, or a corpus manifest that is streamed.

Everything that can be wrong with it is found here, before the first step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generators.training import DataUse
from pipeline.canonical import sha256_of
from pipeline.corpus.index import INDEX_NAME
from pipeline.manifest.denoising import DenoisingData, RealPairs
from pipeline.manifest.load import load_manifest
from pipeline.manifest.models import DenoisingInput, TrainDenoiserManifest, TrainingData
from pipeline.sources import photographs_behind, photographs_of
from pipeline.storage import read_bytes
from pipeline.training.data.corpus_rows import CorpusPairs
from pipeline.training.data.mixed import BatchRows
from pipeline.training.data.pair_rows import Crops, PairRows, Rows
from pipeline.training.data.store import TrainingStore
from pipeline.training.jobs.generator_data import make_batches
from pipeline.training.jobs.streamed_rows import StreamedRows

__all__ = ["OpenedInput", "open_input"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedInput:
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


def open_input(number: int, manifest: TrainDenoiserManifest, crops: Crops) -> OpenedInput:
    """Open an input.

    Args:
        number: Which of the manifest's inputs.
        manifest: The training.
        crops: How its rows are cut.

    Raises:
        ValueError: If it is damaged, empty, or of images that the training is not for.
        FileNotFoundError: If it does not exist.
    """
    one = manifest.data.inputs[number]
    match one:
        case DenoisingInput(corpus=str(path)):
            opened = _corpus(path, one, manifest, crops=crops)
        case DenoisingInput(pairs=RealPairs() as pairs):
            opened = _pairs(pairs, manifest, crops=crops)
        case DenoisingInput(stream=str(path)):
            opened = _stream(path, one, manifest, crops=crops)
        case _:
            raise ValueError(f"input {number} names no corpus, pairs or stream; give one of them.")
    where = f"input {number} ({one.corpus or one.stream or 'pairs'})"
    _check_kind(where, opened.rows, manifest.data)
    return opened


def _corpus(
    path: str, one: DenoisingInput, manifest: TrainDenoiserManifest, *, crops: Crops
) -> OpenedInput:
    data, twice = manifest.data, manifest.loss == "noise2noise"
    source = CorpusPairs(
        path,
        split=one.split,
        generators=one.generators,
        format=one.format,
        twice=twice,
        check=data.check,
    )
    if min(source.sides) < data.patch:
        height, width = source.sides
        raise ValueError(
            f"corpus {path} has patches of {height}x{width} pixels, and data.patch is "
            f"{data.patch}; lower data.patch or make the corpus with larger patches."
        )
    # Here already: a corpus may be read whole in the next line.
    _check_kind(f"corpus {path}", source, data)
    rows = PairRows(
        source,
        crops,
        names=("noisy", "second") if twice else ("clean", "noisy"),
        domain=source.domain,
        channels=source.channels,
        memory=int(data.memory),
    )
    index = source.index
    used = {file.path: file.sha256 for file in source.files}
    about = {
        "input": f"corpus {index.name}",
        "corpus_json_sha256": hashlib.sha256(read_bytes(path, INDEX_NAME)).hexdigest(),
        "plan_sha256": index.plan_sha256,
        "shards_sha256": sha256_of(used),
        "format": source.format,
        "split": one.split,
        "generators": one.generators or [entry.key for entry in index.generators],
        "rows": sum(source.counts),
        "read": rows.how,
        "licenses": _licenses(
            index.manifest.get("license"),
            *(source.license for source in index.sources),
            *(entry.license for entry in index.generators),
        ),
    }
    return OpenedInput(
        rows=rows,
        about=about,
        identity=f"corpus {sha256_of(used)}",
        # Only a validation asks for them, and tracing opens the shards of other corpora.
        sources=photographs_behind(index, source.origins) | source.sources
        if manifest.validation
        else {},
    )


def _pairs(pairs: RealPairs, manifest: TrainDenoiserManifest, *, crops: Crops) -> OpenedInput:
    use: DataUse = "noisy-pairs" if manifest.loss == "noise2noise" else "pairs"
    values = {name: getattr(pairs, name) for name in type(pairs).model_fields}
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
        "simulated": [device.model_dump(mode="json") for device in pairs.simulate],
        "share_of_places_within_offset": round(store.kept_fraction, 4),
        "read": "from memory",
        "licenses": sorted(store.licenses),
    }
    content = hashlib.sha256()
    for image in store.images:
        for pixels in image.images().values():
            content.update(pixels.tobytes())
    return OpenedInput(
        rows=BatchRows(batches, manifest.data.domain),
        about=about,
        identity=f"pairs {content.hexdigest()}",
        store=store,
    )


def _stream(
    path: str, one: DenoisingInput, manifest: TrainDenoiserManifest, *, crops: Crops
) -> OpenedInput:
    loaded = load_manifest(path).manifest
    if loaded.kind != "corpus":
        raise ValueError(f"stream: {path} is of kind {loaded.kind}; give a corpus manifest.")
    if loaded.patches.size < crops.patch:
        raise ValueError(
            f"stream {path} cuts patches of {loaded.patches.size} pixels, and data.patch is "
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
    return OpenedInput(
        rows=rows, about=about, identity=f"stream {plan}", sources=rows.sources | behind
    )


def _check_kind(where: str, images: Rows | CorpusPairs, data: DenoisingData) -> None:
    """Refuse images of another domain or number of channels than the denoiser's."""
    wanted = 4 if data.domain == "raw" else 1 if data.color == "grey" else 3
    if (images.domain, images.channels) != (data.domain, wanted):
        raise ValueError(
            f"{where} gives {images.domain} images of {images.channels} channels, and this "
            f"denoiser is trained on {data.domain} images of {wanted}; set data.domain (srgb, raw) "
            "and data.color (rgb, grey), or choose other data."
        )


def _licenses(*found: Any) -> list[str]:
    return sorted({str(name) for name in found if name})
