"""Score weights on the PolyU validation scenes: the tables of docs/results.md.

    python tools/score_polyu.py [WEIGHTS] [--data FOLDER]

The protocol: five scenes, 3x3 blocks of 256x256 a scene from edge to edge, noise as stored in
8 bit, KLD with NAFlow's bins, AKLD of one sample, correlation with the right neighbour; mean and
median, over all blocks and over those whose real residual has a mean within 1 grey level.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from generators.naflow.sampling import NAFlowGenerator
from generators.weights_file import find
from pipeline.baselines import BASELINES
from pipeline.evaluate import (
    PairBlock,
    evaluate_blocks,
    is_sound,
    pair_blocks,
    score_table,
    summarise,
)
from pipeline.images import read_pixels
from pipeline.manifest.models import PairsSource, Splits
from pipeline.metrics import akld
from pipeline.sources import scan

WAYS: dict[str, dict[str, str]] = {
    "NAFlow, noise-aware, reference": {"sampling": "noise-aware", "weighting": "reference"},
    "NAFlow, noise-aware, posterior": {"sampling": "noise-aware", "weighting": "posterior"},
    "NAFlow, noise-aware, tempered": {"sampling": "noise-aware", "weighting": "tempered"},
    "NAFlow, by camera and ISO": {"sampling": "label"},
    "NAFlow, random": {"sampling": "random"},
}


def blocks_of(folder: str) -> list[PairBlock]:
    """Return the 45 blocks of the validation scenes."""
    source = PairsSource(type="pairs", path=folder, metadata="metadata.csv", only=["val"])
    return list(pair_blocks(scan([source], Splits()).records, read_pixels))


def floor(generator: NAFlowGenerator, blocks: list[PairBlock]) -> tuple[float, float]:
    """Return mean and median AKLD between two draws of one model over the sound blocks.

    What independent noise of exactly the right distribution scores: no generator whose noise is
    new can be expected below.
    """
    first = evaluate_blocks(generator, blocks, seed=0)
    sound = [block for block, score in zip(blocks, first, strict=True) if is_sound(score)]
    values = []
    for block in sound:
        draws = [_noise(generator, block, seed) for seed in (1, 2)]
        values.append(akld(draws[0], draws[1]))
    return float(np.mean(values)), float(np.median(values))


def _noise(generator: NAFlowGenerator, block: PairBlock, seed: int) -> np.ndarray:
    from pipeline.sample import add_noise

    noisy = add_noise(generator, block.clean, seed=seed, reference=(block.clean, block.noisy))
    return noisy / 255.0 - block.clean / 255.0


def main() -> None:
    """Print the tables, and JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="?", default="naflow-polyu")
    parser.add_argument("--data", default=os.environ.get("NOISEMILL_DATA", "../shared/data"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    blocks = blocks_of(f"{arguments.data}/polyu")
    path = find(arguments.weights)
    results = {}
    for name, make in BASELINES.items():
        results[name] = summarise(evaluate_blocks(make(), blocks, seed=arguments.seed))
    for name, params in WAYS.items():
        generator = NAFlowGenerator.from_weights(path, **params)  # type: ignore[arg-type]
        results[name] = summarise(evaluate_blocks(generator, blocks, seed=arguments.seed))
    print(score_table(results, over="sound"), "\n")
    print(score_table(results, over="all"))
    mean, median = floor(NAFlowGenerator.from_weights(path), blocks)
    print(f"\nAKLD between two draws of the reference weighting: {mean:.3f} / {median:.3f}")
    if arguments.json is not None:
        arguments.json.write_text(
            json.dumps({"results": results, "floor": [mean, median]}, indent=1)
        )


if __name__ == "__main__":
    main()
