"""A manifest that is about to leave this machine.

Elsewhere, a path of this machine means nothing or, worse, means a folder that disappears with the
job. So the paths a manifest names are looked at before it is sent: URLs always travel, and what
else does is for the destination to say (a mounted volume, a shared file system).

The manifest travels as text, not as values, so that ``${VAR}`` is expanded where the job runs.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.manifest.bundled import read_manifest_text

__all__ = ["JobManifest", "check_paths"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobManifest:
    """A manifest as text, and what the command line changes in it.

    Args:
        name: The manifest's ``name``, or its file's without the ending.
        text: The YAML, as written.
        overrides: ``key=value`` settings, as ``noisemill run --set`` takes them.
    """

    name: str
    text: str
    overrides: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> JobManifest:
        """Read a manifest; its values are checked where it runs.

        Args:
            path: A YAML file, or the name of a bundled manifest.
            overrides: ``key=value`` settings.

        Raises:
            ManifestError: If there is no such manifest, or it is no text.
            ValueError: If it is no YAML mapping, or an override has no ``=``.
        """
        for override in overrides:
            if "=" not in override:
                raise ValueError(f"--set takes key=value; got {override!r}.")
        source = read_manifest_text(str(path))
        name = _mapping(source.text, source.name).get("name")
        return cls(
            name=str(name or Path(source.name).stem), text=source.text, overrides=tuple(overrides)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the text and the overrides, hexadecimal."""
        return hashlib.sha256("\0".join([self.text, *self.overrides]).encode()).hexdigest()

    @property
    def slug(self) -> str:
        """The name in lower-case letters, digits and single hyphens; fit for a DNS label."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "manifest"

    def command(self, path: str) -> str:
        """Return the shell command that runs this manifest, stored at ``path``, on a cluster.

        Example:
            >>> JobManifest(name="a", text="", overrides=("seed=7",)).command("/etc/a.yaml")
            'python -m pipeline.cli run /etc/a.yaml --address auto --set seed=7'
        """
        words = ["python", "-m", "pipeline.cli", "run", path, "--address", "auto"]
        for override in self.overrides:
            words += ["--set", override]
        return shlex.join(words)

    def paths(self) -> dict[str, str]:
        """Return every path the manifest names, by its dotted key, overrides applied."""
        found = dict(_walk_paths(_mapping(self.text, self.name)))
        for override in self.overrides:
            key, _, value = override.partition("=")
            if key in found:
                found[key] = value
        return found


def check_paths(manifest: JobManifest, travels: Callable[[str, str], bool], *, advice: str) -> None:
    """Refuse a manifest whose paths would mean nothing where it is going.

    Args:
        manifest: What is about to be sent.
        travels: Tells from a path's dotted key and its text whether it is good over there. Never
            asked about URLs, or about paths with ``${...}``, which are expanded over there.
        advice: What to do about a path that does not travel; a sentence.

    Raises:
        ValueError: Naming every such path.
    """
    lost = [
        f"{key}: {path}"
        for key, path in manifest.paths().items()
        if "://" not in path and "${" not in path and not travels(key, path)
    ]
    if lost:
        listed = "\n".join(f"  {line}" for line in lost)
        raise ValueError(
            f"manifest {manifest.name!r} names paths that mean nothing where the job runs:\n"
            f"{listed}\n{advice}"
        )


def _mapping(text: str, where: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: this is no YAML. {error}") from None
    if not isinstance(document, dict):
        raise ValueError(
            f"{where}: a manifest is a YAML mapping with a `kind`; got {type(document).__name__}."
        )
    return document


def _walk_paths(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, path) of each `path`, and of `weights` that name a file."""
    pairs: Iterator[tuple[str, Any]]
    if isinstance(node, dict):
        pairs = iter(node.items())
    elif isinstance(node, list):
        pairs = ((str(index), value) for index, value in enumerate(node))
    else:
        return
    for name, value in pairs:
        dotted = f"{key}.{name}" if key else str(name)
        is_file = name == "path" or (name == "weights" and str(value).endswith(".safetensors"))
        if is_file and isinstance(value, str):
            yield dotted, value
        else:
            yield from _walk_paths(value, dotted)
