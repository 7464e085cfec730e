"""Loading a manifest: read, expand, override, check, and tell every mistake at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.canonical import sha256_of
from pipeline.manifest.bundled import bundled_names, read_manifest_text
from pipeline.manifest.check import check
from pipeline.manifest.mistakes import ManifestError, Mistake
from pipeline.manifest.models import Manifest
from pipeline.manifest.overrides import apply_overrides
from pipeline.manifest.reader import read_tree
from pipeline.manifest.tree import Tree

__all__ = [
    "LoadedManifest",
    "ManifestError",
    "Mistake",
    "bundled_names",
    "load_manifest",
    "load_manifest_data",
]

_IN_MEMORY = "manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedManifest:
    """A manifest that has been read and checked.

    Args:
        manifest: The checked manifest, defaults filled in.
        path: Where its file is.
        data: What the file says after expansion and overrides, without defaults; JSON values only.
        sha256: SHA-256 of the canonical JSON of ``data``, hexadecimal.
        tree: Where everything stands, for mistakes that are found later; ``None`` if not known.
    """

    manifest: Manifest
    path: str
    data: dict[str, Any]
    sha256: str
    tree: Tree | None = field(default=None, repr=False, compare=False)

    def mistake(self, *path: str | int, found: str, expected: str = "", hint: str = "") -> Mistake:
        """Return a mistake at the line of a key, for what only later stages can find.

        Args:
            path: Keys and list places, e.g. ``"generators", 1, "params", "sigma"``.
            found: What stands there.
            expected: What is allowed instead.
            hint: What to do.
        """
        tree = self.tree or Tree(self.path)
        return tree.mistake(path, found, expected=expected, hint=hint)


def load_manifest(
    name_or_path: str,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> LoadedManifest:
    """Load a manifest.

    Args:
        name_or_path: Name of a bundled manifest (``quickstart``), or path of a YAML file: whatever
            holds a ``/`` or ends in ``.yaml`` or ``.yml``.
        overrides: ``key=value`` each, e.g. ``patches.size=32`` or ``sources.0.path=photos``.
        environ: Environment of ``${VAR}``; that of the process if absent.

    Returns:
        The checked manifest.

    Raises:
        ManifestError: With every mistake of the file and of the overrides, whatever they hold.
    """
    source = read_manifest_text(name_or_path)
    environ = os.environ if environ is None else environ
    tree = read_tree(source.text, name=source.name, environ=environ)
    return _checked(tree, source.path, overrides, environ)


def load_manifest_data(
    data: Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> LoadedManifest:
    """Load a manifest that is in memory already; as :func:`load_manifest`, without lines.

    Args:
        data: What the YAML file would hold; other values than JSON's are taken by their text.
        overrides: As for :func:`load_manifest`, like the rest.
        environ: Likewise.

    Raises:
        ManifestError: With every mistake.
    """
    environ = os.environ if environ is None else environ
    # JSON is YAML, and says without doubt what is a text.
    text = json.dumps(dict(data), default=os.fspath)
    tree = read_tree(text, name=_IN_MEMORY, environ=environ, lines=False)
    return _checked(tree, _IN_MEMORY, overrides, environ)


def _checked(
    tree: Tree, path: str, overrides: Sequence[str], environ: Mapping[str, str]
) -> LoadedManifest:
    if tree.data is None and (tree.mistakes or tree.broken):
        raise ManifestError([*tree.mistakes, *(m for at in tree.broken.values() for m in at)])
    apply_overrides(tree, overrides, environ=environ)
    manifest, mistakes = check(tree)
    if manifest is None:
        raise ManifestError(mistakes)
    return LoadedManifest(
        manifest=manifest,
        path=path,
        data=tree.data,
        sha256=sha256_of(tree.data),
        tree=tree,
    )
