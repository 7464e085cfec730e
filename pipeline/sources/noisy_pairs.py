"""Noisy/noisy pairs by two globs: the same scene shot twice, with independent noise.

Whether two files really show one scene is looked at when their pixels are read
(:func:`pipeline.audit.check_same_scene`), before a training begins.
"""

from __future__ import annotations

from pipeline.manifest.models import NoisyPairsSource, Splits
from pipeline.sources.base import UNSPECIFIED, Candidate, Scan, examine, label_of
from pipeline.sources.listing import list_images
from pipeline.sources.pairs import match_globs
from pipeline.sources.splits import assign

__all__ = ["scan_noisy_pairs"]


def scan_noisy_pairs(source: NoisyPairsSource, splits: Splits) -> Scan:
    """Return the noisy pairs of a folder, sorted by the text they share.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If no pair is found.
    """
    matched = match_globs(
        source.path,
        list_images(source.path),
        clean=("first", source.first),
        noisy=("second", source.second),
    )
    candidates = [
        Candidate(
            clean=first.uri,
            second=second.uri,
            role="noisy",
            scene=scene,
            split=source.split,
            camera=source.camera,
            iso=source.iso,
            license=source.license or UNSPECIFIED,
        )
        for scene, first, second in matched.pairs
    ]
    scan = examine(candidates, assign(candidates, splits), label_of(source))
    return Scan(scan.records, matched.rejects + scan.rejects)
