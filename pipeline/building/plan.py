"""The frozen plan: which patches of which photographs go through which generators into which shard.

The plan is made on the driver before anything is spent, from headers and content hashes alone. It
is kept as columns (one integer a patch and column), so a million patches take some 20 MB. The shard
is the unit of work, of retry and of resume: nothing in a shard depends on any other shard.

    patch id    hash of (photograph's content, y, x, size): never a row number
    sample id   patch id + the generator's key
    seed        hash of (manifest's seed, patch id, generator's key)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generators.capture import CaptureMetadata
from generators.seeds import patch_seed, stream_rng
from pipeline.building.recipe import LoadedGenerator, recipe_of
from pipeline.canonical import sha256_of
from pipeline.corpus.formats import ShardName
from pipeline.errors import PlanError
from pipeline.manifest.models import CorpusManifest, Patches
from pipeline.pixels import sample_bytes
from pipeline.records import ImageRecord, Reject
from pipeline.sources import Scan, scan

__all__ = ["Plan", "PlannedShard", "make_plan", "patch_id", "rows_per_shard"]

DEFAULT_ROWS = 512
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, eq=False)
class PlannedShard:
    """One shard of the plan.

    Args:
        index: Number in the plan.
        name: Its name in its split.
        image: ``(N,)`` int32, index into the plan's records.
        y: ``(N,)`` int32, top of the patch.
        x: ``(N,)`` int32, left of the patch.
        generator: ``(N,)`` int16, index into the manifest's generators.
    """

    index: int
    name: ShardName
    image: NDArray[np.int32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    generator: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything a run will do.

    Args:
        records: The photographs.
        shards: The shards, by split.
        rejects: Photographs refused while planning.
        sha256: Hash of recipe, photographs, generators and patches.
        size: Side of a patch, pixels.
        further: Columns of capture metadata beside camera and ISO that any photograph has, sorted;
            all shards have them.
    """

    records: list[ImageRecord]
    shards: list[PlannedShard]
    rejects: list[Reject]
    sha256: str
    size: int
    further: tuple[str, ...] = ()

    @property
    def patches(self) -> int:
        """Rows of all shards."""
        return sum(len(shard) for shard in self.shards)


