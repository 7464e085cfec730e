"""A folder of clean photographs, chosen by glob."""

from __future__ import annotations

import re

from pipeline.images import display
from pipeline.manifest.models import ImagesSource, Splits
from pipeline.records import Reject
from pipeline.sources.base import UNSPECIFIED, Candidate, Scan, examine, label_of
from pipeline.sources.listing import SUFFIXES, Found, glob_regex, list_images
from pipeline.sources.splits import assign

__all__ = ["scan_images"]


def scan_images(source: ImagesSource, splits: Splits) -> Scan:
    """Return the images of a folder, sorted by name.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds no image that fits the pattern, or the scene's expression is wrong.
    """
    everything = list_images(source.path)
    wanted = glob_regex(source.pattern)
    files = [file for file in everything if wanted.fullmatch(file.name)]
    if not files:
        raise ValueError(
            f"no image in folder {display(source.path)} fits pattern {source.pattern!r}: expected "
            f"{', '.join(sorted(SUFFIXES))} files, found {len(everything)} of them in all. "
            "Correct `path` or `pattern`."
        )
    candidates, rejects = [], []
    scene_of = _scene_regex(source.scene)
    for file in files:
        scene = _scene(file, scene_of)
        if scene is None:
            detail = f"the scene's expression {source.scene!r} does not match the file name."
            rejects.append(Reject(uri=display(file.uri), reason="no-scene", detail=detail))
            continue
        candidates.append(
            Candidate(
                clean=file.uri,
                scene=scene,
                split=source.split,
                camera=source.camera,
                iso=source.iso,
                license=source.license or UNSPECIFIED,
            )
        )
    scan = examine(candidates, assign(candidates, splits), label_of(source))
    return Scan(scan.records, rejects + scan.rejects)


def _scene_regex(expression: str | None) -> re.Pattern[str] | None:
    if expression is None:
        return None
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise ValueError(
            f"scene {expression!r} is no regular expression: {error}. Example: '^(\\d+)_'."
        ) from None
    if compiled.groups != 1:
        raise ValueError(
            f"scene {expression!r} has {compiled.groups} groups; expected one that takes "
            "the scene, as in '^(\\d+)_'."
        )
    return compiled


def _scene(file: Found, expression: re.Pattern[str] | None) -> str | None:
    """Return the scene of a file; None if the expression does not find it.

    An expression with ``/`` sees the path below the folder, another one the file's name only.
    """
    if expression is None:
        return file.text
    text = file.text if "/" in expression.pattern else file.text.rsplit("/", 1)[-1]
    match = expression.search(text)
    return None if match is None else match[1]
