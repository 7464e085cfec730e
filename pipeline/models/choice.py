"""Which bundled weights a generator takes where nobody names any.

Where several fit, those that know the camera and the ISO speed asked for are taken. Of several that
do, and where neither is given, the one that knows most cameras and speeds; of equals, the first by
name. What was taken is told with its licence, for weights of one generator differ in it.

A manifest names its weights: a corpus must not change because another file is bundled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import generators
from generators.weights_file import bundled, find, load_header
from pipeline.models.catalogue import shots_of

__all__ = ["ChosenWeights", "choose_weights", "named_weights"]

_MOST_CAMERAS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenWeights:
    """The weights that a generator is made of.

    Args:
        name: Bundled name, or path of a file.
        license: Of the weights; empty if it is not known.
        others: Bundled weights that could have been taken in their place.
    """

    name: str
    license: str
    others: Sequence[str] = ()

    def describe(self) -> str:
        """Return one line: name, licence, and what else there is."""
        others = f"; there are also {', '.join(self.others)}" if self.others else ""
        return f"weights {self.name} ({self.license or 'licence unknown'}){others}"


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    license: str
    knows: Sequence[tuple[str, int | None]]

    def fits(self, camera: str | None, iso: int | None) -> bool:
        return any(
            camera in (None, known) and (None in (iso, speed) or iso == speed)
            for known, speed in self.knows
        )

    def describe(self) -> str:
        cameras = list(dict.fromkeys(camera for camera, _ in self.knows))
        more = f" and {len(cameras) - _MOST_CAMERAS} more" if len(cameras) > _MOST_CAMERAS else ""
        known = ", ".join(cameras[:_MOST_CAMERAS]) + more or "no camera"
        return f"{self.name} knows {known} ({self.license})"


def named_weights(name: str) -> ChosenWeights:
    """Return weights that somebody named, with their licence.

    Raises:
        FileNotFoundError: If there are no such weights.
    """
    return ChosenWeights(name=name, license=load_header(find(name)).license)


def choose_weights(
    generator: str, *, camera: str | None = None, iso: int | None = None
) -> ChosenWeights | None:
    """Return the bundled weights for a generator, a camera and an ISO speed.

    Args:
        generator: Registry name.
        camera: Camera of the noise that is wanted, if any.
        iso: Its ISO speed, if any.

    Returns:
        ``None`` for a generator without trained weights.

    Raises:
        ValueError: If there is no such generator, no weights of it are bundled, or none of several
            knows the camera and speed.
    """
    if not generators.is_trained(generator):
        return None
    candidates = _candidates(generator)
    if not candidates:
        raise ValueError(
            f"generator '{generator}' needs trained weights, and none are bundled; give a "
            ".safetensors file."
        )
    asked = camera is not None or iso is not None
    knowing = [c for c in candidates if not asked or c.fits(camera, iso)]
    if not knowing:
        if len(candidates) > 1:
            listed = "\n  ".join(candidate.describe() for candidate in candidates)
            raise ValueError(
                f"no bundled weights of generator '{generator}' know {_words(camera, iso)}:\n"
                f"  {listed}\n"
                "Give a camera and ISO that one of them knows (`noisemill models NAME` lists "
                "them), or name the weights."
            )
        knowing = candidates  # the generator itself says what it makes of the camera
    best = min(knowing, key=lambda c: (-len(c.knows), c.name))
    others = [candidate.name for candidate in candidates if candidate is not best]
    return ChosenWeights(name=best.name, license=best.license, others=others)


def _candidates(generator: str) -> list[_Candidate]:
    headers = {name: load_header(path) for name, path in bundled().items()}
    return [
        _Candidate(name, header.license, shots_of(header.config))
        for name, header in headers.items()
        if header.family == generator
    ]


def _words(camera: str | None, iso: int | None) -> str:
    words = [f"camera '{camera}'"] if camera is not None else []
    return " at ".join([*words, *([f"ISO {iso}"] if iso is not None else [])])
