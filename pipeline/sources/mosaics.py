"""Raw files: DNG, which say themselves how they are read, and PNG or TIFF mosaics with a sidecar.

A sidecar is YAML or JSON, beside its file under the same name (``shot.png`` and ``shot.yaml``), or
one for a folder and all below it (``mosaics.yaml``); the nearest that has a key decides:

    cfa: GRBG                     colours of the first 2x2 cell, row by row
    black_level: 64               or four levels, in the order of the cell; 0 if absent
    white_level: 1023
    camera: Test camera           optional
    iso: 800                      optional
    scene: desk                   optional

Clean mosaics are limited to [0, 1], since light cannot be negative; noisy partners keep their
values below black.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from pipeline.images import ImageError, display
from pipeline.images.dng import RAWPY_MISSING, has_rawpy, read_capture
from pipeline.images.files import read_file
from pipeline.images.mosaic import AUTO, Cfa, Part
from pipeline.manifest.base import Filled, Model, Positive
from pipeline.manifest.models import MosaicsSource, Splits
from pipeline.records import Reject
from pipeline.sources.base import UNSPECIFIED, Candidate, Scan, examine, label_of
from pipeline.sources.listing import Found, glob_regex, list_images
from pipeline.sources.pairs import match_globs
from pipeline.sources.splits import assign

__all__ = ["Sidecar", "scan_mosaics"]

_DNG = ".dng"
_MOSAICS = frozenset({_DNG, ".png", ".tif", ".tiff"})
_SIDECARS = frozenset({".json", ".yaml", ".yml"})
_FOLDER = "mosaics"
_Level = Annotated[float, Field(ge=0)]


class Sidecar(Model):
    """How a mosaic is read, and what is known of how it was taken."""

    cfa: Cfa | None = None
    black_level: _Level | Annotated[list[_Level], Field(min_length=4, max_length=4)] = 0.0
    white_level: Annotated[float, Field(gt=0)] | None = None
    camera: Filled | None = None
    iso: Positive | None = None
    scene: Filled | None = None


def scan_mosaics(source: MosaicsSource, splits: Splits) -> Scan:
    """Return the raw files of a folder, sorted by name.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it holds none, a sidecar is wrong, or DNG files cannot be read here.
    """
    everything = list_images(source.path, _MOSAICS | _SIDECARS)
    files = [file for file in everything if _suffix(file) not in _SIDECARS]
    pairs, rejects = _choose(source, files)
    chosen = [file for pair in pairs for file in pair if file is not None]
    if any(_suffix(file) == _DNG for file in chosen) and not has_rawpy():
        raise ValueError(f"{display(source.path)}: {RAWPY_MISSING}")
    sidecars = _Sidecars([file for file in everything if _suffix(file) in _SIDECARS])
    with ThreadPoolExecutor(max_workers=4) as pool:
        # A pair is about the noisy photograph: the clean one is often taken at the lowest speed.
        capture = list(pool.map(_shot_of, [noisy or clean for clean, noisy in pairs]))
    candidates = []
    for (clean, noisy), (camera, iso) in zip(pairs, capture, strict=True):
        sidecar = sidecars.of(clean)
        said = sidecar if noisy is None else sidecars.of(noisy)
        try:
            candidates.append(
                Candidate(
                    clean=_uri(clean, sidecar, source, clip=True),
                    noisy=None if noisy is None else _uri(noisy, said, source, clip=False),
                    scene=sidecar.scene or clean.text,
                    split=source.split,
                    camera=said.camera or camera or source.camera,
                    iso=said.iso or iso or source.iso,
                    license=source.license or UNSPECIFIED,
                )
            )
        except _NoSidecarError as error:
            rejects.append(Reject(uri=display(clean.uri), reason="no-sidecar", detail=str(error)))
    scan = examine(candidates, assign(candidates, splits), label_of(source))
    return Scan(scan.records, rejects + scan.rejects)


class _NoSidecarError(Exception):
    """A mosaic of which it is not known how to read it."""


def _choose(
    source: MosaicsSource, files: Sequence[Found]
) -> tuple[list[tuple[Found, Found | None]], list[Reject]]:
    """Return the clean files with their noisy partners."""
    if source.clean is not None and source.noisy is not None:
        matched = match_globs(
            source.path, files, clean=("clean", source.clean), noisy=("noisy", source.noisy)
        )
        return [(clean, noisy) for _, clean, noisy in matched.pairs], matched.rejects
    wanted = glob_regex(source.pattern or "**/*")
    fitting = [file for file in files if wanted.fullmatch(file.name)]
    if not fitting:
        raise ValueError(
            f"no raw file in folder {display(source.path)} fits pattern "
            f"{source.pattern or '**/*'!r}: expected {', '.join(sorted(_MOSAICS))} files, found "
            f"{len(files)} of them in all. Correct `path` or `pattern`."
        )
    return [(file, None) for file in fitting], []


class _Sidecars:
    """The sidecars of a folder, each read once."""

    def __init__(self, files: Sequence[Found]) -> None:
        self._files = {posixpath.splitext(file.name)[0]: file for file in files}
        self._read: dict[str, dict[str, Any]] = {}

    def of(self, file: Found) -> Sidecar:
        """Return what is said of a file: by its own sidecar, else by those of its folders.

        Raises:
            ValueError: If a sidecar is wrong.
        """
        merged: dict[str, Any] = {}
        folder = posixpath.dirname(file.name)
        stems = [posixpath.splitext(file.name)[0], posixpath.join(folder, _FOLDER)]
        while folder:
            folder = posixpath.dirname(folder)
            stems.append(posixpath.join(folder, _FOLDER))
        for stem in stems:
            merged = {**self._values(stem), **merged}
        return Sidecar.model_validate(merged)

    def _values(self, stem: str) -> dict[str, Any]:
        if stem not in self._read:
            file = self._files.get(stem)
            self._read[stem] = {} if file is None else _read_sidecar(file)
        return self._read[stem]


def _read_sidecar(file: Found) -> dict[str, Any]:
    where = display(file.uri)
    try:
        values = yaml.safe_load(read_file(file.uri).decode("utf-8-sig"))  # JSON is YAML too
        if not isinstance(values, dict):
            raise ValueError("expected keys and values")
        return Sidecar.model_validate(values).model_dump(exclude_unset=True)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'][:1]))}: {one['msg']}" for one in error.errors()
        )
        known = ", ".join(Sidecar.model_fields)
        raise ValueError(f"sidecar {where}: {wrong}. Its keys are {known}.") from None
    except ImageError as error:
        raise ValueError(f"sidecar {where}: {error.detail}") from error
    except (UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"sidecar {where} is no YAML or JSON mapping: {text}.") from None


def _uri(file: Found, sidecar: Sidecar, source: MosaicsSource, *, clip: bool) -> str:
    if _suffix(file) == _DNG:
        return Part(path=file.uri, cfa=AUTO, align=source.align, clip=clip).uri
    if sidecar.cfa is None or sidecar.white_level is None:
        lacking = [k for k in ("cfa", "white_level") if getattr(sidecar, k) is None]
        stem = posixpath.splitext(posixpath.basename(file.name))[0]
        raise _NoSidecarError(
            f"a mosaic needs {' and '.join(lacking)}; write them into {stem}.yaml beside it, or "
            f"into {_FOLDER}.yaml for the whole folder."
        )
    levels = sidecar.black_level
    black = tuple(levels) if isinstance(levels, list) else (levels,)
    part = Part(
        path=file.uri,
        cfa=sidecar.cfa,
        black=black,
        white=sidecar.white_level,
        align=source.align,
        clip=clip,
    )
    return part.uri


def _shot_of(file: Found) -> tuple[str | None, int | None]:
    """Return camera and ISO as a DNG file has them."""
    if _suffix(file) != _DNG:
        return None, None
    try:
        return read_capture(read_file(file.uri))
    except ImageError:  # told when the header is read
        return None, None


def _suffix(file: Found) -> str:
    return posixpath.splitext(file.name)[1].lower()
