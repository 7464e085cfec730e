"""How near a generator's noise is to real noise, block by block, on clean/noisy pairs.

The protocol, so that numbers can be compared:

* the blocks of :mod:`pipeline.measure.blocks`; one noise a block, the generated image clipped and
  rounded to 8 bits, as the real one was;
* KLD by a named convention (``naflow`` unless told otherwise), AKLD of one sample, correlation of
  noise with its right neighbour;
* mean and median over all blocks, and over the *sound* ones
  (:data:`~pipeline.measure.noise_score.SOUND_OFFSET`).

A generator that needs a reference is given the block's own real image; :mod:`generators.measured`
has two simple ones that are told as much.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from generators.base import NoiseGenerator, NoiseRequest
from generators.capture import CaptureMetadata
from generators.sample_check import checked_sample
from generators.seeds import patch_seed
from pipeline.measure.blocks import PairBlock
from pipeline.measure.metrics.akld import AkldMetric
from pipeline.measure.metrics.base import Array
from pipeline.measure.metrics.kld import KldConvention, KldMetric
from pipeline.measure.noise_score import is_sound, score_noise
from pipeline.pixels import to_grey_levels, to_unit_nchw

__all__ = ["MEASURES", "BlockScore", "evaluate_blocks", "score_table", "summarise"]

MEASURES = ("kld", "akld", "correlation", "real_correlation", "std", "real_std")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockScore:
    """What was measured on one block.

    Args:
        scene: Scene or file.
        y: Top of the block, pixels.
        x: Left of the block, pixels.
        camera: Camera name, if known.
        iso: ISO speed, if known.
        offset: Mean of the real noise, grey levels.
        kld: Histogram KLD, nats.
        kld_convention: How ``kld`` was measured.
        akld: AKLD of one sample, nats.
        correlation: Generated noise with its right neighbour.
        real_correlation: The same of the real noise.
        std: Standard deviation of the generated noise, grey levels.
        real_std: The same of the real noise.
    """

    scene: str
    y: int
    x: int
    camera: str | None
    iso: int | None
    offset: float
    kld: float
    kld_convention: KldConvention
    akld: float
    correlation: float
    real_correlation: float
    std: float
    real_std: float

    @property
    def sound(self) -> bool:
        """Whether the pair's brightness offset in this block is within the limit."""
        return is_sound(self.offset)

    def to_dict(self) -> dict[str, Any]:
        """Return the score as JSON scalars."""
        return {**asdict(self), "kld_convention": str(self.kld_convention)}


def evaluate_blocks(
    generator: NoiseGenerator,
    pairs: Iterable[PairBlock],
    *,
    seed: int = 0,
    batch: int = 4,
    convention: KldConvention | str = KldConvention.NAFLOW,
) -> list[BlockScore]:
    """Generate one noise for each block and measure it against the block's real noise.

    Args:
        generator: An sRGB generator; given the block's own real image if it needs a reference.
        pairs: Blocks of any sizes; read once, ``batch`` at a time.
        seed: Every block's seed follows from it and the block's place.
        batch: Blocks a request.
        convention: KLD convention.

    Returns:
        One score a block, in the order of ``pairs``.

    Raises:
        ValueError: If the generator works on raw images, or ``batch`` is not positive.
    """
    if (generator.accepts, generator.gives) != ("srgb", "srgb"):
        raise ValueError(
            f"pairs are sRGB images and generator {generator.name!r} takes {generator.accepts} "
            f"and gives {generator.gives}."
        )
    if batch < 1:
        raise ValueError(f"batch must be at least 1; it is {batch}.")
    scores: list[BlockScore] = []
    blocks = iter(pairs)
    while group := list(itertools.islice(blocks, batch)):
        # Blocks of one request share a shape; groupby keeps the order of the scores.
        for _, same in itertools.groupby(group, key=lambda block: block.clean.shape):
            scores += _score_group(generator, list(same), seed, KldConvention(convention))
    return scores


