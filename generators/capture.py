"""What the camera was told: the camera's name and the ISO speed of each row of a batch.

A *shot* is the part of a photograph's metadata that noise models are conditioned on. It is kept in
the field's own words (names and ISO numbers); each model maps them to its own vocabulary, so no
index ever travels between two models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["ShotBatch", "configuration_name", "configurations_in_words"]


def configuration_name(camera: str, iso: int) -> str:
    """Return the name of a configuration in weights and on cards, e.g. ``"S6_00800"``."""
    return f"{camera}_{iso:05d}"


def configurations_in_words(names: Iterable[str]) -> str:
    """Return configurations by camera, ``"G4 ISO 100; S6 ISO 100, 800"``; ``"none"`` of none."""
    speeds: dict[str, list[str]] = {}
    for name in names:
        camera, _, iso = name.rpartition("_")
        speeds.setdefault(camera, []).append(str(int(iso)))
    return "; ".join(f"{camera} ISO {', '.join(isos)}" for camera, isos in speeds.items()) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotBatch:
    """Camera and ISO of every row of a batch.

    Args:
        camera: One name a row, e.g. ``"Nikon D800"``; ``None`` where unknown.
        iso: One ISO speed a row, e.g. ``3200``; ``None`` where unknown.

    Raises:
        ValueError: If the two have different lengths.
    """

    camera: tuple[str | None, ...]
    iso: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if len(self.camera) != len(self.iso):
            raise ValueError(
                f"a shot batch needs one camera and one ISO a row; "
                f"got {len(self.camera)} cameras and {len(self.iso)} ISO values."
            )

    def __len__(self) -> int:
        return len(self.camera)

    @classmethod
    def unknown(cls, rows: int) -> ShotBatch:
        """Return ``rows`` shots of which nothing is known."""
        return cls(camera=(None,) * rows, iso=(None,) * rows)

    @classmethod
    def same(cls, rows: int, *, camera: str | None, iso: int | None) -> ShotBatch:
        """Return ``rows`` shots of one camera at one ISO."""
        return cls(camera=(camera,) * rows, iso=(iso,) * rows)

    def select(self, rows: Sequence[int]) -> ShotBatch:
        """Return the given rows, in the given order."""
        return ShotBatch(
            camera=tuple(self.camera[i] for i in rows), iso=tuple(self.iso[i] for i in rows)
        )

    def given(self, *, camera: str | None, iso: int | None) -> ShotBatch:
        """Return the shots with a camera and an ISO in place of the rows' own, where given."""
        return ShotBatch(
            camera=self.camera if camera is None else (camera,) * len(self),
            iso=self.iso if iso is None else (iso,) * len(self),
        )
