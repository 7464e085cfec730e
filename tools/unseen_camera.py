"""How near NAFlow comes to the noise of a camera or an ISO that it was never trained on.

    python tools/unseen_camera.py OUT [--hold-out CAMERA[:ISO]]... [--steps N] [--data FOLDER]

Some configurations of the PolyU *training* scenes are held out, NAFlow is trained on the others
(the validation scenes stay out of it altogether), and its noise is measured on the scenes held out,
with the blocks and measures of :mod:`pipeline.measure.block_scores`. Compared are

    nearest label    the class that a person would choose without measuring (:func:`nearest`)
    likeliest label  the class under which the reference is most likely
    posterior        the paper's noise-aware sampling
    tempered         the released code's
    reference        ours

and, for the last three, the same again with the reference taken from *another block* of the same
photograph, so that no block is told its own noise. The training is an ordinary manifest, written
into OUT beside its metadata; run the command again to go on after an interruption.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from generators.base import Domain, Need, NoiseRequest, NoiseSample
from generators.capture import CaptureMetadata
from generators.naflow.sampling import NAFlowGenerator
from pipeline.images import read_pixels
from pipeline.manifest.models import PairsSource, Splits
from pipeline.measure.block_scores import BlockScore, evaluate_blocks, summarise
from pipeline.measure.block_scores import score_table as table
from pipeline.measure.blocks import PairBlock, pair_blocks
from pipeline.sources import scan

NAME = "naflow-unseen"
# One camera that is then wholly unknown, and one ISO of a camera that stays.
HELD_OUT = ("Canon EOS 80D", "Nikon D800:6400")
BLOCKS = 9

MANIFEST = """\
kind: train-generator
name: {name}
model: naflow
seed: 1
params:
  models: noise
  condition_noise: 1.0
data:
  sources:
    - type: pairs
      path: {data}
      metadata: {metadata}
      only: [train]
      license: PolyU terms, non-commercial research only
  patch: 64
  max_offset: 4.0
  remove_offset: true
schedule:
  steps: {steps}
  batch_size: 16
  learning_rate: 5.0e-4
  final_learning_rate: 0.0
  clip_norm: 100.0
  ema: 0.995
  bf16: {bf16}
  threads: {threads}
checkpoint_every: 100
output:
  path: {out}
license: PolyU terms, non-commercial research only
"""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A camera, or one ISO of a camera."""

    camera: str
    iso: int | None

    @classmethod
    def read(cls, text: str) -> HeldOut:
        """Read ``CAMERA`` or ``CAMERA:ISO``.

        Raises:
            ValueError: If the ISO is no whole number.
        """
        camera, colon, iso = text.partition(":")
        if colon and not iso.isdigit():
            raise ValueError(f"{text!r}: expected CAMERA or CAMERA:ISO, e.g. 'Nikon D800:6400'.")
        return cls(camera, int(iso) if colon else None)

    def covers(self, camera: str, iso: int) -> bool:
        """Tell whether a camera and ISO are held out."""
        return camera == self.camera and self.iso in (None, iso)

    def __str__(self) -> str:
        """Return it as people say it."""
        return self.camera if self.iso is None else f"{self.camera} at ISO {self.iso}"


def nearest(camera: str, iso: int, known: Sequence[tuple[str, int]]) -> tuple[str, int]:
    """Return the known class that metadata alone would suggest for a camera and ISO.

    Of the same camera if there is one, then of the same maker (first word of the camera's name),
    then of any; among those the nearest ISO in stops; a tie goes to the higher ISO, then to the
    first in the alphabet. Nearest ISO comes before the maker where the camera is unknown.

    Raises:
        ValueError: If nothing is known.
    """
    if not known:
        raise ValueError("no class is known; the weights must have at least one.")
    same = [capture for capture in known if capture[0] == camera]

    def distance(capture: tuple[str, int]) -> tuple[float, bool, int, str]:
        stops = abs(math.log2(capture[1] / iso))
        return (
            round(stops, 6),
            capture[0].split()[0] != camera.split()[0],
            -capture[1],
            capture[0],
        )

    return min(same or known, key=distance)


