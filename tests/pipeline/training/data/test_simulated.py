"""Simulated shots: a batch follows from its step, exposures share a scene, nothing is smuggled."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

import generators
from generators.training import DataUse, TrainingBatch
from pipeline.training.data.simulated import Device, SimulatedBatches
from pipeline.training.data.store import TrainingStore
from pipeline.training.data.training_image import TrainingImage

WEAK, STRONG = 5.0, 20.0


@pytest.fixture(scope="module")
def store() -> TrainingStore:
    rng = np.random.default_rng(3)
    images = [
        TrainingImage(
            clean=rng.integers(60, 180, (40, 48, 3), dtype=np.uint8), camera="", iso=0, scene=name
        )
        for name in ("a", "b")
    ]
    return TrainingStore(images, patch=16, max_offset=None, window=16)


def awgn(camera: str, *isos: int, sigma: float = WEAK, domain: str = "srgb") -> Device:
    made = generators.create("awgn", params={"sigma": sigma, "domain": domain})
    return Device(camera=camera, isos=isos, generator=made)


def phone(output: str) -> Device:
    made = generators.create("camera", params={"iso": "shot", "output": output})
    return Device(camera="phone", isos=(400, 3200), generator=made)


def batches(
    store: TrainingStore, *devices: Device, use: DataUse = "pairs", size: int = 8, seed: int = 5
) -> SimulatedBatches:
    return SimulatedBatches(
        store, list(devices), size=size, seed=seed, augmentation="flips", use=use
    )


def noise_of(batch: TrainingBatch) -> torch.Tensor:
    assert batch.clean is not None
    assert batch.noisy is not None
    return batch.noisy - batch.clean


def test_a_batch_follows_from_seed_and_step_alone(store: TrainingStore) -> None:
    devices = awgn("weak", 100, 200), awgn("strong", 100, sigma=STRONG)
    first, again = (batches(store, *devices).batch(7) for _ in range(2))
    assert first.capture == again.capture
    for name in ("clean", "noisy", "labels"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    other_step = batches(store, *devices).batch(8)
    other_seed = batches(store, *devices, seed=6).batch(7)
    for other in (other_step, other_seed):
        assert not torch.equal(noise_of(first), noise_of(other))


@pytest.mark.parametrize(
    ("use", "carried"),
    [
        ("pairs", {"clean", "noisy"}),
        ("noisy-pairs", {"noisy", "second"}),
        ("single-noisy", {"noisy"}),
        ("clean", {"clean"}),
    ],
)
def test_a_batch_carries_what_its_use_may_see_and_nothing_else(
    store: TrainingStore, use: DataUse, carried: set[str]
) -> None:
    batch = batches(store, awgn("weak", 100), use=use).batch(0)
    there = {n for n in ("clean", "noisy", "second") if getattr(batch, n) is not None}
    assert there == carried


def test_two_exposures_share_the_scene_and_differ_in_noise(store: TrainingStore) -> None:
    device = awgn("strong", 100, sigma=STRONG)
    clean = batches(store, device).batch(3).clean
    pair = batches(store, device, use="noisy-pairs").batch(3)
    one, other = (image - clean for image in (pair.noisy, pair.second))
    sigma, n = STRONG / 255, one.numel()
    for noise in (one, other):
        assert abs(float(noise.std()) / sigma - 1) < 5 / (2 * n) ** 0.5
    # Independent: their correlation is that of chance, 1 / sqrt(n).
    assert abs(float((one * other).mean()) / sigma**2) < 5 / n**0.5


@pytest.mark.parametrize("output", ["raw", "srgb"])
def test_two_exposures_of_a_simulated_camera_are_developed_alike(
    store: TrainingStore, output: str
) -> None:
    devices = phone(output)
    alone = batches(store, devices).batch(3)
    pair = batches(store, devices, use="noisy-pairs").batch(3)
    assert pair.clean is None
    assert torch.equal(pair.noisy, alone.noisy)
    one, other = noise_of(alone), pair.second - alone.clean
    assert not torch.equal(one, other)
    scale = (one.std() * other.std()).item()
    # Had the two drawn their own development, what they share would dwarf the noise.
    assert abs(float((one * other).mean())) / scale < 0.15
    assert 0.5 < float(one.std() / other.std()) < 2
    assert alone.clean.shape == ((8, 4, 8, 8) if output == "raw" else (8, 3, 16, 16))
    assert batches(store, devices).channels == alone.clean.shape[1]


def test_rows_are_even_over_all_cameras_and_isos(store: TrainingStore) -> None:
    many = batches(store, awgn("a", 100, 200, 400), awgn("b", 100), size=50)
    assert many.captures == (("a", 100), ("a", 200), ("a", 400), ("b", 100))
    found: Counter[tuple[str | None, int | None]] = Counter()
    for step in range(16):
        batch = many.batch(step)
        capture = list(zip(batch.capture.camera, batch.capture.iso, strict=True))
        assert [many.captures[label] for label in batch.labels] == capture
        found.update(capture)
    n, share = 800, 1 / 4
    bound = 5 * (n * share * (1 - share)) ** 0.5
    assert all(abs(found[capture] - n * share) < bound for capture in many.captures)


def test_each_row_has_the_noise_of_its_device(store: TrainingStore) -> None:
    two = batches(store, awgn("weak", 100), awgn("strong", 100, sigma=STRONG), size=16)
    batch = two.batch(0)
    assert set(batch.capture.camera) == {"weak", "strong"}
    levels = noise_of(batch).flatten(1).std(dim=1) * 255
    for camera, level in zip(batch.capture.camera, levels.tolist(), strict=True):
        expected = {"weak": WEAK, "strong": STRONG}[str(camera)]
        assert abs(level / expected - 1) < 5 / (2 * 768) ** 0.5


def test_devices_of_two_domains_and_shots_given_twice_are_refused(store: TrainingStore) -> None:
    with pytest.raises(ValueError, match="all give srgb or all give raw; they give raw and srgb"):
        batches(store, phone("srgb"), awgn("x", 100, domain="raw"))
    with pytest.raises(ValueError, match="they give nothing"):
        batches(store)
    with pytest.raises(ValueError, match="given twice"):
        batches(store, awgn("x", 100, 200), awgn("x", 200, sigma=STRONG))
