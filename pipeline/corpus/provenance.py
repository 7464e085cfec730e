"""With what a corpus was made, and when: versions, the revision, the hardware, the time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.version import __version__

__all__ = ["git_revision", "hardware", "software_versions", "utc_now"]

_PACKAGES = {
    "torch": ("torch",),
    "numpy": ("numpy",),
    "ray": ("ray",),
    "h5py": ("h5py",),
    "pyarrow": ("pyarrow",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
}


def software_versions() -> dict[str, str | None]:
    """Return the version of Python and of every package that touches pixels or files.

    Nothing is imported; a package that is not installed has ``None``.
    """
    versions = {name: _version(names) for name, names in _PACKAGES.items()}
    return {"noisemill": __version__, "python": platform.python_version(), **versions}


def git_revision() -> str | None:
    """Return the commit of the checkout that this package runs from, ``-dirty`` if it is changed.

    ``None`` for an installed package: a repository further up is somebody else's.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    return commit + ("-dirty" if changes else "") if commit else None


def hardware(gpus: Sequence[str] = ()) -> dict[str, object]:
    """Return the CPU model and cores of this machine, and the GPUs that did the work.

    Args:
        gpus: Names of the GPUs; the caller knows which machines of a cluster were used.
    """
    return {"cpu": _cpu_model(), "cores": os.cpu_count() or 1, "gpus": list(gpus)}


def _version(distributions: Sequence[str]) -> str | None:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def utc_now() -> str:
    """Return the time as ``2026-01-31T12:00:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
