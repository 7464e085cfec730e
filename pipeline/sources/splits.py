"""Splits go by scene, never by patch: two photographs of one scene never part.

A scene without a split of its own gets one by a hash of its name, so the answer depends on nothing
but the name: adding a photograph moves no other one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipeline.manifest.models import Split, Splits
from pipeline.sources.base import Candidate

__all__ = ["assign", "split_of"]


def split_of(scene: str, splits: Splits) -> Split:
    """Return the split of a scene by its hash.

    Example:
        >>> split_of("astronaut", Splits(train=0.5, val=0.25, test=0.25))
        'train'
    """
    digest = hashlib.blake2b(scene.encode("utf-8", "backslashreplace"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    shares: list[tuple[Split, float]] = [
        ("train", splits.train),
        ("val", splits.val),
        ("test", splits.test),
    ]
    # The last split with a share takes the rest: a sum of 0.9999999 must not open a gap.
    shares = [(name, share) for name, share in shares if share > 0]
    for name, share in shares[:-1]:
        if place < share:
            return name
        place -= share
    return shares[-1][0]


def assign(candidates: Sequence[Candidate], splits: Splits) -> list[Split]:
    """Return the split of each candidate of one source.

    A split given with any photograph of a scene holds for the whole scene.

    Raises:
        ValueError: If two photographs of one scene were given different splits.
    """
    given: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.split is None:
            continue
        first = given.setdefault(candidate.scene, candidate)
        if first.split != candidate.split:
            raise ValueError(
                f"scene {candidate.scene!r} is in two splits: {first.clean} in {first.split}, "
                f"{candidate.clean} in {candidate.split}. Give one split a scene."
            )
    result: list[Split] = []
    for candidate in candidates:
        named = given.get(candidate.scene)
        chosen = None if named is None else named.split
        result.append(chosen or split_of(candidate.scene, splits))
    return result
