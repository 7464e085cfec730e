"""What the benchmarks work on: photographs made on the spot, random weights, manifests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from generators.naflow.config import NAFlowConfig
from generators.naflow.network import NAFlow
from generators.seeds import standard_normal, stream_rng, uniform
from generators.weights_file import bundled, save_weights
from pipeline.building.run import build
from pipeline.corpus.dataset import CorpusDataset
from pipeline.manifest.models import CorpusManifest

__all__ = ["awgn_corpus", "corpus_manifest", "export_pngs", "naflow_weights", "write_photographs"]

_BUNDLED = "naflow-polyu"


def write_photographs(folder: Path, count: int, side: int) -> Path:
    """Write smooth random pictures with a little grain; PNG keeps about half of their bytes.

    Args:
        folder: Created if it is not there.
        count: How many, each different.
        side: Height and width, pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = stream_rng(number, "photograph")
        coarse = rng.random((max(2, side // 32), max(2, side // 32), 3), dtype=np.float32)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        grain = rng.standard_normal((side, side, 3), dtype=np.float32)
        picture = np.clip(220 * smooth + 15 + 2 * grain, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return folder


def naflow_weights(folder: Path) -> Path:
    """Return the bundled weights of NAFlow, or random ones of the same shape; speed is the same."""
    found = bundled().get(_BUNDLED)
    if found is not None:
        return found
    cameras = tuple(f"camera_{100 * (number + 1):05d}" for number in range(34))
    config = NAFlowConfig(configurations=cameras, models="noise")
    model = NAFlow(config)
    seeds = list(range(4))
    clean = uniform(seeds, (3, 64, 64), "clean")
    model.initialise(0.05 * standard_normal(seeds, (3, 64, 64), "noise"), clean)
    path = folder / "random-naflow.safetensors"
    save_weights(
        path,
        family="naflow",
        config=config.to_dict(),
        tensors=model.state_dict(),
        license="none: random numbers",
    )
    return path


def corpus_manifest(
    output: Path,
    *,
    source: Mapping[str, Any],
    patches: Mapping[str, Any],
    generator: Mapping[str, Any],
    rows_per_shard: int,
    formats: tuple[str, ...] = ("hdf5", "parquet"),
    precision: str = "float32",
) -> CorpusManifest:
    """Return the manifest of a corpus of 64x64 patches without a report."""
    return CorpusManifest.model_validate(
        {
            "kind": "corpus",
            "seed": 1,
            "sources": [dict(source)],
            "splits": {"train": 1.0, "val": 0.0, "test": 0.0},
            "patches": {"size": 64, **patches},
            "generators": [dict(generator)],
            "output": {
                "path": str(output),
                "formats": list(formats),
                "rows_per_shard": rows_per_shard,
            },
            "resources": {"precision": precision},
            "report": False,
        }
    )


def awgn_corpus(
    folder: Path, photographs: int, pairs: int, *, formats: tuple[str, ...] = ("hdf5", "parquet")
) -> Path:
    """Build a corpus of 64x64 pairs with white noise, of photographs made on the spot.

    Args:
        folder: For the photographs and the corpus.
        photographs: How many, 512x512 each.
        pairs: Patches in all; whole photographs share them equally.
        formats: Of the shards, of 512 rows each.

    Returns:
        The corpus's folder.
    """
    write_photographs(folder / "images", photographs, 512)
    manifest = corpus_manifest(
        folder / "corpus",
        source={"type": "images", "path": str(folder / "images")},
        patches={"per_image": pairs // photographs},
        generator={"name": "awgn", "params": {"sigma": 25}},
        rows_per_shard=512,
        formats=formats,
    )
    build(manifest, inline=True, overwrite=False, style="quiet")
    return folder / "corpus"


def export_pngs(corpus: CorpusDataset, folder: Path) -> list[tuple[str, str]]:
    """Write every pair as two PNG files and return their names, clean and noisy."""
    folder.mkdir()
    names = []
    for number in range(len(corpus)):
        sample, pair = corpus[number], []
        for key in ("clean", "noisy"):
            image = (sample[key].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
            name = str(folder / f"{number:06d}_{key}.png")
            cv2.imwrite(name, np.ascontiguousarray(image[:, :, ::-1]))
            pair.append(name)
        names.append((pair[0], pair[1]))
    return names
