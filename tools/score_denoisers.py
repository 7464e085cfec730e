"""PSNR of denoisers on PolyU's val scenes, of one estimate and of averaged ones.

    python tools/score_denoisers.py invdn-polyu bm3d --data ../shared/data

Over the protocol's 3x3 grid of 256x256 blocks a photograph (pipeline.measure.blocks), in KAIR's
convention: clipped, rounded to 8 bits, peak 255, all channels together. Ways: `one` estimate, the
mean of `draws` of a denoiser that draws, the mean over the eight `flips` (one draw each). A way's
wins are the share of blocks, and of photographs by the PSNR of all their blocks together, on which
it beats `one`. Blocks are sound where the pair's brightness differs by at most one grey level.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import denoisers
from denoisers.base import can_draw
from denoisers.ensembles import flip_ensemble, monte_carlo
from generators.seeds import patch_seed
from pipeline.images import read_pixels
from pipeline.manifest.base import Split
from pipeline.manifest.models import PairsSource, Splits
from pipeline.measure.blocks import PairBlock, pair_blocks
from pipeline.measure.metrics.quality import psnr
from pipeline.sources import scan


@dataclass(frozen=True)
class Score:
    """PSNR of one block, one way."""

    denoiser: str
    way: str
    scene: str
    y: int
    x: int
    offset: float
    psnr: float


def blocks_of(folder: str, split: Split, size: int) -> list[PairBlock]:
    """Return the blocks of a split's scenes."""
    source = PairsSource(type="pairs", path=folder, metadata="metadata.csv", only=[split])
    return list(pair_blocks(scan([source], Splits()).records, read_pixels, size=size))


def ways_of(denoiser: Any, draws: int) -> dict[str, Callable[[Tensor, int], Tensor]]:
    """Return how a denoiser is used: name to function of the noisy image and a seed."""
    if can_draw(denoiser):
        return {
            "one": lambda noisy, seed: monte_carlo(denoiser, noisy, 1, seed),
            f"{draws} draws": lambda noisy, seed: monte_carlo(denoiser, noisy, draws, seed),
            "flips": lambda noisy, seed: flip_ensemble(denoiser, noisy, seed=seed),
        }
    return {
        "one": lambda noisy, seed: denoiser(noisy),
        "flips": lambda noisy, seed: flip_ensemble(denoiser, noisy),
    }


def score(name: str, blocks: Sequence[PairBlock], draws: int, skip_flips: bool) -> Iterator[Score]:
    """Yield the score of each block and way."""
    denoiser: Any = denoisers.load(name)
    ways = ways_of(denoiser, draws)
    if skip_flips:
        ways.pop("flips")
    for block in blocks:
        noisy = torch.from_numpy(block.noisy.copy()).permute(2, 0, 1)[None].float() / 255
        seed = patch_seed(0, "score", block.scene, str(block.y), str(block.x))
        for way, made in ways.items():
            with torch.inference_mode():
                estimate = made(noisy, seed)[0].permute(1, 2, 0).numpy()
            yield row_of(name, way, block, psnr(block.clean, estimate))


def row_of(name: str, way: str, block: PairBlock, value: float) -> Score:
    """Return a block's row."""
    offset = float(block.noise.mean() * 255)
    return Score(name, way, block.scene, block.y, block.x, offset, value)


def table(scores: Sequence[Score]) -> Iterator[str]:
    """Yield a Markdown table: mean PSNR over all and over sound blocks, and wins over `one`."""
    yield "| denoiser | way | PSNR, all | PSNR, sound | wins, blocks | wins, photographs |"
    yield "|---|---|---|---|---|---|"
    for name, way in dict.fromkeys((s.denoiser, s.way) for s in scores):
        mine = [s for s in scores if (s.denoiser, s.way) == (name, way)]
        one = [s for s in scores if (s.denoiser, s.way) == (name, "one")]
        sound = [s.psnr for s in mine if abs(s.offset) <= 1]
        cells = [f"{np.mean([s.psnr for s in mine]):.3f} ({len(mine)})"]
        cells.append(f"{np.mean(sound):.3f} ({len(sound)})")
        if way in ("one", ""):
            cells += ["", ""]
        else:
            cells.append(share([a.psnr > b.psnr for a, b in zip(mine, one, strict=True)]))
            scenes = dict.fromkeys(s.scene for s in mine)
            whole = [(together(mine, scene), together(one, scene)) for scene in scenes]
            cells.append(share([a > b for a, b in whole]))
        yield f"| {name} | {way} | {' | '.join(cells)} |"


def together(scores: Sequence[Score], scene: str) -> float:
    """Return the PSNR of a photograph's blocks together."""
    errors = [10 ** (-s.psnr / 10) for s in scores if s.scene == scene]
    return -10 * math.log10(float(np.mean(errors)))


def share(wins: Sequence[bool]) -> str:
    """Return a share of wins."""
    return f"{np.mean(wins):.0%} ({sum(wins)} of {len(wins)})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("denoisers", nargs="+")
    parser.add_argument("--data", default=os.environ.get("NOISEMILL_DATA", "../shared/data"))
    parser.add_argument("--split", default="val")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--no-flips", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    blocks = blocks_of(f"{arguments.data}/polyu", arguments.split, arguments.size)
    scores = [row_of("noisy input", "", b, psnr(b.clean, b.noisy)) for b in blocks]
    for name in arguments.denoisers:
        started = time.monotonic()
        scores += score(name, blocks, arguments.draws, arguments.no_flips)
        print(f"\n{name}: {time.monotonic() - started:.0f} s", *table(scores), sep="\n", flush=True)
        if arguments.json is not None:
            # After each: the next may take an hour.
            arguments.json.write_text(json.dumps([asdict(s) for s in scores], indent=1))


if __name__ == "__main__":
    main()
