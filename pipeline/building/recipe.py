"""The recipe of a corpus: what of a manifest decides the pixels, and the generators it names.

Two manifests with one recipe make byte-identical shards, however many actors work, wherever the
output goes and whenever the run stops. So the plan's hash, and what shards carry, follow from the
recipe and not from the whole manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import generators
from generators.base import NoiseGenerator
from generators.on_raw import OnRaw
from generators.weights_file import card, find, sha256_of_file
from pipeline.canonical import sha256_of
from pipeline.manifest.models import CorpusManifest, GeneratorSpec

__all__ = ["LoadedGenerator", "load_generators", "recipe_of", "recipe_sha256"]

# What may differ between two runs of one recipe: where, how fast, what for, and what is told.
_NOT_PIXELS = (
    "name",
    "description",
    "output",
    "resources",
    "limits",
    "license",
    "attribution",
    "report",
)
_PIXEL_OUTPUT = (
    "formats",
    "encoding",
    "rows_per_shard",
    "bytes_per_shard",
    "png_level",
    "hdf5_compression",
)
# Keys that came after the first release are left out where they are not used, so that the recipe,
# and with it the plan and the shards, of an older manifest stays what it was.
_LATER_KEYS = ("unprocess",)
# A convolution's last bits depend on the batch and on the number of threads.
_PIXEL_RESOURCES = ("batch_size", "threads", "precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedGenerator:
    """A generator of the manifest, ready to sample.

    Args:
        spec: The manifest's entry.
        generator: The generator itself.
        weights_path: File of its weights, if it has any.
        weights_sha256: SHA-256 of that file; empty if there is none.
        license: Licence of the weights, from their card.
        precision: ``float32`` or ``bf16``, in which its network computes.
    """

    spec: GeneratorSpec
    generator: NoiseGenerator
    weights_path: Path | None
    weights_sha256: str
    license: str | None
    precision: str = "float32"

    @property
    def multiple(self) -> int:
        """What the patch size must be divisible by."""
        return self.generator.multiple

    @property
    def same_bits(self) -> bool:
        """Whether its noise has the same bits on every processor."""
        return self.generator.same_bits

    @property
    def color_only(self) -> bool:
        """Whether it refuses grey pictures."""
        return self.generator.color_only


def load_generators(specs: Sequence[GeneratorSpec], *, precision: str) -> list[LoadedGenerator]:
    """Make the generators of a manifest.

    Args:
        specs: The manifest's entries.
        precision: ``float32`` or ``bf16``, handed to generators that have a ``precision``.

    Raises:
        ValueError: If a generator, its parameters or its weights are wrong; the message names it.
        FileNotFoundError: If there are no such weights.
    """
    return [_load(spec, precision) for spec in specs]


def recipe_of(manifest: CorpusManifest) -> dict[str, Any]:
    """Return the part of a manifest that decides the pixels, as JSON values."""
    data = manifest.model_dump(mode="json")
    output = {key: data["output"][key] for key in _PIXEL_OUTPUT}
    resources = {key: data["resources"][key] for key in _PIXEL_RESOURCES}
    kept = {key: value for key, value in data.items() if key not in _NOT_PIXELS}
    kept["generators"] = [
        {k: v for k, v in spec.items() if k not in _LATER_KEYS or v is not None}
        for spec in data["generators"]
    ]
    return {**kept, "output": output, "resources": resources}


def recipe_sha256(manifest: CorpusManifest) -> str:
    """Return the hash of the recipe; every shard carries it."""
    return sha256_of(recipe_of(manifest))


def _load(spec: GeneratorSpec, precision: str) -> LoadedGenerator:
    path = find(spec.weights) if spec.weights is not None else None
    params = dict(spec.params)
    if precision != "float32" and generators.has_parameter(spec.name, "precision"):
        params.setdefault("precision", precision)
    generator = generators.create(spec.name, params=params, weights=path)
    if spec.unprocess is not None:
        generator = _on_raw(spec.key, generator, spec.unprocess.model_dump())
    return LoadedGenerator(
        spec=spec,
        generator=generator,
        weights_path=path,
        weights_sha256=sha256_of_file(path) if path is not None else "",
        license=None if path is None else card(path).get("license", "unspecified"),
        precision=str(params.get("precision", "float32")),
    )


def _on_raw(key: str, generator: NoiseGenerator, unprocess: Mapping[str, Any]) -> NoiseGenerator:
    try:
        return OnRaw(generator, **unprocess)
    except ValueError as error:
        raise ValueError(f"generator '{key}', unprocess: {error}") from error
