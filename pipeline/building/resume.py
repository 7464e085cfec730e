"""What an output folder already holds: nothing, the same plan unfinished, or something else.

The plan's hash and its recipe are remembered before the first shard (``_records/plan.json``), so
a changed manifest is recognised even after an interruption, and shown as differences.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.building.plan import Plan
from pipeline.building.recipe import recipe_of
from pipeline.corpus.formats import shard_folders
from pipeline.corpus.index import INDEX_NAME, is_corpus, load_corpus
from pipeline.corpus.shard_records import (
    PLAN_NOTE,
    RECORDS,
    ShardRecord,
    done_shards,
    sweep_orphans,
)
from pipeline.errors import ManifestChangedError, NotACorpusError
from pipeline.manifest.diff import manifest_difference
from pipeline.manifest.models import CorpusManifest
from pipeline.storage import (
    DatasetError,
    StorageError,
    exists,
    is_temporary,
    list_files,
    publish,
    read_bytes,
    remove,
)

__all__ = [
    "Resumed",
    "look_at_output",
    "refuse_foreign",
    "remember_plan",
]

_OUR_FILES = (INDEX_NAME, "rejected.jsonl", "report.html", "gallery.png", "README.md")


@dataclass(frozen=True, slots=True)
class Resumed:
    """Shards that need not be made again, by number, and temporary files that were swept."""

    done: dict[int, ShardRecord]
    swept: list[str]


def refuse_foreign(root: str) -> None:
    """Refuse a folder that holds something and is neither a corpus nor one unfinished.

    Called before anything is written there, a lock included.

    Raises:
        NotACorpusError: If it holds foreign files only.
    """
    if exists(root, PLAN_NOTE) or is_corpus(root):
        return
    files = list_files(root)
    if any(file.startswith(f"{RECORDS}/") for file in files):
        return
    foreign = [file for file in files if file != ".lock" and not is_temporary(file)]
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise NotACorpusError(
            f"{root} is not empty and not a corpus (it holds {', '.join(foreign[:3])}{more}); "
            "give output.path a new or empty folder."
        )


def look_at_output(root: str, plan: Plan, manifest: CorpusManifest, *, overwrite: bool) -> Resumed:
    """Decide what an output folder means for a run.

    Args:
        root: Folder or URL.
        plan: The plan about to run.
        manifest: Its manifest.
        overwrite: Remove a corpus of another manifest instead of refusing.

    Raises:
        ManifestChangedError: If the folder belongs to another manifest and may not be overwritten.
        NotACorpusError: If the folder holds foreign files.
    """
    refuse_foreign(root)
    remembered = _remembered(root)
    if remembered is not None and remembered["plan_sha256"] != plan.sha256:
        if not overwrite:
            raise ManifestChangedError(_difference(root, remembered, manifest))
        _clear(root, list_files(root))
    swept = sweep_orphans(root)
    return Resumed(done_shards(root, plan.sha256), swept)


def remember_plan(root: str, plan: Plan, manifest: CorpusManifest) -> None:
    """Write down which plan the output belongs to, before its first shard."""
    note = {"plan_sha256": plan.sha256, "recipe": recipe_of(manifest)}
    if _note(root) != note:
        publish(root, PLAN_NOTE, json.dumps(note, indent=1).encode())


def _remembered(root: str) -> dict[str, Any] | None:
    """Return what the output says of its plan: its note, its index, or any of its records."""
    note = _note(root)
    if note is not None:
        return note
    # A damaged note is no reason to lose shards, nor to mix those of two plans.
    with suppress(DatasetError, StorageError, FileNotFoundError):
        if is_corpus(root):
            return {"plan_sha256": load_corpus(root).plan_sha256, "recipe": None}
    for name in list_files(root):
        if name.startswith(f"{RECORDS}/") and name != PLAN_NOTE:
            with suppress(ValueError, KeyError, TypeError, StorageError):
                found = json.loads(read_bytes(root, name))["plan_sha256"]
                return {"plan_sha256": str(found), "recipe": None}
    return None


def _note(root: str) -> dict[str, Any] | None:
    if not exists(root, PLAN_NOTE):
        return None
    try:
        note = json.loads(read_bytes(root, PLAN_NOTE))
        return {"plan_sha256": str(note["plan_sha256"]), "recipe": dict(note["recipe"])}
    except (ValueError, KeyError, TypeError, StorageError):
        return None


def _difference(root: str, remembered: dict[str, Any], manifest: CorpusManifest) -> str:
    if remembered["recipe"] is None:
        lines = ["its manifest, which is not remembered there"]
    else:
        lines = manifest_difference(remembered["recipe"], recipe_of(manifest)) or [
            "the photographs, the weights or a generator's revision (the manifest is the same)"
        ]
    shown = "".join(f"\n  {line}" for line in lines)
    return (
        f"{root} was made by another manifest. What differs:{shown}\n"
        "Give output.path another folder, or add --overwrite to replace what is there."
    )


def _clear(root: str, files: list[str]) -> None:
    """Remove our own files; if that is interrupted, the rest is still known as ours.

    The index goes first, so that no reader takes the rest for a corpus, the note of the plan last.
    """
    folders = tuple(f"{folder}/" for folder in (*shard_folders(), RECORDS))
    ours = [f for f in files if f.startswith(folders) or f in _OUR_FILES]
    for path in sorted(ours, key=lambda f: (f == PLAN_NOTE, f != INDEX_NAME)):
        remove(root, path)
