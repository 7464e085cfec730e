"""One scene of a training: its images, all of one shape and type, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.pixels import Pixels

__all__ = ["TrainingImage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingImage:
    """What a training knows of one scene; at least one image, all of one shape and type.

    Args:
        clean: ``(H, W, C)`` uint8, uint16 (white at the type's largest value) or float32 (white at
            1); ``None`` where there is none.
        noisy: Likewise.
        second: The same scene with independent noise.
        camera: Camera name; empty where unknown.
        iso: ISO speed; 0 where unknown.
        scene: Scene name.
        license: Licence of the images; empty where unknown.

    Raises:
        ValueError: If there is no image, or shapes or types differ.
    """

    clean: Pixels | None = None
    noisy: Pixels | None = None
    second: Pixels | None = None
    camera: str
    iso: int
    scene: str
    license: str = ""

    def __post_init__(self) -> None:
        kinds = {(pixels.shape, pixels.dtype.name) for pixels in self.images().values()}
        if len(kinds) != 1:
            found = ", ".join(f"{shape} {dtype}" for shape, dtype in sorted(kinds)) or "none"
            raise ValueError(
                f"{self.scene}: the images of a scene must have one shape and type; found {found}."
            )

    def images(self) -> dict[str, Pixels]:
        """Return the images there are, by name."""
        named = {"clean": self.clean, "noisy": self.noisy, "second": self.second}
        return {name: pixels for name, pixels in named.items() if pixels is not None}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = next(iter(self.images().values())).shape
        return height, width, channels