def prepare(out: Path, data: Path, held: Sequence[HeldOut], settings: dict[str, Any]) -> Path:
    """Write the metadata without the scenes held out, and the manifest; returns its path.

    Raises:
        ValueError: If nothing is held out, or nothing is left.
    """
    with (data / "metadata.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    for one in held:
        if not any(one.covers(row["camera"], int(row["iso"])) for row in rows):
            raise ValueError(f"no training scene of {data} is of {one}.")
    kept = [r for r in rows if not any(h.covers(r["camera"], int(r["iso"])) for h in held)]
    if not kept:
        raise ValueError("every training scene is held out; hold out fewer.")
    out.mkdir(parents=True, exist_ok=True)
    for name, chosen in (("known.csv", kept), ("unseen.csv", [r for r in rows if r not in kept])):
        with (out / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(chosen)
    manifest = out / "training.yaml"
    metadata = json.dumps(str((out / "known.csv").resolve()))
    where = {"data": json.dumps(str(data)), "out": json.dumps(str(out)), "metadata": metadata}
    manifest.write_text(MANIFEST.format(name=NAME, **where, **settings))
    return manifest


class ByNearestLabel:
    """NAFlow by label, told the nearest class that it knows instead of the row's own."""

    name = "naflow"
    revision = 1
    accepts: Domain = "srgb"
    gives: Domain = "srgb"
    needs: frozenset[Need] = frozenset({"camera", "iso"})

    def __init__(self, weights: Path) -> None:
        self._inner = NAFlowGenerator(NAFlowGenerator.load_network(weights), sampling="label")
        self._known = captures_of(self._inner)

    def sample(self, request: NoiseRequest) -> NoiseSample:
        """Sample with each row's nearest class."""
        asked = request.context.capture
        pairs = zip(asked.camera, asked.iso, strict=True)
        found = [nearest(str(camera), int(iso or 0), self._known) for camera, iso in pairs]
        capture = CaptureMetadata(
            camera=tuple(camera for camera, _ in found), iso=tuple(iso for _, iso in found)
        )
        return self._inner.sample(
            replace(request, context=replace(request.context, capture=capture))
        )


class FromAnotherBlock:
    """A generator whose reference is the next block of the same photograph, not the block's own.

    Requests must hold the blocks of one photograph.
    """

    name = "naflow"
    revision = 1
    accepts: Domain = "srgb"
    gives: Domain = "srgb"
    needs: frozenset[Need] = frozenset({"reference"})

    def __init__(self, inner: NAFlowGenerator) -> None:
        self._inner = inner

    def sample(self, request: NoiseRequest) -> NoiseSample:
        """Sample with each row's reference taken from the row before it."""
        if request.reference is None or request.reference_clean is None:
            raise ValueError("this comparison needs reference and reference_clean.")
        return self._inner.sample(
            replace(
                request,
                reference=request.reference.roll(1, dims=0),
                reference_clean=request.reference_clean.roll(1, dims=0),
            )
        )


def captures_of(generator: NAFlowGenerator) -> list[tuple[str, int]]:
    """Return the (camera, ISO) pairs that the weights know."""
    parts = [name.rpartition("_") for name in generator.configurations]
    return [(camera, int(iso)) for camera, _, iso in parts]


def ways(weights: Path) -> dict[str, Callable[[], Any]]:
    """Return what is compared, by name."""

    def aware(weighting: str) -> NAFlowGenerator:
        return NAFlowGenerator(NAFlowGenerator.load_network(weights), weighting=weighting)  # type: ignore[arg-type]

    found: dict[str, Callable[[], Any]] = {
        "nearest label": lambda: ByNearestLabel(weights),
        "likeliest label": lambda: NAFlowGenerator(
            NAFlowGenerator.load_network(weights), sampling="rank"
        ),
    }
    for weighting in ("posterior", "tempered", "reference"):
        found[weighting] = lambda w=weighting: aware(w)  # type: ignore[misc]
        found[f"{weighting}, elsewhere"] = lambda w=weighting: FromAnotherBlock(aware(w))  # type: ignore[misc]
    return found


def score(
    weights: Path, blocks: Sequence[PairBlock], held: Sequence[HeldOut], *, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure every way on the blocks; returns group, then way, to its summary."""
    groups: dict[str, list[HeldOut]] = {str(one): [one] for one in held}
    if len(held) > 1:
        groups["everything held out"] = list(held)
    results: dict[str, dict[str, dict[str, Any]]] = {group: {} for group in groups}
    for way, make in ways(weights).items():
        print(f"measuring {way}", file=sys.stderr, flush=True)
        scores = evaluate_blocks(make(), blocks, seed=seed, batch=BLOCKS)
        for group, members in groups.items():
            chosen = [s for s in scores if any(_covers(h, s) for h in members)]
            results[group][way] = summarise(chosen)
    return results


def _covers(held: HeldOut, found: BlockScore) -> bool:
    return held.covers(str(found.camera), int(found.iso or 0))


def main() -> None:
    """Train, measure, print the tables and write them to OUT/scores.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--hold-out", action="append", metavar="CAMERA[:ISO]")
    parser.add_argument("--data", default=os.environ.get("NOISEMILL_DATA", "../shared/data"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="where the CPU multiplies bfloat16")
    parser.add_argument("--seed", type=int, default=0, help="of the measured noise")
    arguments = parser.parse_args()
    held = [HeldOut.read(text) for text in arguments.hold_out or HELD_OUT]
    data = Path(arguments.data).resolve() / "polyu"
    settings = {
        "steps": arguments.steps,
        "bf16": json.dumps(arguments.bf16),
        "threads": arguments.threads,
    }
    manifest = prepare(arguments.out, data, held, settings)
    subprocess.run([sys.executable, "-m", "pipeline.cli", "run", str(manifest)], check=True)
    source = PairsSource(
        type="pairs", path=str(data), metadata=str((arguments.out / "unseen.csv").resolve())
    )
    blocks = list(pair_blocks(scan([source], Splits()).records, read_pixels))
    results = score(arguments.out / f"{NAME}.safetensors", blocks, held, seed=arguments.seed)
    for group, summaries in results.items():
        print(f"\n{group}\n{table(summaries, over='sound')}\n\n{table(summaries, over='all')}")
    (arguments.out / "scores.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
