"""The noise of generators on real pairs, by the block protocol of :mod:`pipeline.measure.blocks`.

One generated noise a block (more for AKLD with several samples), on a 3x3 grid of 256x256 blocks a
photograph; clipped and rounded to 8 bits, as the real one was. The first sample of a block has the
seed that :func:`pipeline.measure.block_scores.evaluate_blocks` gives it, so both report the same
figures.

On packed raw the blocks are the same, in packed pixels, and nothing is clipped or rounded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from generators.base import Domain, Likelihood, NoiseContext, NoiseGenerator, NoiseRequest
from generators.capture import CaptureMetadata
from generators.sample_check import checked_sample
from generators.seeds import patch_seed, uniform
from pipeline.evaluation.corpora import cell_of
from pipeline.evaluation.noise import Measured, NoiseMeasure
from pipeline.images import read_pixels
from pipeline.manifest.models import EvaluateManifest, EvaluationData
from pipeline.measure.blocks import BLOCK, PairBlock, pair_blocks
from pipeline.measure.metrics import Nll, NllConvention
from pipeline.measure.metrics.base import Floats
from pipeline.pixels import to_grey_levels, to_nhwc, to_unit64, to_unit_nchw
from pipeline.records import ImageRecord

__all__ = ["GeneratorMeasure", "blocks_of"]


def blocks_of(data: EvaluationData, pairs: Sequence[ImageRecord]) -> Iterator[PairBlock]:
    """Cut the manifest's blocks out of pairs of one domain, one image at a time."""
    size, grid = data.block or BLOCK, data.grid
    return pair_blocks(pairs, read_pixels, size=size, grid=grid)


@dataclass
class GeneratorMeasure:
    """Measures one generator.

    Args:
        generator: The generator; given each block's own real image if it needs a reference.
        key: Name of its row.
        manifest: The evaluation.
        domain: Of the pairs.
        notes: What was noticed on the way, for the row.

    Raises:
        ValueError: If it does not take and give images of that domain.
    """

    generator: NoiseGenerator
    key: str
    manifest: EvaluateManifest
    domain: Domain = "srgb"
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if (self.generator.accepts, self.generator.gives) != (self.domain, self.domain):
            pairs = "sRGB" if self.domain == "srgb" else "raw"
            remedy = (
                "wrap it with `unprocess: {output: srgb}`, or evaluate a corpus of it"
                if self.domain == "srgb"
                else "give `domain: raw` if it has that parameter, or take pairs of its kind"
            )
            raise ValueError(
                f"generator {self.generator.name!r} takes {self.generator.accepts} and gives "
                f"{self.generator.gives} images, and the pairs are {pairs}; {remedy}."
            )
        self.measure = NoiseMeasure(
            self.manifest.metrics, nll=isinstance(self.generator, Likelihood)
        )
        self.nll = Nll(NllConvention(self.manifest.metrics.nll))

    @property
    def told(self) -> bool:
        """Whether the generator is told the very block that it is scored on."""
        return "reference" in self.generator.needs

    def __call__(
        self, blocks: Iterator[PairBlock], after: Callable[[int], None] = lambda count: None
    ) -> Measured:
        """Generate noise for every block and measure it.

        Args:
            blocks: Blocks of pairs; read once, a batch at a time.
            after: Told the number of blocks so far after each batch.
        """
        sums, done = self.measure.empty(), 0
        while group := list(itertools.islice(blocks, self.manifest.resources.batch_size)):
            # Blocks of one request share a shape.
            for _, same in itertools.groupby(group, key=lambda block: block.clean.shape):
                self._group(sums, list(same))
            done += len(group)
            after(done)
        return sums

    def _group(self, sums: Measured, blocks: list[PairBlock]) -> None:
        clean, noisy = (
            to_unit_nchw(np.stack([b.clean for b in blocks])),
            to_unit_nchw(np.stack([b.noisy for b in blocks])),
        )
        capture = CaptureMetadata.of([block.capture for block in blocks])
        context = NoiseContext(clean=clean, capture=capture)
        samples = [
            self._sample(context, noisy, blocks, number)
            for number in range(self.manifest.metrics.akld_samples)
        ]
        nlls = self._nll(context, noisy, blocks)
        for i, block in enumerate(blocks):
            self.measure.add(
                sums,
                cell_of(self.key, block.camera, block.iso, block.scene),
                clean=samples[0][1][i],
                fakes=[sample[0][i] for sample in samples],
                real=block.noise,
                real_clean=to_unit64(block.clean),
                nll=nlls[i],
            )

    def _sample(
        self, context: NoiseContext, noisy: Tensor, blocks: Sequence[PairBlock], number: int
    ) -> tuple[Floats, Floats]:
        """Return one noise of each block as stored, and what it was put on, ``(B, H, W, C)``."""
        again = (f"sample-{number}",) if number else ()
        request = NoiseRequest.of(
            self.generator,
            clean=context.clean,
            capture=context.capture,
            seeds=[self._seed(block, *again) for block in blocks],
            reference=noisy,
        )
        with torch.inference_mode():
            sample = checked_sample(self.generator, request, where=lambda i: _place(blocks[i]))
        if self.domain == "raw":
            base = to_nhwc(sample.clean.double())
            return to_nhwc(sample.noisy.double()) - base, base
        clean = to_grey_levels(sample.clean)
        return (to_grey_levels(sample.noisy) - clean) / 255.0, clean / 255.0

    def _nll(
        self, context: NoiseContext, noisy: Tensor, blocks: Sequence[PairBlock]
    ) -> list[float]:
        missing = [float("nan")] * len(blocks)
        if not isinstance(self.generator, Likelihood):
            return missing
        if self.nll.convention is NllConvention.DEQUANTISED:
            seeds = [self._seed(block, "dequantise") for block in blocks]
            noisy = noisy + uniform(seeds, noisy.shape[1:], "dequantise", low=-0.5, high=0.5) / 255
        try:
            with torch.inference_mode():
                density = self.generator.log_prob(noisy, context)
        except ValueError as error:
            # A camera that the density does not know, or a parameter that leaves none.
            note = f"no likelihood: {error}"
            if note not in self.notes:
                self.notes.append(note)
            return missing
        size = noisy[0].numel()
        return [self.nll.update(float(value), size) for value in density]

    def _seed(self, block: PairBlock, *stream: str) -> int:
        place = (block.scene, str(block.y), str(block.x))
        return patch_seed(self.manifest.seed, "evaluate", *place, *stream)


def _place(block: PairBlock) -> str:
    return f"{block.scene}, block at y {block.y}, x {block.x}"
