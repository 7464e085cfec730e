"""Score raw noise models on the simulated camera: NLL a dimension, KLD and AKLD.

    python tools/score_raw.py [NAME=WEIGHTS ...] [--batches N]

Every model is measured on the same batches: the validation data of
``manifests/train-noise-flow-simulated.yaml`` (a photograph and noise that no model was trained on).
NLL is that of the real noise given the clean image, nats a dimension, in units of the white level.
AWGN has one level for each camera and ISO, measured on the training data.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch

import generators
from generators.base import NoiseContext, NoiseRequest
from generators.seeds import patch_seed, standard_normal
from generators.training import TrainingBatch, image
from generators.weights_file import find, load_header
from pipeline.manifest.load import load_manifest
from pipeline.manifest.models import TrainGeneratorManifest
from pipeline.measure.metrics import KldConvention, akld, kld
from pipeline.training.data.batches import Batches
from pipeline.training.jobs.generator_data import make_batches

MANIFEST = "train-noise-flow-simulated"
DEFAULT = ("nlf-simulated", "noise-flow-simulated", "noise2noise-flow-simulated")


class Gaussian:
    """One level for each camera and ISO, whatever the brightness."""

    def __init__(self, data: Batches, batches: int) -> None:
        squares = defaultdict[int, list[float]](list)
        for step in range(batches):
            batch = data.batch(step)
            noise = image(batch, "noisy") - image(batch, "clean")
            for label, row in zip(batch.labels.tolist(), noise, strict=True):
                squares[label].append(float(row.square().mean()))
        self._levels = {label: float(np.mean(found)) ** 0.5 for label, found in squares.items()}

    def nll(self, batch: TrainingBatch) -> list[float]:
        """Return nats a dimension of each row."""
        noise = image(batch, "noisy") - image(batch, "clean")
        return [
            0.5 * math.log(2 * math.pi * s * s) + float(row.square().mean()) / (2 * s * s)
            for row, s in zip(noise, self._scales(batch), strict=True)
        ]

    def noisy(self, batch: TrainingBatch, seeds: list[int]) -> torch.Tensor:
        """Return one sample a row."""
        clean = image(batch, "clean")
        eps = standard_normal(seeds, clean.shape[1:], "noise")
        return clean + eps * torch.tensor(self._scales(batch))[:, None, None, None]

    def _scales(self, batch: TrainingBatch) -> list[float]:
        return [self._levels[label] for label in batch.labels.tolist()]


class Trained:
    """A generator with a density, from weights."""

    def __init__(self, weights: str) -> None:
        path = find(weights)
        made = generators.create(load_header(path).family, params={}, weights=path)
        self._generator = made

    def nll(self, batch: TrainingBatch) -> list[float]:
        """Return nats a dimension of each row."""
        clean, noisy = image(batch, "clean"), image(batch, "noisy")
        context = NoiseContext(clean=clean, capture=batch.capture)
        density = self._generator.log_prob(noisy, context)  # type: ignore[attr-defined]
        return [-float(value) / noisy[0].numel() for value in density]

    def noisy(self, batch: TrainingBatch, seeds: list[int]) -> torch.Tensor:
        """Return one sample a row."""
        context = NoiseContext(clean=image(batch, "clean"), capture=batch.capture)
        return self._generator.sample(NoiseRequest(context=context, seeds=seeds)).noisy


def score(model: Gaussian | Trained, data: Batches, batches: int) -> Mapping[str, float]:
    """Return means over all rows."""
    found = defaultdict[str, list[float]](list)
    with torch.inference_mode():
        for step in range(batches):
            batch = data.batch(step)
            clean, noisy = image(batch, "clean"), image(batch, "noisy")
            seeds = [patch_seed(step, "score", str(row)) for row in range(len(clean))]
            found["nll"] += model.nll(batch)
            made = model.noisy(batch, seeds)
            for row in range(len(clean)):
                real, fake = (
                    (x[row] - clean[row]).double().permute(1, 2, 0).numpy() for x in (noisy, made)
                )
                found["kld"].append(kld(real, fake, KldConvention.NOISE2NOISEFLOW))
                found["akld"].append(akld(real, fake))
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=DEFAULT, metavar="NAME=WEIGHTS")
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--manifest", default=MANIFEST)
    arguments = parser.parse_args()
    manifest = load_manifest(arguments.manifest).manifest
    assert isinstance(manifest, TrainGeneratorManifest)
    assert manifest.validation is not None
    data, held_out = (
        make_batches(part, use="pairs", domain="raw", size=32, seed=seed)[0]
        for part, seed in ((manifest.data, 11), (manifest.validation, 12))
    )
    models: dict[str, Gaussian | Trained] = {"AWGN by camera and ISO": Gaussian(data, 40)}
    for item in arguments.models:
        name, _, weights = item.partition("=")
        models[name] = Trained(weights or name)
    print("| model | NLL, nats/dim | KLD (noise2noiseflow) | AKLD (1 sample) |")
    print("|---|---|---|---|")
    for name, model in models.items():
        row = score(model, held_out, arguments.batches)
        print(f"| {name} | {row['nll']:.4f} | {row['kld']:.4f} | {row['akld']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
