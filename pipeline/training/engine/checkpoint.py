"""Checkpoints: everything a training is, in one file that is either old or new, never half.

The file holds tensors and plain numbers only, so it loads with ``weights_only=True`` and cannot run
code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.storage import whole_file

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, replacing the previous one in one step.

    Args:
        path: Final name.
        state: Tensors, numbers, strings, lists and dicts of them.
    """
    # To an open file: given a name, torch writes it into the archive, and no two would be equal.
    with whole_file(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(state), file)


def load_checkpoint(path: Path, *, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        path: File written by :func:`save_checkpoint`.
        device: Where its tensors go.

    Raises:
        ValueError: If the file is no checkpoint of this project.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({error}); delete it to start anew."
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise ValueError(
            f"{path} is no checkpoint of a training; delete it or choose another folder."
        )
    return state
