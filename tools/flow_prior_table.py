"""The published table of flow-prior denoising: PSNR, SSIM and MSE by noise level and beta.

    python tools/flow_prior_table.py PRIOR.safetensors --data ../shared/data

Crops of CBSD68, one from the middle of each photograph, get white Gaussian noise (unclipped) and
are denoised with a Glow prior. PSNR and SSIM are KAIR's convention (clipped, rounded to 8 bits),
means over crops; MSE is of unclipped values, times 100, mean +- standard deviation over crops, as
printed there. Table J of the published work, PSNR at sigma .025/.05/.1/.2: noisy 35.5/29.5/23.5/
17.5, best 39.4 (beta 2), 34.2 (2), 29.1 (4), 22.9 (1), with a prior of faces on faces; its stated
sigma and its PSNR do not belong to one scale, so rows compare by their gain over the noisy image.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

import denoisers
from denoisers.flow_prior import Start
from generators.seeds import patch_seed, standard_normal
from pipeline.images import read_pixels
from pipeline.measure.metrics.quality import psnr, ssim

SIGMAS = (0.025, 0.05, 0.1, 0.2)
BETAS = (1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Cell:
    """One cell of the table; ``beta`` 0 is the noisy image."""

    sigma: float
    beta: float
    psnr: float
    ssim: float
    mse: float
    mse_deviation: float


def crops_of(folder: Path, side: int, most: int) -> Tensor:
    """Return the middle of each photograph, ``(B, 3, side, side)``."""
    files = sorted(folder.glob("*.png"))
    if not files:
        raise FileNotFoundError(f"there are no PNG files in {folder}; give --data.")
    # Spread over the folder, so that few crops are not all of one kind.
    files = files[:: max(1, len(files) // most)][:most]
    found = []
    for file in files:
        pixels = read_pixels(str(file))
        y, x = ((n - side) // 2 for n in pixels.shape[:2])
        found.append(pixels[y : y + side, x : x + side])
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255


def measured(sigma: float, beta: float, clean: Tensor, found: Tensor) -> Cell:
    """Return the cell of some estimates."""
    pairs = [
        (a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy())
        for a, b in zip(clean, found, strict=True)
    ]
    errors = 100 * (clean - found).double().square().mean(dim=(1, 2, 3))
    return Cell(
        sigma,
        beta,
        float(np.mean([psnr(a, b) for a, b in pairs])),
        float(np.mean([ssim(a, b) for a, b in pairs])),
        float(errors.mean()),
        float(errors.std()) if len(errors) > 1 else 0.0,
    )


def table(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield a Markdown table: a row for each beta, three columns for each sigma."""
    sigmas = list(dict.fromkeys(cell.sigma for cell in cells))
    yield "| | " + " | ".join(f"σ {s:g}: PSNR | SSIM | MSE ×100" for s in sigmas) + " |"
    yield "|---" * (1 + 3 * len(sigmas)) + "|"
    for beta in dict.fromkeys(cell.beta for cell in cells):
        row = [cell for cell in cells if cell.beta == beta]
        texts = [f"{c.psnr:.2f} | {c.ssim:.3f} | {c.mse:.3f} ± {c.mse_deviation:.3f}" for c in row]
        yield f"| {f'β = {beta:g}' if beta else 'noisy'} | {' | '.join(texts)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prior")
    parser.add_argument("--data", default=os.environ.get("NOISEMILL_DATA", "../shared/data"))
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--crops", type=int, default=68)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--sigmas", type=float, nargs="+", default=SIGMAS)
    parser.add_argument("--betas", type=float, nargs="+", default=BETAS)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--start", choices=get_args(Start), default="likelier")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clean = crops_of(Path(arguments.data) / "cbsd68", arguments.side, arguments.crops)
    seeds = [patch_seed(0, "flow-prior", str(number)) for number in range(len(clean))]
    normal = standard_normal(seeds, clean.shape[1:], "noise")
    cells = []
    for sigma in arguments.sigmas:
        noisy = clean + sigma * normal
        cells.append(measured(sigma, 0.0, clean, noisy))
        for beta in arguments.betas:
            started = time.monotonic()
            denoiser: Any = denoisers.load(
                arguments.prior,
                beta=beta,
                sigma=sigma,
                steps=arguments.steps,
                learning_rate=arguments.learning_rate,
                start=arguments.start,
            )
            found = torch.cat([denoiser(part) for part in noisy.split(arguments.batch)])
            cells.append(measured(sigma, beta, clean, found))
            seconds = time.monotonic() - started
            print(f"sigma {sigma:g}, beta {beta:g}: {cells[-1].psnr:.2f} dB, {seconds:.0f} s")
    print(f"\n{len(clean)} crops of {arguments.side}x{arguments.side}, {arguments.steps} steps")
    print("", *table(cells), sep="\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(cell) for cell in cells], indent=1))


if __name__ == "__main__":
    main()
