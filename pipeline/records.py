"""The values that travel through the pipeline: image records, rejects and the columns of a patch.

An *image record* names one photograph (or one clean/noisy pair) and everything known of it before
its pixels are read. A *reject* names an input that was refused, and why. Both are small, picklable
and JSON-friendly; pixels are never part of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from generators.capture import CaptureValue
from pipeline.pixels import SampleType

__all__ = ["ImageRecord", "Reject", "Role", "View", "merged"]

Role = Literal["clean", "noisy"]
View = Literal["clean", "noisy", "second"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One clean photograph, one clean/noisy pair, or noisy images without a clean one.

    Args:
        image_id: First 32 hexadecimal digits of ``sha256``: stable, from the file's content.
        uri: Where the clean image is: a path, an fsspec URL, ``skimage:astronaut``, a row of a
            corpus (``path/to/train-00000-of-00002.h5#17``), or a raw image or block
            (:mod:`pipeline.images.mosaic`). With the role ``noisy`` it is the first noisy image.
        sha256: SHA-256 of that file's bytes (of the row's or block's pixels; for a raw file of its
            bytes and of how it is read).
        height: Pixels, after the EXIF orientation is applied.
        width: Pixels, after the EXIF orientation is applied.
        channels: 1 (grey) or 3 (colour) for sRGB; 4 for packed raw.
        depth: Type of the stored samples.
        domain: ``srgb`` or ``raw`` (packed).
        scene: Photographs of one scene share it; splits never divide a scene.
        split: ``train``, ``val`` or ``test``.
        source: Label of the source in the manifest.
        license: Licence of the photograph, as given by the source.
        camera: Camera name, if known.
        iso: ISO speed, if known.
        noisy_uri: Where the noisy partner is, if there is one.
        noisy_sha256: SHA-256 of the noisy file's bytes.
        second_uri: Where a second noisy image of the same scene is, with independent noise.
        second_sha256: SHA-256 of its bytes.
        role: ``clean``, or ``noisy`` for noisy images without a clean one: those can train what
            needs no clean image, and nothing can be cut from them.
        further: Further capture metadata, by column: ``(("exposure", 0.02),)``.
        details: What else the source knows of it, e.g. ``(("shutter", 60),)``.
    """

    image_id: str
    uri: str
    sha256: str
    height: int
    width: int
    channels: int
    depth: SampleType
    scene: str
    split: str
    source: str
    license: str
    domain: str = "srgb"
    camera: str | None = None
    iso: int | None = None
    noisy_uri: str | None = None
    noisy_sha256: str | None = None
    second_uri: str | None = None
    second_sha256: str | None = None
    role: Role = "clean"
    further: tuple[tuple[str, CaptureValue], ...] = ()
    details: tuple[tuple[str, str | int], ...] = ()

    @property
    def capture(self) -> dict[str, CaptureValue | None]:
        """All that is known of how it was taken, by column; camera and ISO always."""
        return {"camera": self.camera, "iso": self.iso, **dict(self.further)}

    def views(self) -> dict[View, tuple[str, str]]:
        """Return URI and SHA-256 of the images there are, by what they show."""
        named: dict[View, tuple[str | None, str | None]] = {
            "clean": (self.uri, self.sha256),
            "noisy": (self.noisy_uri, self.noisy_sha256),
            "second": (self.second_uri, self.second_sha256),
        }
        if self.role == "noisy":
            named = {"noisy": named["clean"], "second": named["second"]}
        return {view: (uri, sha or "") for view, (uri, sha) in named.items() if uri is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {**asdict(self), "further": dict(self.further), "details": dict(self.details)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One refused input.

    Args:
        uri: What was refused: a file, or a file and a patch (``photo.png[y=64,x=0]``).
        reason: A short stable word for counting: ``unreadable``, ``too-small``, ``cmyk`` ...
        detail: One line for a person: what was found, what was expected, what to do.
        stage: ``plan``, ``audit``, ``cut`` or ``generate``.
        patches: How many planned patches were lost with it (0 where none were planned yet).
    """

    uri: str
    reason: str
    detail: str
    stage: str = "plan"
    patches: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the reject as JSON scalars."""
        return asdict(self)


def merged(rejects: Iterable[Reject]) -> list[Reject]:
    """Return each refused thing once, its lost patches added up.

    A photograph that lies in several shards, or a patch planned for several generators, is refused
    by each of them.
    """
    once: dict[tuple[str, str], Reject] = {}
    for reject in rejects:
        key = (reject.uri, reject.reason)
        before = once.get(key)
        once[key] = (
            reject if before is None else replace(before, patches=before.patches + reject.patches)
        )
    return list(once.values())
