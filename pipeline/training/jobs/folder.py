"""The folder of a training: whose it is, and its report while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline.building.progress import Style, tell
from pipeline.manifest.diff import manifest_difference
from pipeline.storage import publish
from pipeline.training.engine.loop import TrainingProgress

__all__ = ["page_writer", "remember"]

_PAGE_EVERY_S = 60.0


def remember(folder: Path, now: Mapping[str, Any], *, free: Collection[str]) -> None:
    """Note whose training a folder holds; refuse to go on with that of another manifest.

    Args:
        folder: Of the training.
        now: What makes the training no other one, JSON values.
        free: Keys of former notes that may differ.

    Raises:
        ValueError: If the folder holds another training; the message says what differs.
    """
    note = folder / "manifest.json"
    if note.is_file() and (folder / "checkpoint.pt").is_file():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{note} is damaged ({error}), so it is not known whose training {folder} holds. "
                "Give output.path another folder, or delete this one."
            ) from error
        lines = manifest_difference({k: v for k, v in before.items() if k not in free}, now)
        if lines:
            raise ValueError(
                f"{folder} holds the training of another manifest. What differs:\n  "
                + "\n  ".join(lines)
                + "\nGive output.path another folder, or delete this one."
            )
    publish(str(folder), note.name, json.dumps(now, indent=1).encode())


def page_writer(write: Callable[[], object], style: Style) -> Callable[[TrainingProgress], None]:
    """Return what renews a report now and then while the training runs.

    Args:
        write: Writes the report.
        style: How progress is shown.
    """
    written = time.monotonic()

    def renew(progress: TrainingProgress) -> None:
        nonlocal written
        if progress.step == progress.steps or time.monotonic() - written < _PAGE_EVERY_S:
            return
        try:
            write()
        except Exception as error:  # a page is not worth a training
            tell(style, f"the report was not renewed ({error}); the training goes on")
        written = time.monotonic()

    return renew