def patch_id(record: ImageRecord, y: int, x: int, size: int) -> str:
    """Return the content id of a patch, 24 hexadecimal digits."""
    # The image's id, not the clean file's hash: rows of a corpus may share a clean image and have
    # noisy partners of their own.
    text = f"{record.image_id}:{y}:{x}:{size}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def rows_per_shard(manifest: CorpusManifest, *, raw: bool = False) -> int:
    """Return how many rows a shard holds, from rows or from bytes of pixels.

    Args:
        manifest: The corpus.
        raw: Whether its sources are raw, which has four channels.
    """
    output = manifest.output
    if output.bytes_per_shard is None:
        return output.rows_per_shard or DEFAULT_ROWS
    channels = 4 if raw else 3 if manifest.patches.color == "rgb" else 1
    sample = sample_bytes(output.encoding)
    pair = 2 * manifest.patches.size**2 * channels * sample
    return max(1, int(output.bytes_per_shard) // pair)


def make_plan(
    manifest: CorpusManifest, loaded: Sequence[LoadedGenerator], scanned: Scan | None = None
) -> Plan:
    """Scan the sources and freeze the plan.

    Args:
        manifest: The corpus to be made.
        loaded: Its generators.
        scanned: Its sources, where somebody scanned them before.

    Raises:
        PlanError: If nothing can be cut, or a generator cannot serve the sources.
        ValueError: If the sources contradict themselves (one picture in two splits).
        FileNotFoundError: If a source does not exist.
    """
    _check_sizes(manifest, loaded)
    found = scanned or scan(manifest.sources, manifest.splits)
    rejects = list(found.rejects)
    records, places = [], []
    for record in found.records:
        where = _places(record, manifest.patches, manifest.seed)
        if len(where):
            records.append(record)
            places.append(where)
        else:
            rejects.append(_too_small(record, manifest.patches.size))
    if not records:
        reasons = "; ".join(f"{r.uri}: {r.detail}" for r in rejects[:5])
        raise PlanError(f"no patch can be cut from {len(found.records)} photographs. {reasons}")
    _check_domains(records, loaded)
    _check_needs(records, loaded)
    _check_capture(records, loaded)
    shards = _shards(manifest, records, places)
    return Plan(
        records,
        shards,
        rejects,
        _hash(manifest, records, loaded, shards),
        manifest.patches.size,
        further=tuple(sorted({name for record in records for name, _ in record.further})),
    )


def _places(record: ImageRecord, patches: Patches, seed: int) -> NDArray[np.int32]:
    """Return the tops and lefts of a photograph's patches, ``(N, 2)``."""
    bottom, right = record.height - patches.size, record.width - patches.size
    if bottom < 0 or right < 0:
        return np.zeros((0, 2), np.int32)
    if patches.per_image is not None:
        rng = stream_rng(patch_seed(seed, record.image_id), "places")
        draws = rng.integers((bottom + 1, right + 1), size=(4 * patches.per_image, 2))
        # Each place once: two equal patches would be one sample twice. A photograph with fewer
        # places than asked for gives all of those drawn.
        unique, first = np.unique(draws, axis=0, return_index=True)
        kept = unique[np.argsort(first)][: patches.per_image]
        return np.asarray(kept[np.lexsort((kept[:, 1], kept[:, 0]))], np.int32)
    stride = patches.stride or patches.size
    rows = np.arange(0, bottom + 1, stride, dtype=np.int32)
    columns = np.arange(0, right + 1, stride, dtype=np.int32)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _shards(
    manifest: CorpusManifest, records: list[ImageRecord], places: list[NDArray[np.int32]]
) -> list[PlannedShard]:
    shards: list[PlannedShard] = []
    rows = rows_per_shard(manifest, raw=records[0].domain == "raw")
    for split in _SPLITS:
        chosen = [i for i, record in enumerate(records) if record.split == split]
        if not chosen:
            continue
        parts = [_through_generators(manifest, records[i], i, places[i]) for i in chosen]
        table = np.concatenate(parts)
        count = -(-len(table) // rows)
        for number in range(count):
            part = table[number * rows : (number + 1) * rows]
            image, y, x = (np.ascontiguousarray(part[:, c], np.int32) for c in range(3))
            name = ShardName(split=split, index=number, count=count)
            generator = np.ascontiguousarray(part[:, 3], np.int16)
            shards.append(PlannedShard(len(shards), name, image, y, x, generator))
    return shards


def _through_generators(
    manifest: CorpusManifest, record: ImageRecord, index: int, where: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return ``(N, 4)`` rows image, y, x, generator of one photograph."""
    kinds = len(manifest.generators)
    if manifest.mix == "each":
        where = np.repeat(where, kinds, axis=0)
        generator = np.tile(np.arange(kinds), len(where) // kinds)
    else:
        weights = np.array([spec.weight for spec in manifest.generators])
        rng = stream_rng(patch_seed(manifest.seed, record.image_id), "mix")
        generator = rng.choice(kinds, size=len(where), p=weights / weights.sum())
    image = np.full(len(where), index)
    return np.column_stack([image, where, generator]).astype(np.int32)


def _hash(
    manifest: CorpusManifest,
    records: list[ImageRecord],
    loaded: Sequence[LoadedGenerator],
    shards: list[PlannedShard],
) -> str:
    # The rows name their photograph's file, so where it lies is part of what is made.
    known = ("uri", "sha256", "noisy_sha256", "camera", "iso", "scene", "split", "license")
    patches = hashlib.sha256()
    for shard in shards:
        for column in (shard.image, shard.y, shard.x, shard.generator):
            patches.update(column.tobytes())
    return sha256_of(
        {
            "recipe": recipe_of(manifest),
            "photographs": [
                # Not named where there is none: plans of before keep their hash.
                {key: getattr(record, key) for key in known}
                | ({"further": dict(record.further)} if record.further else {})
                for record in records
            ],
            "generators": [[g.generator.revision, g.weights_sha256] for g in loaded],
            "patches": patches.hexdigest(),
        }
    )


def _check_sizes(manifest: CorpusManifest, loaded: Sequence[LoadedGenerator]) -> None:
    size = manifest.patches.size
    for one in loaded:
        if size % one.multiple:
            larger = -(-size // one.multiple) * one.multiple
            raise PlanError(
                f"generator '{one.spec.key}' needs patches whose side divides by {one.multiple}; "
                f"patches.size is {size}. Set it to {larger}."
            )
        if manifest.patches.color == "grey" and one.color_only:
            raise PlanError(f"generator '{one.spec.key}' needs patches.color: rgb.")
    given = {one.generator.gives for one in loaded}
    if len(given) > 1:
        raise PlanError(
            "all generators of a corpus must give the same domain; these give "
            + ", ".join(f"{one.spec.key}: {one.generator.gives}" for one in loaded)
            + ". Make one corpus each."
        )


def _check_domains(records: list[ImageRecord], loaded: Sequence[LoadedGenerator]) -> None:
    """Refuse raw photographs for sRGB generators, and the reverse, before any work."""
    for one in loaded:
        for record in records:
            if record.domain != one.generator.accepts:
                raise PlanError(
                    f"generator '{one.spec.key}' reads {one.generator.accepts} images; source "
                    f"'{record.source}' gives {record.domain} ({record.uri}). "
                    + _domain_remedy(record.domain)
                )


def _domain_remedy(domain: str) -> str:
    if domain == "srgb":
        return (
            "For raw noise on sRGB photographs set the generator's `unprocess: {output: srgb}`, or "
            "`{output: raw}` to keep the raw; else use a raw source, or the generator's "
            "`params: {domain: srgb}` where it has that."
        )
    return (
        "Use an sRGB source, or the generator's `params: {domain: raw}` where it has that; "
        "`unprocess` is for photographs."
    )


def _check_needs(records: list[ImageRecord], loaded: Sequence[LoadedGenerator]) -> None:
    """Refuse a source that lacks what a generator needs, before any work."""
    for one in loaded:
        for record in records:
            has = {name for name, value in record.capture.items() if value is not None}
            has |= {"reference"} if record.noisy_uri is not None else set()
            lacking = sorted(one.generator.needs - has)
            if lacking:
                provided = sorted(has)
                raise PlanError(
                    f"generator '{one.spec.key}' needs {', '.join(lacking)}; source "
                    f"'{record.source}' provides {', '.join(provided) or 'clean images only'} "
                    f"({record.uri}). Use a source that has it"
                    + (
                        " (type: pairs)."
                        if "reference" in lacking
                        else f", or give the source {_key(lacking[0])}, or the generator "
                        f"`params: {{{lacking[0]}: ...}}` where it has that."
                    )
                )


def _key(column: str) -> str:
    """Return how a manifest gives a source a column of capture metadata."""
    return f"`{column}`" if column in ("camera", "iso") else f"`capture: {{{column}: ...}}`"


def _check_capture(records: list[ImageRecord], loaded: Sequence[LoadedGenerator]) -> None:
    """Refuse cameras and ISOs of the sources that a generator does not know, before any work."""
    first = {tuple(record.capture.items()): record for record in reversed(records)}
    for one in loaded:
        for record in sorted(first.values(), key=lambda record: record.uri):
            try:
                one.generator.check_capture(CaptureMetadata.of([record.capture]))
            except ValueError as error:
                raise PlanError(
                    f"generator '{one.spec.key}' cannot serve source '{record.source}' "
                    f"({record.uri}): {error}"
                ) from error


def _too_small(record: ImageRecord, size: int) -> Reject:
    return Reject(
        uri=record.uri,
        reason="too-small",
        detail=f"{record.width}x{record.height} pixels hold no {size}x{size} patch; "
        "set patches.size lower or leave it out.",
    )
