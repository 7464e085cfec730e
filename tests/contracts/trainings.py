"""Manifests of trainings of six steps, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def six_steps(kind: str, output: Path, changes: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """Return a training of six steps of four crops; changes of a mapping are merged into it."""
    data: dict[str, Any] = {
        "kind": kind,
        "name": "tiny",
        "seed": 5,
        "schedule": {"steps": 6, "batch_size": 4, "threads": 1, "ema": 0.9},
        "checkpoint_every": 2,
        "log_every": 1,
        "output": {"path": str(output)},
        "license": "CC0-1.0",
        "report": False,
        **values,
    }
    for key, value in changes.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return data