def _score_group(
    generator: NoiseGenerator, blocks: list[PairBlock], seed: int, convention: KldConvention
) -> list[BlockScore]:
    clean, noisy = (
        to_unit_nchw(np.stack([b.clean for b in blocks])),
        to_unit_nchw(np.stack([b.noisy for b in blocks])),
    )
    capture = CaptureMetadata.of([block.capture for block in blocks])
    request = NoiseRequest.of(
        generator,
        clean=clean,
        capture=capture,
        seeds=[patch_seed(seed, "evaluate", b.scene, str(b.y), str(b.x)) for b in blocks],
        reference=noisy,
    )
    with torch.inference_mode():
        sample = checked_sample(
            generator,
            request,
            where=lambda i: f"{blocks[i].scene}, block at y {blocks[i].y}, x {blocks[i].x}",
        )
    fakes = (to_grey_levels(sample.noisy) - to_grey_levels(sample.clean)) / 255.0
    return [_score(b, fake, convention) for b, fake in zip(blocks, fakes, strict=True)]


def _score(block: PairBlock, fake: Array, convention: KldConvention) -> BlockScore:
    kld, akld = KldMetric(convention), AkldMetric()
    score = score_noise([fake], real=block.noise, clean=block.clean / 255.0, metrics=[kld, akld])
    assert score.real is not None
    return BlockScore(
        scene=block.scene,
        y=block.y,
        x=block.x,
        camera=block.camera,
        iso=block.iso,
        offset=score.real.offset,
        kld=score.distances[kld.title],
        kld_convention=convention,
        akld=score.distances[akld.title],
        correlation=score.fake.right,
        real_correlation=score.real.right,
        std=score.fake.std,
        real_std=score.real.std,
    )


def summarise(scores: Sequence[BlockScore]) -> dict[str, Any]:
    """Return means and medians over all blocks and over the sound ones, ready for JSON.

    Raises:
        ValueError: If there are no scores, or they mix KLD conventions.
    """
    conventions = sorted({str(score.kld_convention) for score in scores})
    if len(conventions) != 1:
        raise ValueError(
            f"a summary needs scores of one KLD convention; got {', '.join(conventions) or 'none'}."
        )
    groups = {"all": list(scores), "sound": [score for score in scores if score.sound]}
    return {
        "kld_convention": conventions[0],
        **{
            name: {"blocks": len(group), **{m: _mean_median(group, m) for m in MEASURES}}
            for name, group in groups.items()
        },
    }


def _mean_median(scores: Sequence[BlockScore], measure: str) -> dict[str, float | None]:
    values = [float(getattr(score, measure)) for score in scores]
    if not values:
        return {"mean": None, "median": None}
    return {"mean": float(np.mean(values)), "median": float(np.median(values))}


def score_table(
    summaries: Mapping[str, Mapping[str, Any]], *, over: Literal["all", "sound"] = "sound"
) -> str:
    """Return a plain text table, one generator a line, mean and median of each measure.

    Args:
        summaries: Generator name to the result of :func:`summarise`; one KLD convention.
        over: Which blocks.
    """
    first = next(iter(summaries.values()))
    what = "blocks within 1 grey level of offset" if over == "sound" else "blocks"
    title = (
        f"Over {first[over]['blocks']} {what}, mean / median; KLD convention: "
        f"{first['kld_convention']}; AKLD of 1 sample"
    )
    lines = [f"{'generator':24s}  {'KLD':>15s}  {'AKLD':>15s}  {'corr. right':>15s}  {'std':>13s}"]
    for name, summary in summaries.items():
        lines.append(_table_row(name, summary[over], ""))
    lines.append(_table_row("real noise", first[over], "real_"))
    return "\n".join([title, *lines])


def _table_row(name: str, group: Mapping[str, Any], prefix: str) -> str:
    def pair(measure: str, digits: int, width: int) -> str:
        found = group.get(measure, {"mean": None, "median": None})
        if found["mean"] is None:
            return "-".rjust(width)
        return f"{found['mean']:.{digits}f} / {found['median']:.{digits}f}".rjust(width)

    return "  ".join(
        [
            f"{name:24s}",
            pair("real_kld" if prefix else "kld", 4, 15),
            pair("real_akld" if prefix else "akld", 3, 15),
            pair(f"{prefix}correlation", 2, 15),
            pair(f"{prefix}std", 2, 13),
        ]
    )
