"""The tree of errors: ``except noisemill.Error`` catches whatever noisemill refuses or fails at.

Each has ``what``, ``where``, ``expected``, ``what_to_do`` and a stable ``code``; ``str(error)``
says all of it.
"""

from __future__ import annotations

from pipeline.errors import (
    DatasetError,
    ImageError,
    InputError,
    InternalError,
    JobError,
    ManifestChangedError,
    MemoryExhaustedError,
    NotACorpusError,
    NotFoundError,
    PackageError,
    PlanError,
    RejectBudgetError,
    RunError,
    StorageError,
    UnknownNameError,
    WorkerError,
    WrongTypeError,
)
from pipeline.errors import NoisemillError as Error
from pipeline.manifest.mistakes import ManifestError

__all__ = [
    "DatasetError",
    "Error",
    "ImageError",
    "InputError",
    "InternalError",
    "JobError",
    "ManifestChangedError",
    "ManifestError",
    "MemoryExhaustedError",
    "NotACorpusError",
    "NotFoundError",
    "PackageError",
    "PlanError",
    "RejectBudgetError",
    "RunError",
    "StorageError",
    "UnknownNameError",
    "WorkerError",
    "WrongTypeError",
]
