"""Score every sRGB generator on the PolyU validation scenes: the tables of docs/results.md.

    python tools/score_polyu.py [ROW ...] [--data FOLDER] [--weights NAME=FILE ...] [--json FILE]

The protocol: five scenes, 3x3 blocks of 256x256 a scene from edge to edge, noise as stored in
8 bit, KLD with NAFlow's bins, AKLD of one sample, correlation with the right neighbour and its
mean absolute error; mean and median, over all blocks and over those whose real residual has a mean
within 1 grey level; then each camera and ISO. ROW is the beginning of a row's name; all without.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import generators
from generators.base import NoiseGenerator
from generators.naflow.sampling import NAFlowGenerator
from generators.weights_file import find
from pipeline.images import read_pixels
from pipeline.manifest.base import Split
from pipeline.manifest.models import PairsSource, Splits
from pipeline.measure.block_scores import BlockScore, evaluate_blocks
from pipeline.measure.blocks import PairBlock, pair_blocks
from pipeline.measure.metrics import akld
from pipeline.sources import scan


@dataclass(frozen=True)
class Row:
    """One line of the table: a generator of the registry, or a baseline that measures."""

    name: str
    generator: str
    weights: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def make(self, weights: Mapping[str, str]) -> NoiseGenerator:
        """Return the generator; ``weights`` replaces bundled weights by files."""
        path = None if self.weights is None else find(weights.get(self.weights, self.weights))
        return generators.create(self.generator, params=self.params, weights=path)


ROWS = (
    Row("AWGN, told each block's level", "awgn-measured"),
    Row("NLF, fitted to each block", "heteroscedastic-fitted"),
    Row("simulated camera", "camera", None, {"camera": "full-frame", "iso": "shot"}),
    Row("Flow-sRGB", "flow-srgb", "flow-srgb-polyu"),
    Row("InvDN, perturbed", "invdn", "invdn-polyu", {"mode": "perturb"}),
    Row("InvDN, resampled", "invdn", "invdn-polyu", {"mode": "resample"}),
    Row(
        "FINO, the paper's transfer",
        "fino",
        "fino-polyu",
        {"transfer": "code", "shuffle": "none", "level": "none"},
    ),
    Row("FINO, rolled, at the reference's level", "fino", "fino-polyu", {"shuffle": "roll"}),
    Row("NAFlow, noise-aware, reference", "naflow", "naflow-polyu"),
    Row("NAFlow, noise-aware, posterior", "naflow", "naflow-polyu", {"weighting": "posterior"}),
    Row("NAFlow, noise-aware, tempered", "naflow", "naflow-polyu", {"weighting": "tempered"}),
    Row("NAFlow, by camera and ISO", "naflow", "naflow-polyu", {"sampling": "label"}),
    Row("NAFlow, random class", "naflow", "naflow-polyu", {"sampling": "random"}),
)


def blocks_of(folder: str, split: Split = "val") -> list[PairBlock]:
    """Return the blocks of a split's scenes."""
    source = PairsSource(type="pairs", path=folder, metadata="metadata.csv", only=[split])
    return list(pair_blocks(scan([source], Splits()).records, read_pixels))


