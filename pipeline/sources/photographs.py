"""The photographs in scikit-image's wheel: real, free, and there without a network."""

from __future__ import annotations

from pipeline.manifest.models import PhotographsSource, Splits
from pipeline.sources.base import Candidate, Scan, examine, label_of

__all__ = ["licenses_of", "scan_photographs"]

_LICENSES = {
    "astronaut": "public domain (NASA)",
    "chelsea": "CC0-1.0",
    "coffee": "CC0-1.0",
    "rocket": "public domain (SpaceX)",
}


def scan_photographs(source: PhotographsSource, splits: Splits) -> Scan:
    """Return the named photographs; each is its own scene, all are in ``source.split``."""
    candidates = [
        Candidate(
            clean=f"skimage:{name}",
            scene=name,
            split=source.split,
            license=licenses_of(source)[name],
        )
        for name in source.names
    ]
    return examine(candidates, [source.split] * len(candidates), label_of(source))


def licenses_of(source: PhotographsSource) -> dict[str, str]:
    """Return the licence of each photograph of the source, by name."""
    return {name: source.license or _LICENSES[name] for name in source.names}
