"""Draw the README's picture: clean, real noisy, generated, and both noises amplified.

    python tools/noise_picture.py docs/images/noise.png [--data FOLDER]

Crops come from held-out scenes of PolyU (its licence allows showing them, non-commercially).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from generators.naflow.sampling import NAFlowGenerator
from generators.weights_file import find
from pipeline.images import read_pixels
from pipeline.manifest.models import PairsSource, Splits
from pipeline.pictures.noise import add_noise
from pipeline.sources import scan

# Scene, top, left: places with texture and flat areas, sound pairs, one camera each.
CROPS = (
    ("Nikon800_wall", 1100, 1712),
    ("SonyA7II_stair", 716, 2752),
    ("Canon5D2_desk", 800, 2528),
)
SIDE, GAIN = 96, 8


def panels(record: Any, y: int, x: int, generator: NAFlowGenerator) -> list[np.ndarray]:
    """Return clean, real, generated, real noise and generated noise, uint8."""
    window = (slice(y, y + 256), slice(x, x + 256))
    clean, real = (np.asarray(read_pixels(u))[window] for u in (record.uri, record.noisy_uri))
    made = add_noise(generator, clean, seed=1, reference=(clean, real))
    shown = (slice(64, 64 + SIDE), slice(64, 64 + SIDE))
    noises = [
        np.clip(128 + GAIN * (image.astype(float) - clean), 0, 255).astype(np.uint8)
        for image in (real, made)
    ]
    return [image[shown] for image in (clean, real, made, *noises)]


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--data", default=os.environ.get("NOISEMILL_DATA", "../shared/data"))
    arguments = parser.parse_args()
    source = PairsSource(
        type="pairs", path=f"{arguments.data}/polyu", metadata="metadata.csv", only=["val"]
    )
    records = {record.scene: record for record in scan([source], Splits()).records}
    generator = NAFlowGenerator(NAFlowGenerator.load_network(find("naflow-polyu")))
    titles = ("clean", "real noisy", "generated", f"real noise ×{GAIN}", f"generated noise ×{GAIN}")
    figure, axes = plt.subplots(len(CROPS), len(titles), figsize=(11, 2.28 * len(CROPS)), dpi=110)
    for row, (scene, y, x) in enumerate(CROPS):
        record = records[scene]
        for column, image in enumerate(panels(record, y, x, generator)):
            place = axes[row, column]
            place.imshow(image, interpolation="nearest")
            place.set_xticks([])
            place.set_yticks([])
            for spine in place.spines.values():
                spine.set_visible(False)
            if row == 0:
                place.set_title(titles[column], fontsize=11)
            if column == 0:
                place.set_ylabel(f"{record.camera}\nISO {record.iso}", fontsize=9)
    figure.tight_layout(pad=0.4)
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.target)


if __name__ == "__main__":
    main()
