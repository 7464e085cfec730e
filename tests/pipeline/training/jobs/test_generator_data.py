"""From a manifest's sources to batches: what does not fit is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generators.base import Domain
from generators.training import DataUse
from pipeline.manifest.models import TrainingData
from pipeline.training.data.batches import Batches
from pipeline.training.data.store import TrainingStore
from pipeline.training.data.training_image import TrainingImage
from pipeline.training.jobs.generator_data import check_held_out, make_batches

AWGN = {"camera": "toy", "isos": [100, 200], "generator": "awgn", "params": {"sigma": 10}}
RAW = {"camera": "phone", "isos": [800], "params": {"iso": "shot", "output": "raw"}}


def pairs(folder: Path) -> dict[str, Any]:
    named = {"clean": "*_mean.png", "noisy": "*_Real.png"}
    return {"type": "pairs", "path": str(folder), "camera": "X", "iso": 800, **named}


def images(folder: Path) -> dict[str, Any]:
    return {"type": "images", "path": str(folder)}


def two_shots(folder: Path) -> dict[str, Any]:
    shots = {"first": "*_mean.png", "second": "*_Real.png", "camera": "X", "iso": 800}
    return {"type": "noisy-pairs", "path": str(folder), **shots}


def make(
    source: dict[str, Any], *devices: dict[str, Any], use: DataUse, domain: Domain = "srgb"
) -> Batches:
    data = TrainingData.model_validate(
        {"sources": [source], "simulate": list(devices), "patch": 16}
    )
    return make_batches(data, use=use, domain=domain, size=2, seed=1)[0]


def test_pairs_serve_every_use_but_noisy_pairs(pair_folder: Path) -> None:
    for use, carried in (
        ("pairs", {"clean", "noisy"}),
        ("single-noisy", {"noisy"}),
        ("clean", {"clean"}),
    ):
        batch = make(pairs(pair_folder), use=use).batch(0)
        there = {n for n in ("clean", "noisy", "second") if getattr(batch, n) is not None}
        assert there == carried, use


def test_noisy_pairs_carry_no_clean_image(pair_folder: Path) -> None:
    batch = make(two_shots(pair_folder), use="noisy-pairs").batch(0)
    assert batch.clean is None
    assert batch.noisy is not None
    assert batch.second is not None


@pytest.mark.parametrize("use", ["pairs", "noisy-pairs", "single-noisy"])
def test_devices_make_what_photographs_lack(photo_folder: Path, use: DataUse) -> None:
    found = make(images(photo_folder), AWGN, use=use)
    assert found.captures == (("toy", 100), ("toy", 200))
    assert found.batch(0).noisy is not None
    raw = make(images(photo_folder), RAW, use=use, domain="raw")
    assert raw.channels == 4
    assert raw.batch(0).noisy.shape == (2, 4, 8, 8)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("pairs", "no clean/noisy pairs; use `type: pairs`"),
        ("noisy-pairs", "no noisy/noisy pairs; use `type: noisy-pairs`, bursts"),
        ("single-noisy", "no noisy images; use any kind of pairs"),
    ],
)
def test_sources_that_lack_what_the_use_needs_are_told(
    photo_folder: Path, use: DataUse, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make(images(photo_folder), use=use)


def test_pairs_have_no_second_shot_and_two_shots_no_clean_image(pair_folder: Path) -> None:
    with pytest.raises(ValueError, match="no noisy/noisy pairs"):
        make(pairs(pair_folder), use="noisy-pairs")
    with pytest.raises(ValueError, match="no clean/noisy pairs"):
        make(two_shots(pair_folder), use="pairs")
    with pytest.raises(ValueError, match="no clean images"):
        make(two_shots(pair_folder), AWGN, use="pairs")


def test_images_of_another_domain_are_refused_by_name(pair_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"desk_mean\.png is a srgb image .* needs raw ones"):
        make(pairs(pair_folder), use="pairs", domain="raw")


def test_devices_of_another_domain_are_refused(photo_folder: Path) -> None:
    source = images(photo_folder)
    with pytest.raises(ValueError, match=r"devices give srgb images .* trained on raw ones"):
        make(source, AWGN, use="pairs", domain="raw")
    with pytest.raises(ValueError, match=r"devices give raw images .* trained on srgb ones"):
        make(source, RAW, use="pairs")
    with pytest.raises(ValueError, match="all give srgb or all give raw"):
        make(source, AWGN, RAW, use="pairs")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator": "awgm"}, "Did you mean 'awgn'"),
        ({"params": {"sigmas": 10}}, "has no parameter 'sigmas'"),
        ({"weights": "naflow-polyu"}, "has no trained weights"),
        ({"params": {"sigma": 10, "domain": "raw"}}, "takes raw images, and devices shoot sRGB"),
        ({"generator": "naflow", "weights": "naflow-polyu", "params": {}}, "needs a noisy ref"),
    ],
)
def test_devices_that_cannot_shoot_are_refused(
    photo_folder: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make(images(photo_folder), AWGN | changes, use="pairs")


def test_validation_on_images_that_were_trained_on_is_refused() -> None:
    rng = np.random.default_rng(1)

    def store(*scenes: tuple[str, np.ndarray]) -> TrainingStore:
        made = [
            TrainingImage(clean=pixels, noisy=255 - pixels, camera="X", iso=1, scene=name)
            for name, pixels in scenes
        ]
        return TrainingStore(made, patch=8, max_offset=None, window=8)

    one, two, three = (rng.integers(0, 255, (16, 16, 3), dtype=np.uint8) for _ in range(3))
    training = store(("a", one), ("b", two))
    check_held_out(training, store(("a", three)))  # a name alone says nothing
    with pytest.raises(ValueError, match="validation: z is also trained on"):
        check_held_out(training, store(("y", three), ("z", two)))
