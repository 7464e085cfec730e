"""Finding a manifest: a bundled one by its name, or a file by its path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pipeline.manifest.mistakes import ManifestError, Mistake, closest

__all__ = ["ManifestText", "bundled_names", "read_manifest_text"]

_LARGEST_FILE = 4_000_000


@dataclass(frozen=True, slots=True)
class ManifestText:
    """The text of a manifest.

    Args:
        name: The file in messages: as the user gave it; ``quickstart.yaml`` for a bundled one.
        path: Where the file is.
        text: Its content.
    """

    name: str
    path: str
    text: str


def bundled_names() -> list[str]:
    """Return the names of the manifests that come with noisemill, sorted."""
    files = resources.files("manifests").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def read_manifest_text(name_or_path: str) -> ManifestText:
    """Read a manifest's text.

    Args:
        name_or_path: A bundled manifest's name (``quickstart``), or a path: anything with a ``/``
            or with the ending ``.yaml`` or ``.yml``.

    Returns:
        The text with its name and path.

    Raises:
        ManifestError: If there is no such manifest, or it cannot be read as UTF-8 text.
    """
    is_path = os.sep in name_or_path or name_or_path.endswith((".yaml", ".yml"))
    if is_path:
        path = os.path.expanduser(name_or_path)
        return ManifestText(name_or_path, path, _read_file(name_or_path, Path(path)))
    if name_or_path not in bundled_names():
        raise ManifestError([_missing(name_or_path)])
    entry = resources.files("manifests").joinpath(f"{name_or_path}.yaml")
    return ManifestText(entry.name, str(entry), entry.read_text(encoding="utf-8"))


def _read_file(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise ManifestError([_missing(name)]) from None
    except IsADirectoryError:
        raise ManifestError([_whole(name, "a folder", "expected a YAML file")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError([_whole(name, f"cannot be read: {reason}")]) from None
    if len(content) > _LARGEST_FILE:
        raise ManifestError(
            [_whole(name, "more than 4 MB", "expected a manifest, a small YAML file")]
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = f"byte 0x{content[error.start]:02x} is not UTF-8"
        raise ManifestError([_whole(name, found, "expected UTF-8 text", line=line)]) from None


def _missing(name: str) -> Mistake:
    names = bundled_names()
    guess = closest(Path(name).stem, names)
    hint = f"did you mean '{guess}'?" if guess else ""
    if os.sep not in name and Path(name).is_file():
        hint = f"did you mean the file './{name}'?"
    return Mistake(
        file=name,
        line=None,
        column=None,
        key_path="",
        found="no such manifest",
        expected=f"bundled manifests: {', '.join(names)}; a file is given by its path",
        hint=hint,
    )


def _whole(name: str, found: str, expected: str = "", *, line: int | None = None) -> Mistake:
    return Mistake(file=name, line=line, column=None, key_path="", found=found, expected=expected)
