"""The loop is told what the manifest says: no setting is left out on the way."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest.models import TrainDenoiserManifest, TrainGeneratorManifest
from pipeline.training.engine.schedule import LoopSettings
from pipeline.training.jobs.schedule import loop_settings
from tests.contracts.trainings import six_steps

# No default of the loop or of a manifest.
SCHEDULE: dict[str, Any] = {
    "steps": 70,
    "learning_rate": 0.25,
    "final_learning_rate": 0.125,
    "warmup_steps": 3,
    "decay": "milestones",
    "milestones": [20, 40],
    "factor": 0.75,
    "betas": (0.5, 0.75),
    "weight_decay": 0.0625,
    "clip_norm": 2.0,
    "ema": 0.5,
}
SOURCES = [{"type": "images", "path": "somewhere"}]
DENOISER = {"data": {"inputs": [{"corpus": "c"}]}}
GENERATOR = {"data": {"sources": SOURCES}}


def settings(kind: str, tmp_path: Path, **changes: Any) -> LoopSettings:
    model = TrainDenoiserManifest if kind == "train-denoiser" else TrainGeneratorManifest
    own = {"checkpoint_every": 7, "log_every": 9}
    values = six_steps(kind, tmp_path, changes, **own)
    return loop_settings(model.model_validate(values))


@pytest.mark.parametrize(
    ("kind", "data", "optimizer"),
    [
        ("train-generator", GENERATOR, {}),
        ("train-denoiser", DENOISER, {"optimizer": "adamw"}),
    ],
)
def test_every_setting_of_the_loop_is_the_manifests(
    tmp_path: Path, kind: str, data: dict[str, Any], optimizer: dict[str, str]
) -> None:
    validation = {"sources": SOURCES, "every": 11}
    told = settings(kind, tmp_path, schedule=SCHEDULE | optimizer, validation=validation, **data)
    wanted = SCHEDULE | {"optimizer": "adam"} | optimizer
    wanted |= {"checkpoint_every": 7, "log_every": 9, "validate_every": 11}
    assert {field.name: getattr(told, field.name) for field in fields(told)} == wanted


def test_validation_comes_at_the_end_unless_the_manifest_says_when(tmp_path: Path) -> None:
    end = settings("train-generator", tmp_path, validation={"sources": SOURCES}, **GENERATOR)
    assert end.validate_every == end.steps
    assert settings("train-generator", tmp_path, **GENERATOR).validate_every is None
