"""Cut: read the photographs of one shard and cut its patches.

Errors of single photographs or patches are caught here and become rejects with their reason; they
never fail the shard. Photographs are read through a small cache that lives as long as the worker
process, because neighbouring shards share them. Each is held against the hash that the plan knows:
a row must not name a content that its pixels are not from.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit import pair_within, patch_within
from pipeline.building.stages.work import CutShard, CutTask
from pipeline.images import ImageError, read_unchanged
from pipeline.pixels import Color, Pixels, stack_widest, to_color, white_level
from pipeline.records import ImageRecord, Reject, merged

__all__ = ["CutStage"]


class CutStage:
    """Cuts shards.

    Args:
        size: Side of a patch, pixels.
        color: Channels of the patches.
        min_texture: Skip patches whose clean standard deviation is below this, grey levels of 255.
        references: Whether a generator needs the noisy partner's patch.
    """

    def __init__(
        self,
        *,
        size: int,
        color: Color,
        min_texture: float | None,
        references: bool,
    ) -> None:
        self.size, self.color = size, color
        self.min_texture, self.references = min_texture, references

    def __call__(self, task: CutTask) -> CutShard:
        """Cut one shard; what cannot be cut is in its rejects."""
        started = time.monotonic()
        rejects: list[Reject] = []
        kept: list[int] = []
        clean: list[NDArray[Any]] = []
        noisy: list[NDArray[Any]] = []
        for image in dict.fromkeys(int(i) for i in task.shard.image):
            record = task.records[image]
            rows = np.flatnonzero(task.shard.image == image)
            try:
                pair = self._read(record, with_partner=self._wants_partner(record, task))
                self._check_pair(record, pair, task)
            except ImageError as error:
                rejects.append(_lost_image(record, error, len(rows)))
                continue
            for row in rows:
                y, x = int(task.shard.y[row]), int(task.shard.x[row])
                patch, *others = (self._patch(image, y, x) for image in pair)
                partner = others[0] if others else None
                refused = self._refuse(record, patch, partner, task)
                if refused is not None:
                    rejects.append(_lost_patch(record, y, x, refused))
                    continue
                kept.append(int(row))
                clean.append(patch)
                if partner is not None:
                    noisy.append(partner)
        return CutShard(
            task=task,
            rows=np.array(kept, np.int64),
            clean=_stack(clean),
            reference=_stack(noisy) if self.references and noisy else None,
            rejects=merged(rejects),
            seconds=time.monotonic() - started,
        )

    def _wants_partner(self, record: ImageRecord, task: CutTask) -> bool:
        return record.noisy_uri is not None and (self.references or record.source in task.limits)

    def _read(self, record: ImageRecord, *, with_partner: bool) -> list[Pixels]:
        """Return the clean photograph, and its noisy partner where it is wanted."""
        wanted = [(record.uri, record.sha256)]
        if with_partner and record.noisy_uri is not None:
            wanted.append((record.noisy_uri, record.noisy_sha256 or ""))
        return [read_unchanged(uri, sha256) for uri, sha256 in wanted]

    def _patch(self, image: Pixels, y: int, x: int) -> NDArray[Any]:
        return to_color(image[y : y + self.size, x : x + self.size], self.color)

    def _check_pair(self, record: ImageRecord, pair: list[Pixels], task: CutTask) -> None:
        limits = task.limits.get(record.source)
        if limits is None or len(pair) < 2:
            return
        refused = pair_within(pair[0], pair[1], limits)
        if refused is not None:
            raise ImageError("audit", refused, record.uri)

    def _refuse(
        self,
        record: ImageRecord,
        patch: NDArray[Any],
        partner: NDArray[Any] | None,
        task: CutTask,
    ) -> tuple[str, str] | None:
        """Return reason and detail if a patch is unwanted."""
        if self.min_texture is not None:
            grey = float(patch.std()) * 255.0 / white_level(patch.dtype)
            if grey < self.min_texture:
                return "flat", (
                    f"texture {grey:.2f} grey levels is below patches.min_texture "
                    f"{self.min_texture:g}"
                )
        limits = task.limits.get(record.source)
        if limits is None or partner is None:
            return None
        reason = patch_within(patch, partner, limits)
        return None if reason is None else ("audit", reason)


def _stack(patches: list[NDArray[Any]]) -> NDArray[Any]:
    return stack_widest(patches) if patches else np.zeros((0, 0, 0, 0), np.uint8)


def _lost_image(record: ImageRecord, error: ImageError, patches: int) -> Reject:
    return Reject(
        uri=error.uri or record.uri,
        reason=error.reason,
        detail=error.detail,
        stage="audit" if error.reason == "audit" else "cut",
        patches=patches,
    )


def _lost_patch(record: ImageRecord, y: int, x: int, refused: tuple[str, str]) -> Reject:
    reason, detail = refused
    return Reject(
        uri=f"{record.uri}[y={y},x={x}]",
        reason=reason,
        detail=detail,
        stage="audit" if reason == "audit" else "cut",
        patches=1,
    )
