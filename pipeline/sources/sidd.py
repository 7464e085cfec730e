"""SIDD, the smartphone image denoising data set, in the layouts in which it is published.

    small, medium   Data/INSTANCE/NNNN_{NOISY,GT}_{SRGB,RAW}_{010,011}.{PNG,MAT}
                    (the small set has one frame, and may lack the number in front)
    full            INSTANCE/NNNN_{NOISY,GT}_{SRGB,RAW}/NNNN_{NOISY,GT}_..._{001..150}.{PNG,MAT}
    validation      Validation{Noisy,Gt}Blocks{Srgb,Raw}.mat, 40 instances of 32 blocks
    benchmark       BenchmarkNoisyBlocks{Srgb,Raw}.mat, the same without clean images

Folders may lie anywhere below the source's path. The frames of an instance are a burst: the same
scene with independent noise, so frames k and k + 1 are a noisy/noisy pair, in ``medium`` as well as
in ``full``.

Raw is brought to packed RGGB by the phone's colour filter array (:mod:`pipeline.images.mosaic`).
Version 7.3 ``.MAT`` files are transposed back into MATLAB's orientation, in which the colour filter
array is known. Differs from the published readers: they leave the picture transposed, and take the
four pixels of a cell as they come, so that their first channel is red on one phone and blue on
another.

Source: Abdelhamed et al. 2018, "A high-quality denoising dataset for smartphone cameras", CVPR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from pipeline.images import ImageError, display
from pipeline.images.mat import block_count, forget_blocks
from pipeline.images.mosaic import Part
from pipeline.manifest.models import SiddSource, Splits
from pipeline.records import Reject
from pipeline.sources.base import UNSPECIFIED, Candidate, Scan, examine, label_of
from pipeline.sources.listing import Found, list_images
from pipeline.sources.sidd_names import (
    HELD_OUT,
    PHONES,
    Instance,
    noise_flow_split,
    parse_instance,
)
from pipeline.sources.splits import assign

__all__ = ["scan_sidd"]

_FILE = re.compile(
    r"(?:\d{4}_)?(?P<kind>NOISY|GT)_(?P<color>SRGB|RAW)_(?P<frame>\d{3})\.(?:PNG|MAT)",
    re.IGNORECASE,
)
# The full set has a folder for each kind of file below the instance's.
_INNER = re.compile(r"(?:\d{4}_)?(?:NOISY|GT)_(?:SRGB|RAW)", re.IGNORECASE)
_FRAMES = {"small": 1, "medium": 2}


@dataclass(slots=True)
class _Burst:
    """The files of one instance by frame."""

    instance: Instance
    noisy: dict[int, Found] = field(default_factory=dict)
    clean: dict[int, Found] = field(default_factory=dict)


def scan_sidd(source: SiddSource, splits: Splits) -> Scan:
    """Return the records of a copy of SIDD, by instance and frame, or by block.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it does not have the layout, or nothing is left of it.
    """
    rejects: list[Reject] = []
    if source.layout in ("validation", "benchmark"):
        candidates = list(_blocks(source))
    else:
        bursts = _bursts(source, rejects)
        candidates = [one for burst in bursts for one in _frames(source, burst, rejects)]
    if not candidates:
        raise ValueError(
            f"nothing of {display(source.path)} is left: no instance fits `cameras`, `isos`, "
            f"`frames`, `offer` and `split`; {len(rejects)} files were refused"
            + "".join(f"; {r.uri}: {r.detail}" for r in rejects[:3])
        )
    chosen = assign(candidates, splits)
    wanted = [i for i, split in enumerate(chosen) if source.only is None or split in source.only]
    if not wanted:
        raise ValueError(
            f"no instance of {display(source.path)} is in splits {', '.join(source.only or ())}; "
            f"they are in {', '.join(sorted(set(chosen)))}."
        )
    scan = examine([candidates[i] for i in wanted], [chosen[i] for i in wanted], label_of(source))
    forget_blocks()  # the process that plans may not be the one that reads
    return Scan(scan.records, rejects + scan.rejects)


def _bursts(source: SiddSource, rejects: list[Reject]) -> list[_Burst]:
    """Sort the files of the small, medium or full set into bursts."""
    suffix = ".mat" if source.color == "raw" else ".png"
    files = list_images(source.path, frozenset({suffix}))
    bursts: dict[str, _Burst] = {}
    other_layout = 0
    for file in files:
        *folders, name = file.name.split("/")
        match = _FILE.fullmatch(name)
        if match is None or not folders or match["color"].lower() != source.color:
            continue
        inner = _INNER.fullmatch(folders[-1]) is not None
        if inner != (source.layout == "full"):
            other_layout += 1
            continue
        try:
            instance = parse_instance(folders[-2] if inner and len(folders) > 1 else folders[-1])
        except ValueError as error:
            rejects.append(Reject(uri=display(file.uri), reason="not-sidd", detail=str(error)))
            continue
        burst = bursts.setdefault(instance.name, _Burst(instance))
        kind = burst.noisy if match["kind"].upper() == "NOISY" else burst.clean
        kind[int(match["frame"])] = file
    if not bursts:
        below = f"NNNN_GT_{source.color.upper()}/" if source.layout == "full" else ""
        hint = ""
        if other_layout:
            likely = "medium or small" if source.layout == "full" else "full"
            hint = f" {other_layout} files lie as in layout {likely}."
        raise ValueError(
            f"folder {display(source.path)} is no SIDD {source.layout} in {source.color}: of "
            f"{len(files)} {suffix} files none is named INSTANCE/{below}"
            f"NNNN_GT_{source.color.upper()}_010{suffix.upper()}.{hint} Correct `path`, "
            "`layout` or `color`."
        )
    for burst in bursts.values():
        most = _FRAMES.get(source.layout, 0)
        if most and len(burst.noisy.keys() | burst.clean.keys()) > most:
            raise ValueError(
                f"instance {burst.instance.name} has {len(burst.noisy)} frames; layout "
                f"{source.layout} has {most} an instance. Correct `layout`."
            )
    return [bursts[name] for name in sorted(bursts)]


def _frames(source: SiddSource, burst: _Burst, rejects: list[Reject]) -> Iterator[Candidate]:
    """Yield the candidates of one burst."""
    if not _wanted(source, burst.instance):
        return
    frames = sorted(burst.noisy.keys() | burst.clean.keys())
    if source.frames is not None:
        frames = [frame for frame in frames if frame in source.frames]
    for frame in frames:
        noisy, clean, later = (
            burst.noisy.get(frame),
            burst.clean.get(frame),
            burst.noisy.get(frame + 1) if frame + 1 in frames else None,
        )
        if source.offering == "pairs":
            if noisy is None or clean is None:
                lonely = clean or noisy
                assert lonely is not None
                lacking = "noisy" if noisy is None else "clean (GT)"
                detail = f"frame {frame:03d} of {burst.instance.name} has no {lacking} image."
                reject = Reject(uri=display(lonely.uri), reason="missing-partner", detail=detail)
                rejects.append(reject)
                continue
            yield _candidate(source, burst.instance, clean.uri, noisy=noisy.uri)
        elif source.offering == "single-noisy" and noisy is not None:
            yield _candidate(source, burst.instance, noisy.uri)
        elif source.offering == "noisy-pairs" and noisy is not None and later is not None:
            yield _candidate(source, burst.instance, noisy.uri, second=later.uri)


def _blocks(source: SiddSource) -> Iterator[Candidate]:
    """Yield the blocks of the validation or benchmark file."""
    stem, color = source.layout.capitalize(), source.color.capitalize()
    files = {file.name.rsplit("/", 1)[-1]: file for file in list_images(source.path, {".mat"})}

    def find(kind: str) -> Found:
        name = f"{stem}{kind}Blocks{color}.mat"
        if name not in files:
            raise ValueError(
                f"folder {display(source.path)} holds no {name}; its .mat files are "
                f"{', '.join(sorted(files)) or 'none'}. Correct `path`, `layout` or `color`."
            )
        return files[name]

    noisy = find("Noisy")
    clean = find("Gt") if source.offering == "pairs" else None
    axes = _check_axes(source, [file for file in (clean, noisy) if file is not None])
    instances = [parse_instance(name) for name in HELD_OUT]
    for place, block in product(range(axes[0]), range(axes[1])):
        instance = instances[place]
        if not _wanted(source, instance):
            continue
        number = place * axes[1] + block
        if clean is None:
            yield _candidate(source, instance, noisy.uri, block=number)
        else:
            yield _candidate(source, instance, clean.uri, noisy=noisy.uri, block=number)


def _check_axes(source: SiddSource, files: Sequence[Found]) -> tuple[int, int]:
    """Return the numbers of instances and of blocks, the same in all files."""
    found = []
    for file in files:
        try:
            found.append(block_count(file.uri, source.color)[0])
        except ImageError as error:
            raise ValueError(f"{display(file.uri)}: {error.detail}") from error
    axes = found[0]
    if len(axes) != 2 or axes[0] > len(HELD_OUT) or any(other != axes for other in found):
        raise ValueError(
            f"{display(source.path)}: the blocks lie along axes "
            f"{' and '.join(map(str, found))}; expected (40, 32) in each file."
        )
    return axes[0], axes[1]


def _wanted(source: SiddSource, instance: Instance) -> bool:
    if source.split == "noise-flow" and noise_flow_split(instance) is None:
        return False
    fits_camera = source.cameras is None or instance.phone in source.cameras
    return fits_camera and (source.isos is None or instance.iso in source.isos)


def _candidate(
    source: SiddSource,
    instance: Instance,
    first: str,
    *,
    noisy: str | None = None,
    second: str | None = None,
    block: int | None = None,
) -> Candidate:
    def uri(path: str) -> str:
        if source.color == "raw":
            cfa = PHONES[instance.phone]
            return Part(path=path, block=block, cfa=cfa, align=source.align).uri
        return path if block is None else Part(path=path, block=block).uri

    split = noise_flow_split(instance) if source.split == "noise-flow" else source.split
    return Candidate(
        clean=uri(first),
        noisy=None if noisy is None else uri(noisy),
        second=None if second is None else uri(second),
        role="clean" if source.offering == "pairs" else "noisy",
        scene=f"sidd-{instance.scene}",
        split=split,
        camera=instance.phone,
        iso=instance.iso,
        license=source.license or UNSPECIFIED,
        details=instance.details,
    )
