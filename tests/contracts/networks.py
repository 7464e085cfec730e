"""Small networks in weight files, for tests that want a file and not a good network."""

from __future__ import annotations

from pathlib import Path

from generators.naflow.network import NAFlow
from generators.weights_file import save_weights

__all__ = ["save_naflow"]


def save_naflow(path: Path, model: NAFlow, *, license: str = "CC0-1.0") -> Path:
    """Write a NAFlow into a weights file and return the path."""
    config, tensors = model.config.to_dict(), model.state_dict()
    save_weights(path, family="naflow", config=config, tensors=tensors, license=license)
    return path
