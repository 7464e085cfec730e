"""Recover known beta1 and beta2 of a simulated sensor: from pairs, from noisy pairs, jointly.

    python tools/nlf_recovery.py [--isos 400 1600 3200] [--objective balanced]

Scikit-image's photographs are taken back to the sensor, enlarged (a full-resolution raw file is
smooth at the scale of a pixel, a photograph shrunk for a web page is not), and shot twice. Then

    calibration     generators.nlf.calibration on clean/noisy and on noisy/noisy frames
    joint           Noise2NoiseFlow with a noise level function and a small DnCNN: no clean image

With the paper's objective the joint estimate holds the denoiser's squared error as well as the
noise; the last columns measure that error, so that it can be told from a mistake. With
``--objective balanced`` the two cancel in part (:mod:`generators.noise2noise_flow`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

import denoisers
from generators.capture import CaptureMetadata, configuration_name
from generators.isp import Rendering, mosaic, unprocess
from generators.joint_training import JointConfig
from generators.nlf.calibration import (
    Calibration,
    NoiseLevel,
    NoisyPairStatistics,
    PairStatistics,
    sensor_noise_level,
)
from generators.nlf.network import NLF, NLFConfig
from generators.noise2noise_flow import Noise2NoiseFlowTask
from generators.seeds import batch_rng, patch_seed
from generators.sensor import SENSORS, Sensor
from generators.training import TrainingBatch, image
from pipeline.images import read_pixels

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
PATCH, BATCH = 32, 8


def mosaics(enlarge: float) -> list[Tensor]:
    """Return the noiseless packed raw of each photograph, ``(1, 4, h, w)``."""
    rendering = Rendering.from_weights([[0.25] * 4], red=[2.1], blue=[1.7], brightness=[1.25])
    found = []
    for name in PHOTOGRAPHS:
        pixels = torch.from_numpy(read_pixels(f"skimage:{name}").copy())[..., :3]
        image = pixels.permute(2, 0, 1)[None].float() / 255.0
        if enlarge != 1:
            image = interpolate(image, scale_factor=enlarge, mode="bicubic").clamp(0, 1)
        height, width = (side // 2 * 2 for side in image.shape[2:])
        found.append(mosaic(unprocess(image[..., :height, :width], rendering)))
    return found


def calibrate(raws: Sequence[Tensor], sensor: Sensor, iso: int) -> tuple[Calibration, Calibration]:
    """Return what clean/noisy and what noisy/noisy frames tell."""
    shots = [
        [sensor.expose(raw, [iso], [patch_seed(k, str(i))]) for i, raw in enumerate(raws)]
        for k in range(2)
    ]
    ends = (
        [float(shot.min()) for row in shots for shot in row],
        [float(shot.max()) for row in shots for shot in row],
    )
    clip = min(ends[0]), max(ends[1])
    known, unknown = PairStatistics(clip), NoisyPairStatistics(clip)
    for raw, first, second in zip(raws, *shots, strict=True):
        known.add(raw, first)
        unknown.add(first, second)
    return known.fit(), unknown.fit()


def draw(
    raws: Sequence[Tensor], sensor: Sensor, camera: str, isos: Sequence[int], step: int
) -> tuple[TrainingBatch, Tensor]:
    """Return the noisy pairs of a step, and the clean images, which no training sees."""
    rng = batch_rng(1, step, "recovery")
    crops, speeds = [], []
    for _ in range(BATCH):
        raw = raws[int(rng.integers(len(raws)))]
        top, left = (int(rng.integers(side - PATCH + 1)) for side in raw.shape[2:])
        crops.append(raw[0, :, top : top + PATCH, left : left + PATCH])
        speeds.append(isos[int(rng.integers(len(isos)))])
    clean = torch.stack(crops)
    first, second = (
        sensor.expose(clean, speeds, [patch_seed(step, name, str(i)) for i in range(BATCH)])
        for name in ("first", "second")
    )
    batch = TrainingBatch(
        capture=CaptureMetadata(camera=(camera,) * BATCH, iso=tuple(speeds)),
        labels=torch.tensor([isos.index(iso) for iso in speeds]),
        noisy=first,
        second=second,
    )
    return batch, clean


def joint(
    raws: Sequence[Tensor], camera: str, isos: Sequence[int], args: argparse.Namespace
) -> Noise2NoiseFlowTask:
    """Train Noise2NoiseFlow with a noise level function on noisy pairs."""
    names = tuple(configuration_name(camera, iso) for iso in isos)
    denoiser = denoisers.create("dncnn", channels=4, seed=1, depth=args.depth, width=args.width)
    task = Noise2NoiseFlowTask(
        NLF(NLFConfig(configurations=names)),
        denoiser,
        JointConfig(noise_model="nlf", pretrain_steps=args.steps // 4),
        objective=args.objective,
        dtype=torch.bfloat16 if args.bf16 else torch.float32,
    )
    sensor = SENSORS[camera]
    task.module.train()
    task.module.get_submodule("denoiser").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task.initialise(draw(raws, sensor, camera, isos, 0)[0])
    optimiser = torch.optim.Adam(task.module.parameters(), lr=args.rate)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.steps)
    started = time.monotonic()
    for step in range(args.steps):
        optimiser.zero_grad(set_to_none=True)
        loss = task.loss(draw(raws, sensor, camera, isos, step)[0], step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        plan.step()
        if step % max(1, args.steps // 10) == 0:
            print(f"  step {step}, {time.monotonic() - started:.0f} s, loss {loss.item():.2f}")
    return task


@torch.no_grad()
def error_of(
    task: Noise2NoiseFlowTask, raws: Sequence[Tensor], camera: str, iso: int
) -> tuple[float, float]:
    """Return the denoiser's mean squared error over the noise's variance, in dark and in light."""
    task.module.eval()
    level = sensor_noise_level(SENSORS[camera], iso)
    sums = torch.zeros(2, 2)
    for step in range(20):
        batch, clean = draw(raws, SENSORS[camera], camera, [iso], 10**6 + step)
        error = (task.denoise(image(batch, "noisy")).clamp(0, 1) - clean).square()
        relative = error / (level.beta1 * clean + level.beta2)
        for row, part in enumerate((clean < 0.05, clean >= 0.05)):
            sums[row] += torch.stack([relative[part].sum(), part.sum()])
    dark, light = (sums[:, 0] / sums[:, 1]).tolist()
    return dark, light


def line(what: str, iso: int, found: NoiseLevel, true: NoiseLevel, rest: str = "") -> str:
    """Return a row of the table."""
    first, second = found.beta1 / true.beta1 - 1, found.beta2 / true.beta2 - 1
    return (
        f"{what:<14} {iso:>5}  {found.beta1:.3e} {first:+7.2%}  {found.beta2:.3e} {second:+7.2%}"
        f"  {rest}"
    )


def main() -> None:
    """Run the experiment and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--camera", choices=sorted(SENSORS), default="phone")
    parser.add_argument("--isos", type=int, nargs="+", default=[400, 1600, 3200])
    parser.add_argument("--enlarge", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--depth", type=int, default=9)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument(
        "--objective", choices=("crossed", "balanced", "difference"), default="crossed"
    )
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    raws = mosaics(args.enlarge)
    print("method           ISO  beta1                beta2")
    for iso in args.isos:
        true = sensor_noise_level(SENSORS[args.camera], iso)
        known, unknown = calibrate(raws, SENSORS[args.camera], iso)
        print(line("truth", iso, true, true))
        for what, found in (("clean/noisy", known), ("noisy/noisy", unknown)):
            errors = f"+-{found.error1 / true.beta1:.2%} +-{found.error2 / true.beta2:.2%}"
            print(line(what, iso, found.level, true, errors))
    if not args.steps:
        return
    task = joint(raws, args.camera, args.isos, args)
    model: Any = task.module.get_submodule("noise_model")
    for iso in args.isos:
        true = sensor_noise_level(SENSORS[args.camera], iso)
        found = model.levels()[configuration_name(args.camera, iso)]
        dark, light = error_of(task, raws, args.camera, iso)
        rest = f"denoiser's error / noise: {dark:.1%} in the dark, {light:.1%} elsewhere"
        print(line("joint", iso, found, true, rest))


if __name__ == "__main__":
    main()
