"""Folders: which image files lie below one, here or behind a URL, by glob.

Links to folders are not followed, so a loop of links ends at its first link; links to files are.
Hidden files are left out (``._photo.jpg`` of macOS is no photograph).
"""

from __future__ import annotations

import os
import re
from collections.abc import Set
from dataclasses import dataclass

import fsspec

from pipeline.images import display
from pipeline.images.files import local_path, path_uri

__all__ = ["SUFFIXES", "Found", "glob_regex", "list_images", "locate"]

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Found:
    """An image file: its path below the folder, with ``/``, and its URI."""

    name: str
    uri: str

    @property
    def text(self) -> str:
        """The name as valid Unicode."""
        return display(self.name)


def list_images(folder: str, suffixes: Set[str] = SUFFIXES) -> list[Found]:
    """List the image files below a folder, sorted by name.

    Args:
        folder: A path or an fsspec URL.
        suffixes: Those that are wanted, in lower case.

    Returns:
        Files with one of the suffixes, PNG, JPEG or TIFF by default. They are not opened.

    Raises:
        FileNotFoundError: If there is no such folder.
        NotADirectoryError: If it is a file.
        ValueError: If the URL cannot be listed.
    """
    root = local_path(folder)
    names = _list_url(folder) if root is None else _list_path(root, folder)
    images = sorted(name for name in names if _has_suffix(name, suffixes))
    return [Found(name, locate(folder, name)) for name in images]


def locate(folder: str, name: str) -> str:
    """Return the URI of a file below a folder; an absolute ``name`` stands for itself.

    Local paths become absolute, because a worker's working directory may be another one.
    """
    if "://" in name:
        return name
    root = local_path(folder)
    if root is None:
        return f"{folder.rstrip('/')}/{name}"
    return path_uri(os.path.join(os.path.abspath(root), name))


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Translate a glob to a regular expression with one group for each wildcard.

    ``*`` and ``?`` stop at ``/``; ``**/`` stands for any folders, none included; ``[ab]`` is a set.

    Example:
        >>> glob_regex("**/*_mean.JPG").fullmatch("a/b/desk_mean.JPG").groups()
        ('a/b/', 'desk')
    """
    parts: list[str] = []
    for token in re.findall(r"\*\*/|\*+|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL):
        if token == "**/":
            parts.append("((?:[^/]+/)*)")
        elif token == "**":
            parts.append("(.*)")
        elif token.startswith("*"):
            parts.append("([^/]*)")
        elif token == "?":
            parts.append("([^/])")
        elif len(token) > 1:
            body = token[1:-1].replace("\\", "\\\\")
            parts.append(f"([{'^' + body[1:] if body.startswith('!') else body}])")
        else:
            parts.append(re.escape(token))
    return re.compile("".join(parts), re.DOTALL)


def _has_suffix(name: str, suffixes: Set[str]) -> bool:
    base = name.rsplit("/", 1)[-1]
    return not base.startswith(".") and os.path.splitext(base)[1].lower() in suffixes


def _list_path(root: str, folder: str) -> list[str]:
    if not os.path.exists(root):
        raise FileNotFoundError(
            f"folder {display(folder)} does not exist (working directory {os.getcwd()})."
        )
    if not os.path.isdir(root):
        raise NotADirectoryError(f"{display(folder)} is a file; expected a folder of images.")
    names: list[str] = []

    def refuse(error: OSError) -> None:
        raise ValueError(f"folder {display(str(error.filename))} cannot be read: {error.strerror}.")

    for parent, folders, files in os.walk(root, followlinks=False, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(parent, root)
        names.extend(name if below == "." else f"{below}/{name}" for name in files)
    return [name.replace(os.sep, "/") for name in names]


def _list_url(folder: str) -> list[str]:
    try:
        filesystem, root = fsspec.core.url_to_fs(folder)
        paths = filesystem.find(root)
    # Every store has its own exceptions, and a missing extra raises ImportError.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"folder {folder} cannot be listed: {text}.") from error
    if not paths:
        raise FileNotFoundError(f"folder {folder} does not exist or is empty.")
    prefix = root.rstrip("/") + "/"
    return [path[len(prefix) :] for path in paths if path.startswith(prefix)]
