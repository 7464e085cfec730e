"""One row of an evaluation: what was measured of one generator or denoiser, or why it failed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from pipeline.canonical import sha256_of
from pipeline.evaluation.noise import OFFSET, Measured, NoiseSums, pooled_distances
from pipeline.measure.metrics import GroupSums, Scores
from pipeline.results.rows import ROWS, RowStore

__all__ = [
    "GROUPS",
    "Row",
    "names_of",
    "noise_figures",
    "row_store",
    "score_figures",
]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "camera": ("camera",),
    "iso": ("iso",),
    "camera, iso": ("camera", "iso"),
    "image": ("image",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row.

    Args:
        name: Name in tables.
        kind: ``generator``, ``denoiser`` or ``input``.
        key: Hash of everything the figures follow from.
        seconds: Time it took.
        error: Why it failed; ``None`` for a row that is done.
        about: What it is: registry name, weights and their SHA-256, parameters, notes.
        figures: ``summary``, ``groups``, and where noise was measured ``pooled`` and ``noise``.
    """

    name: str
    kind: str
    key: str
    seconds: float = 0.0
    error: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """See :class:`~pipeline.results.rows.KeptRow`."""
        return self.key

    @property
    def done(self) -> bool:
        """Whether it has figures."""
        return self.error is None

    def subset(self, name: str) -> Mapping[str, Any]:
        """Return the figures over ``all`` or ``sound`` blocks; nothing of a failed row."""
        found: Mapping[str, Any] = self.figures.get("summary", {}).get(name, {})
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {"status": "done" if self.done else "failed", **asdict(self)}


def row_store(root: str) -> RowStore[Row]:
    """Return the rows of an evaluation's folder."""
    return RowStore(root, _path, _parsed)


def _parsed(data: Mapping[str, Any]) -> Row:
    return Row(**{f.name: data[f.name] for f in fields(Row)})


def score_figures(scores: GroupSums[Scores], sound_offset: float) -> dict[str, Any]:
    """Return means and medians over all and over sound blocks, and by camera, ISO and image.

    Args:
        scores: Block values; those with an :data:`~pipeline.evaluation.noise.OFFSET` tell sound
            blocks from others.
        sound_offset: Largest offset of a sound block, grey levels.

    Returns:
        ``summary`` with ``all`` and, where offsets are known, ``sound``; ``groups``, each a list of
        entries over sound blocks where there are any, else over all.
    """
    total = scores.total()
    summary = {"all": _entry(total)}
    if _has_offsets(total):
        summary["sound"] = _entry(_sound(total, sound_offset))
    groups: dict[str, list[dict[str, Any]]] = {}
    for title, levels in GROUPS.items():
        groups[title] = []
        for values, found in scores.by(*levels).items():
            kept = _sound(found, sound_offset) if _has_offsets(found) else found
            groups[title].append(
                {**dict(zip(levels, values, strict=True)), "all blocks": len(found), **_entry(kept)}
            )
    return {"summary": summary, "groups": groups}


def noise_figures(
    measured: Measured, sound_offset: float, real: NoiseSums | None = None
) -> dict[str, Any]:
    """Return the figures of a row of noise.

    Args:
        measured: Of one generator.
        sound_offset: Largest offset of a sound block, grey levels.
        real: Real noise of other blocks to hold it against; its own blocks' if absent.
    """
    made, own = measured.noise("made"), measured.noise("real")
    total, against = made.total(), own.total() if real is None else real
    by_capture = []
    if real is None:
        others = own.by("camera", "iso")
        by_capture = [
            {"camera": key[0], "iso": key[1], **pooled_distances(others[key], sums)}
            for key, sums in made.by("camera", "iso").items()
            if key in others
        ]
    return {
        **score_figures(measured.scores, sound_offset),
        "metrics": dict(measured.declared),
        "pooled": pooled_distances(against, total),
        "pooled by camera, iso": by_capture,
        "noise": {
            "made": total.to_dict(),
            **({"real": against.to_dict()} if against.blocks else {}),
        },
    }


def _path(name: str) -> str:
    """Return a file name that any system takes; the hash keeps alike names apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "row"
    return f"{ROWS}/{plain}-{sha256_of(name)[:8]}.json"


def _has_offsets(scores: Scores) -> bool:
    return OFFSET in scores.names and bool(np.isfinite(scores.column(OFFSET)).any())


def _sound(scores: Scores, limit: float) -> Scores:
    return scores.where(np.abs(scores.column(OFFSET)) <= limit)


def _entry(scores: Scores) -> dict[str, Any]:
    return {"blocks": len(scores), **{k: _finite(v) for k, v in scores.result().items()}}


def _finite(middle: Mapping[str, float | None]) -> dict[str, float | None]:
    # Infinity (a PSNR of equal images) is no JSON number.
    return {k: v if v is not None and np.isfinite(v) else None for k, v in middle.items()}


def names_of(rows: Sequence[Row]) -> list[str]:
    """Return the measures that any row has, in the order of the first that has it."""
    found: dict[str, None] = {}
    for row in rows:
        for name in row.subset("all"):
            if name != "blocks":
                found.setdefault(name)
    return list(found)