def table(results: Mapping[str, list[BlockScore]], *, sound: bool) -> Iterator[str]:
    """Yield a Markdown table, mean / median over the blocks."""
    first = next(iter(results.values()))
    chosen = [i for i, score in enumerate(first) if score.sound or not sound]
    yield f"Over {len(chosen)} {'sound ' if sound else ''}blocks, mean / median:"
    yield ""
    yield "| noise | KLD (naflow) | AKLD (1 sample) | correlation | its error | std, grey levels |"
    yield "|---|---|---|---|---|---|"
    real = [first[i] for i in chosen]
    correlation = pair([s.real_correlation for s in real], 2)
    yield f"| real | – | – | {correlation} | – | {pair([s.real_std for s in real], 2)} |"
    for name, scores in results.items():
        rows = [scores[i] for i in chosen]
        cells = [
            pair([s.kld for s in rows], 4),
            pair([s.akld for s in rows], 3),
            pair([s.correlation for s in rows], 2),
            pair([abs(s.correlation - s.real_correlation) for s in rows], 2),
            pair([s.std for s in rows], 2),
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def by_capture(results: Mapping[str, list[BlockScore]]) -> Iterator[str]:
    """Yield a Markdown table of KLD / AKLD / correlation error, means for each camera and ISO."""
    first = next(iter(results.values()))
    captures = sorted({(str(s.camera), s.iso or 0) for s in first})
    names = [f"{camera}, ISO {iso}" for camera, iso in captures]
    yield "Sound blocks (all where none is sound), mean KLD / AKLD / error of correlation:"
    yield ""
    yield "| noise | " + " | ".join(names) + " |"
    yield "|---" * (len(captures) + 1) + "|"
    for name, scores in results.items():
        cells = []
        for capture in captures:
            here = [s for s in scores if (str(s.camera), s.iso or 0) == capture]
            here = [s for s in here if s.sound] or here
            error = np.mean([abs(s.correlation - s.real_correlation) for s in here])
            kld, far = np.mean([s.kld for s in here]), np.mean([s.akld for s in here])
            cells.append(f"{kld:.4f} / {far:.3f} / {error:.2f}")
        yield f"| {name} | {' | '.join(cells)} |"


def pair(values: list[float], digits: int) -> str:
    """Return mean and median."""
    return f"{np.mean(values):.{digits}f} / {np.median(values):.{digits}f}"


def floor(generator: NoiseGenerator, blocks: list[PairBlock]) -> tuple[float, float]:
    """Return mean and median AKLD between two draws of one model over the sound blocks.

    What independent noise of exactly the right distribution scores: no generator whose noise is
    new can be expected below.
    """
    first = evaluate_blocks(generator, blocks, seed=0)
    sound = [block for block, score in zip(blocks, first, strict=True) if score.sound]
    values = []
    for block in sound:
        draws = [_noise(generator, block, seed) for seed in (1, 2)]
        values.append(akld(draws[0], draws[1]))
    return float(np.mean(values)), float(np.median(values))


def _noise(generator: NoiseGenerator, block: PairBlock, seed: int) -> np.ndarray:
    from pipeline.pictures.noise import add_noise

    noisy = add_noise(generator, block.clean, seed=seed, reference=(block.clean, block.noisy))
    return noisy / 255.0 - block.clean / 255.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--data", default=os.environ.get("NOISEMILL_DATA", "../shared/data"))
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--floor", action="store_true", help="AKLD between two draws of NAFlow")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    weights = dict(item.split("=", 1) for item in arguments.weights)
    blocks = blocks_of(f"{arguments.data}/polyu")
    results: dict[str, list[BlockScore]] = {}
    for row in ROWS:
        if arguments.rows and not row.name.startswith(tuple(arguments.rows)):
            continue
        started = time.monotonic()
        results[row.name] = evaluate_blocks(row.make(weights), blocks, seed=arguments.seed)
        print(f"{row.name}: {time.monotonic() - started:.0f} s", flush=True)
    for lines in (table(results, sound=True), table(results, sound=False), by_capture(results)):
        print("", *lines, sep="\n")
    if arguments.json is not None:
        found = {name: [s.to_dict() for s in scores] for name, scores in results.items()}
        arguments.json.write_text(json.dumps(found, indent=1))
    if arguments.floor:
        generator = NAFlowGenerator(
            NAFlowGenerator.load_network(find(weights.get("naflow-polyu", "naflow-polyu")))
        )
        mean, median = floor(generator, blocks)
        print(f"\nAKLD between two draws of the reference weighting: {mean:.3f} / {median:.3f}")


if __name__ == "__main__":
    main()
