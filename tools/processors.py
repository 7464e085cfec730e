"""Measure what other processors make of the same request, generator by generator.

    python -m tools.processors [--rows 32] ["naflow, label" fino ...]

Each generator puts noise on the same 64x64 patches of scikit-image's photographs, in one process
for each emulated processor (:mod:`tests.contracts.processors`) and one with another number of
threads. Told is what share of the stored 8-bit values differs from this processor's, by how many
grey levels at most, and in brackets by how many before rounding. The table stands in
docs/architecture.md. A real processor may differ from an emulated
one: caches and makers decide too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.contracts.processors import PROCESSORS, environment

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
NIKON, COMPACT = {"camera": "Nikon D800", "iso": 6400}, {"camera": "compact", "iso": 1600}
GENERATORS: Mapping[str, Mapping[str, Any]] = {
    "awgn": {"params": {"sigma": [5, 50]}},
    "spatially-variant-awgn": {"params": {"sigma": [0, 50]}},
    "heteroscedastic": {"params": {"beta1": 1e-3, "beta2": 1e-4}},
    "poisson-gaussian": {"params": {"gain": 1e-3, "read_noise": 5e-3}},
    "camera": {"params": {"camera": "phone", "iso": [100, 3200]}},
    "nlf on raw": {"name": "nlf", "weights": "nlf-simulated", "params": COMPACT, "on_raw": True},
    "awgn-measured": {},
    "heteroscedastic-fitted": {},
    "noise-flow on raw": {
        "name": "noise-flow",
        "weights": "noise-flow-simulated",
        "params": COMPACT,
        "on_raw": True,
    },
    "flow-srgb": {"weights": "flow-srgb-polyu", "params": NIKON},
    "naflow, label": {
        "name": "naflow",
        "weights": "naflow-polyu",
        "params": {"sampling": "label", **NIKON},
    },
    "naflow, label, bf16": {
        "name": "naflow",
        "weights": "naflow-polyu",
        "params": {"sampling": "label", "precision": "bf16", **NIKON},
    },
    "naflow, noise-aware": {"name": "naflow", "weights": "naflow-polyu"},
    "naflow, noise-aware, bf16": {
        "name": "naflow",
        "weights": "naflow-polyu",
        "params": {"precision": "bf16"},
    },
    "invdn, resample": {
        "name": "invdn",
        "weights": "invdn-polyu",
        "params": {"mode": "resample", **NIKON},
    },
    "invdn, perturb": {
        "name": "invdn",
        "weights": "invdn-polyu",
        "params": {"mode": "perturb"},
    },
    "fino": {"weights": "fino-polyu"},
}


def make(label: str, rows: int) -> NDArray[np.float32]:
    """Return the noisy images of a generator, ``(rows, C, 64, 64)``."""
    import torch

    import generators
    from generators.base import NoiseContext, NoiseRequest
    from generators.capture import CaptureMetadata
    from generators.on_raw import OnRaw
    from generators.weights_file import find

    entry = GENERATORS[label]
    weights = find(entry["weights"]) if "weights" in entry else None
    generator = generators.create(
        entry.get("name", label), params=entry.get("params", {}), weights=weights
    )
    if entry.get("on_raw"):
        generator = OnRaw(generator)
    clean = torch.from_numpy(patches(rows))
    follows = "reference" in generator.needs
    request = NoiseRequest(
        context=NoiseContext(
            clean=clean, capture=CaptureMetadata.same(rows, camera="Nikon D800", iso=6400)
        ),
        seeds=range(rows),
        reference=clean + reference_noise(clean.shape) if follows else None,
        reference_clean=clean if follows else None,
    )
    with torch.inference_mode():
        noisy: NDArray[np.float32] = generator.sample(request).noisy.numpy()
    return noisy


def patches(rows: int) -> NDArray[np.float32]:
    """Return patches of photographs, ``(rows, 3, 64, 64)`` in [0, 1]."""
    from pipeline.images import read_pixels

    cut = []
    for row in range(rows):
        picture = read_pixels(f"skimage:{PHOTOGRAPHS[row % len(PHOTOGRAPHS)]}")[..., :3]
        y, x = (97 * row) % (picture.shape[0] - 64), (61 * row) % (picture.shape[1] - 64)
        cut.append(picture[y : y + 64, x : x + 64].transpose(2, 0, 1))
    return np.stack(cut).astype(np.float32) / np.float32(255)


def reference_noise(shape: Sequence[int]) -> Any:
    """Return a strong camera's noise for generators that follow a reference."""
    from generators.seeds import standard_normal

    return 0.02 * standard_normal(range(shape[0]), shape[1:], "reference")


def make_elsewhere(
    labels: Sequence[str], rows: int, variables: Mapping[str, str], *, threads: int
) -> dict[str, NDArray[np.float32]]:
    """Return what :func:`make` gives for each label in another process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "noisy.npz"
        command = [sys.executable, "-m", "tools.processors", "--make", str(file), *labels]
        command += ["--rows", str(rows), "--threads", str(threads)]
        subprocess.run(command, env=dict(variables), check=True)
        with np.load(file) as noisy:
            return dict(noisy)


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, int, float]:
    """Compare images as they are stored in 8 bits, and before rounding."""
    stored = [np.rint(np.clip(x, 0, 1) * np.float32(255)).astype(int) for x in (one, other)]
    levels = np.abs(stored[0] - stored[1])
    return float((levels > 0).mean()), int(levels.max()), float(np.abs(one - other).max())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("labels", nargs="*", default=list(GENERATORS), help="rows of the table")
    parser.add_argument("--rows", type=int, default=32, help="patches of each generator")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    labels, rows = arguments.labels, arguments.rows
    if arguments.make:
        import torch

        torch.set_num_threads(arguments.threads)
        made: dict[str, Any] = {label: make(label, rows) for label in labels}
        np.savez(arguments.make, **made)
        return
    own = make_elsewhere(labels, rows, os.environ, threads=1)
    others = {
        name: make_elsewhere(labels, rows, environment(name), threads=1) for name in PROCESSORS
    }
    others["2 threads"] = make_elsewhere(labels, rows, os.environ, threads=2)
    print(f"| generator | {' | '.join(others)} |\n|---|{'--:|' * len(others)}")
    for label in labels:
        cells = [told(*difference(own[label], noisy[label])) for noisy in others.values()]
        print(f"| {label} | {' | '.join(cells)} |")


def told(share: float, levels: int, white: float) -> str:
    """Return one cell of the table."""
    if white == 0:
        return "same bits"
    return f"{share:.2g}, {levels} ({255 * white:.1g})"


if __name__ == "__main__":
    main()
