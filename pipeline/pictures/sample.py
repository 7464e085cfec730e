"""One sample of a corpus made again, from its manifest and its photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.building.plan import PlannedShard, patch_id
from pipeline.building.run import inline_stages, prepare, task_for
from pipeline.corpus.formats import ShardName
from pipeline.corpus.index import load_corpus
from pipeline.corpus.reader import open_corpus
from pipeline.corpus.repeats import within_tolerance
from pipeline.manifest.models import CorpusManifest

__all__ = ["Regenerated", "regenerate"]


@dataclass(frozen=True, slots=True)
class Regenerated:
    """A sample made again, beside what the corpus stores.

    Args:
        clean: ``(H, W, C)`` made again, in the corpus's encoding.
        noisy: Likewise.
        stored_clean: ``(H, W, C)`` of the corpus.
        stored_noisy: Likewise.
        made_on: Kind of processor that the shard's record names; empty if it names none.
        made_here: Kind of this processor.
        same_bits: Whether the generator gives the same bits on every processor.
        precision: ``float32`` or ``bf16``, of its network.
    """

    clean: NDArray[Any]
    noisy: NDArray[Any]
    stored_clean: NDArray[Any]
    stored_noisy: NDArray[Any]
    made_on: str
    made_here: str
    same_bits: bool
    precision: str = "float32"

    @property
    def equal(self) -> bool:
        """Whether the pixels are the stored ones."""
        return bool(
            np.array_equal(self.clean, self.stored_clean)
            and np.array_equal(self.noisy, self.stored_noisy)
        )

    @property
    def verdict(self) -> Literal["equal", "within tolerance", "different"]:
        """How the pixels compare; a tolerance is for networks on another kind of processor."""
        if self.equal:
            return "equal"
        if self.same_bits or self.made_on == self.made_here:
            return "different"
        pairs = ((self.clean, self.stored_clean), (self.noisy, self.stored_noisy))
        near = (within_tolerance(a, b, precision=self.precision) for a, b in pairs)
        return "within tolerance" if all(near) else "different"


def regenerate(root: str, sample_id: str) -> Regenerated:
    """Make one sample of a corpus again from its manifest and its photograph.

    Args:
        root: Folder or URL of the corpus.
        sample_id: The row's ``sample_id``.

    Raises:
        ValueError: If there is no such sample, or its photograph is no longer what it was.
    """
    index = load_corpus(root)
    stored, columns, made_on = _stored(root, sample_id)
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
    threads = torch.get_num_threads()
    try:
        generate.place("cpu", ready.manifest.resources.threads)
        made = generate(cut(task_for(ready, shard)))
    finally:
        torch.set_num_threads(threads)
    if not len(made.columns["sample_id"]):
        raise ValueError(f"{columns['source_uri']} cannot be cut: {made.rejects[0].detail}")
    one = ready.loaded[int(shard.generator[0])]
    return Regenerated(
        made.clean[0],
        made.noisy[0],
        *stored,
        made_on=made_on,
        made_here=made.processor,
        same_bits=one.same_bits,
        precision=one.precision,
    )


def _stored(
    root: str, sample_id: str
) -> tuple[tuple[NDArray[Any], NDArray[Any]], dict[str, Any], str]:
    """Return a sample's pixels and columns, and the kind of processor that made it."""
    names = ("sample_id", "source_id", "source_uri", "crop_y", "crop_x", "split", "generator")
    corpus = open_corpus(root)
    made_on = {file.path: shard.processor for shard in corpus.index.shards for file in shard.files}
    for file, shard in corpus.shards():
        columns = shard.columns(names)
        if sample_id in columns["sample_id"]:
            row = columns["sample_id"].index(sample_id)
            values = {name: columns[name][row] for name in names}
            return shard.pair(row), values, made_on[file.path]
    raise ValueError(
        f"{root} holds no sample '{sample_id}'; `noisemill inspect {root}` lists some."
    )
