"""Manifests in every form a program may have one: a file, a bundled name, a dict or a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pipeline.errors import InputError
from pipeline.manifest.base import Model
from pipeline.manifest.load import LoadedManifest, load_manifest, load_manifest_data
from pipeline.manifest.mistakes import ManifestError
from pipeline.manifest.models import CorpusManifest

__all__ = ["AnyManifest", "Overrides", "read_corpus_manifest", "read_manifest"]

AnyManifest = str | os.PathLike[str] | Mapping[str, Any] | Model | LoadedManifest
Overrides = Sequence[str] | Mapping[str, Any]


def read_manifest(
    manifest: AnyManifest, overrides: Overrides = (), *, kinds: Sequence[str] = ()
) -> LoadedManifest:
    """Read a manifest and check it.

    Args:
        manifest: Path of a YAML file, name of a bundled manifest, what such a file would hold as a
            dict, or a manifest that was read before.
        overrides: ``key=value`` each, or values by key; keys as in ``patches.size``.
        kinds: The kinds that will do; any if empty.

    Raises:
        ManifestError: With every mistake.
        InputError: If it is of another kind.
    """
    if isinstance(overrides, str):
        raise InputError(
            f"overrides is the text {overrides!r}; expected a list of such texts, or a dict."
        )
    texts = [f"{k}={v}" for k, v in overrides.items()] if isinstance(overrides, Mapping) else ()
    loaded = _load(manifest, list(texts or cast("Sequence[str]", overrides)))
    kind = loaded.manifest.kind
    if kinds and kind not in kinds:
        raise InputError(
            f"the manifest is of kind {kind}", where=loaded.path, expected=" or ".join(kinds)
        )
    return loaded


def read_corpus_manifest(manifest: AnyManifest, overrides: Overrides = ()) -> CorpusManifest:
    """Read the manifest of a corpus whose generators can be made.

    Raises:
        ManifestError: With every mistake; with the line of each generator that cannot be made.
    """
    from pipeline.building.recipe import load_generators

    loaded = read_manifest(manifest, overrides, kinds=["corpus"])
    corpus = cast("CorpusManifest", loaded.manifest)
    mistakes = []
    for number, spec in enumerate(corpus.generators):
        try:
            load_generators([spec], precision=corpus.resources.precision)
        except (ValueError, TypeError, OSError) as error:
            about_weights = "weights" in str(error) and "weights know" not in str(error)
            key = "weights" if about_weights else "params"
            mistakes.append(loaded.mistake("generators", number, key, found=str(error)))
    if mistakes:
        raise ManifestError(mistakes)
    return corpus


def _load(manifest: AnyManifest, overrides: list[str]) -> LoadedManifest:
    if isinstance(manifest, LoadedManifest):
        return load_manifest_data(manifest.data, overrides=overrides) if overrides else manifest
    if isinstance(manifest, Model):
        return load_manifest_data(
            manifest.model_dump(mode="json", exclude_unset=True), overrides=overrides
        )
    if isinstance(manifest, Mapping):
        return load_manifest_data(manifest, overrides=overrides)
    name = os.fspath(manifest)
    if not isinstance(manifest, str) and os.sep not in name:
        name = os.path.join(os.curdir, name)  # a path is never the name of a bundled one
    return load_manifest(name, overrides=overrides)
