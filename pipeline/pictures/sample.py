"""One sample of a corpus made again, from its manifest and its photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.building.plan import PlannedShard, patch_id
from pipeline.building.run import inline_stages, prepare, task_for
from pipeline.corpus.formats import ShardName
from pipeline.corpus.index import load_corpus
from pipeline.corpus.reader import open_corpus
from pipeline.manifest.models import CorpusManifest

__all__ = ["Regenerated", "regenerate"]


@dataclass(frozen=True, slots=True)
class Regenerated:
    """A sample made again, beside what the corpus stores."""

    clean: NDArray[Any]
    noisy: NDArray[Any]
    stored_clean: NDArray[Any]
    stored_noisy: NDArray[Any]

    @property
    def equal(self) -> bool:
        """Whether the pixels are the stored ones."""
        return bool(
            np.array_equal(self.clean, self.stored_clean)
            and np.array_equal(self.noisy, self.stored_noisy)
        )


def regenerate(root: str, sample_id: str) -> Regenerated:
    """Make one sample of a corpus again from its manifest and its photograph.

    Args:
        root: Folder or URL of the corpus.
        sample_id: The row's ``sample_id``.

    Raises:
        ValueError: If there is no such sample, or its photograph is no longer what it was.
    """
    index = load_corpus(root)
    stored, columns = _stored(root, sample_id)
    ready = prepare(CorpusManifest.model_validate(index.manifest))
    images = [i for i, r in enumerate(ready.plan.records) if r.image_id == columns["source_id"]]
    if not images:
        raise ValueError(
            f"the photograph of sample {sample_id} is not among the sources any more: "
            f"{columns['source_uri']} with SHA-256 {columns['source_id'][:12]}..."
        )
    keys = [one.spec.key for one in ready.loaded]
    y, x = int(columns["crop_y"]), int(columns["crop_x"])
    shard = PlannedShard(
        0,
        ShardName(split=columns["split"], index=0, count=1),
        np.array(images[:1], np.int32),
        np.array([y], np.int32),
        np.array([x], np.int32),
        np.array([keys.index(columns["generator"])], np.int16),
    )
    expected = f"{patch_id(ready.plan.records[images[0]], y, x, ready.plan.size)}-"
    if not sample_id.startswith(expected):
        raise ValueError(f"{sample_id} does not belong to the manifest in {root}/corpus.json.")
    cut, generate = inline_stages(ready)
    made = generate(cut(task_for(ready, shard)))
    if not len(made.columns["sample_id"]):
        raise ValueError(f"{columns['source_uri']} cannot be cut: {made.rejects[0].detail}")
    return Regenerated(made.clean[0], made.noisy[0], stored[0], stored[1])


def _stored(root: str, sample_id: str) -> tuple[tuple[NDArray[Any], NDArray[Any]], dict[str, Any]]:
    names = ("sample_id", "source_id", "source_uri", "crop_y", "crop_x", "split", "generator")
    for _, shard in open_corpus(root).shards():
        columns = shard.columns(names)
        if sample_id in columns["sample_id"]:
            row = columns["sample_id"].index(sample_id)
            return shard.pair(row), {name: columns[name][row] for name in names}
    raise ValueError(
        f"{root} holds no sample '{sample_id}'; `noisemill inspect {root}` lists some."
    )
