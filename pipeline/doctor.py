"""Look at the machine before it is asked to work: what is there, what is missing, what to do.

Each check is a function that returns one :class:`Check` and never raises for what it finds: a
broken driver or a missing module is a finding. Nothing is started and no network is used; all of
them together take about as long as importing torch and Ray.

    ok     fine, or not needed
    warn   noisemill works, but slower or with less than it could have
    fail   a run will not work until this is mended
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Check", "Status", "examine", "worst"]

Status = Literal["ok", "warn", "fail"]

GIB = 2**30
# Ray's idle processes take about 1.2 GiB, one NAFlow actor about 1 GiB more.
MEMORY_FAIL, MEMORY_WARN = 1.5 * GIB, 4 * GIB
DISK_FAIL, DISK_WARN = 0.5 * GIB, 5 * GIB
# Above this share Ray stops spilling objects and a run that needs it stands still.
DISK_FULL = 0.95
# Ray's object store asks for 30 % of the memory, in shared memory.
OBJECT_STORE_SHARE = 0.3
# A Unix socket's path has at most 107 bytes; Ray's are this much longer than its folder.
SOCKET_PATH, SOCKET_TAIL = (
    107,
    len("/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    Args:
        name: What was looked at.
        status: ``ok``, ``warn`` or ``fail``.
        detail: What was found, one line.
        fix: What to do about it; empty if ``ok``.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the finding as JSON scalars."""
        return asdict(self)


def examine(folder: str | Path | None = None) -> list[Check]:
    """Run every check.

    Args:
        folder: Where corpora will go, to look at its disk; the working directory if absent.

    Returns:
        One finding a check, in a fixed order.
    """
    output = Path(folder) if folder is not None else Path.cwd()
    scratch = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    checks: list[Callable[[], Check]] = [
        lambda: check_python(sys.version_info[:2], 64 if sys.maxsize > 2**32 else 32),
        lambda: check_imports(("cv2", "h5py", "pyarrow", "safetensors", "skimage", "tifffile")),
        check_torch,
        check_gpus,
        check_ray,
        check_job_client,
        lambda: check_cpus(available_cpus(), quota_cpus()),
        lambda: check_memory(total_memory()),
        lambda: check_shared_memory(Path("/dev/shm"), total_memory()),
        lambda: check_folder("temporary folder", scratch),
        lambda: check_socket_paths(scratch),
        lambda: check_folder("output folder", output),
        lambda: check_weights(_weight_folders()),
    ]
    return [check() for check in checks]


def worst(checks: Sequence[Check]) -> Status:
    """Return the gravest status among findings; ``ok`` for none."""
    order: tuple[Status, ...] = ("fail", "warn", "ok")
    return next((status for status in order if any(c.status == status for c in checks)), "ok")


def check_python(version: tuple[int, int], bits: int) -> Check:
    """Look at the interpreter: 3.11 or newer, 64 bit.

    Args:
        version: Its version, major and minor.
        bits: Size of its pointers.
    """
    detail = f"Python {version[0]}.{version[1]}, {bits} bit, {platform.platform(terse=True)}"
    if version < (3, 11):
        fix = "Install Python 3.11 or newer."
        return Check(name="python", status="fail", detail=detail, fix=fix)
    if bits < 64:
        return Check(name="python", status="fail", detail=detail, fix="Use a 64-bit Python.")
    return Check(name="python", status="ok", detail=detail)


def check_imports(modules: Sequence[str]) -> Check:
    """Import each module; a wheel for another machine fails here, not in the middle of a run."""
    broken: list[str] = []
    for module in modules:
        try:
            importlib.import_module(module)
        # A wheel may fail in any way it likes while it loads.
        except Exception as error:
            broken.append(f"{module} ({error})")
    if broken:
        fix = "Install again: pip install --force-reinstall noisemill."
        if any(name.startswith("cv2") for name in broken):
            fix += " For OpenCV without libGL: pip uninstall opencv-python; pip install "
            fix += "opencv-python-headless."
        return Check(name="packages", status="fail", detail="; ".join(broken), fix=fix)
    return Check(name="packages", status="ok", detail=f"{', '.join(modules)} load")


def check_torch() -> Check:
    """Look at torch: version, threads, and whether bfloat16 is fast on this CPU."""
    try:
        import torch
    except Exception as error:
        return Check(
            name="torch", status="fail", detail=str(error), fix="Install it: pip install torch."
        )
    # Newer than the oldest torch allowed; where it is missing nothing is known.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = [
        label
        for key, label in (("amx_bf16", "AMX bf16"), ("avx512_bf16", "AVX512 bf16"))
        if capabilities.get(key)
    ]
    detail = (
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, "
        f"{' and '.join(fast) if fast else 'no fast bf16 on this CPU'}"
    )
    return Check(name="torch", status="ok", detail=detail)


def check_gpus() -> Check:
    """List the GPUs torch can use, and say so if the machine has one that torch cannot."""
    try:
        import torch
    except Exception as error:
        return Check(name="gpus", status="warn", detail=str(error), fix="Install torch first.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [
            f"{p.name} ({p.total_memory / GIB:.0f} GiB)"
            for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
    if found:
        return Check(name="gpus", status="ok", detail=", ".join(found))
    if Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi"):
        reason = str(caught[0].message).splitlines()[0] if caught else "torch sees none"
        return Check(
            name="gpus",
            status="warn",
            detail=f"this machine has an NVIDIA driver, but {reason}",
            fix="Install a CUDA build of torch that fits the driver (pytorch.org/get-started).",
        )
    return Check(name="gpus", status="ok", detail="none; generators run on the CPU")


def check_ray() -> Check:
    """Look at Ray: whether it loads, and its version."""
    try:
        import ray
    except Exception as error:
        return Check(
            name="ray",
            status="fail",
            detail=str(error),
            fix="Install it: pip install 'ray[data]'. Until then, run with --inline.",
        )
    return Check(name="ray", status="ok", detail=f"ray {ray.__version__}")


def check_job_client() -> Check:
    """Check that ``noisemill submit`` has what it needs."""
    missing = [m for m in ("aiohttp", "requests") if importlib.util.find_spec(m) is None]
    if missing:
        detail = f"not installed ({', '.join(missing)}); only `noisemill submit` needs it: "
        return Check(
            name="job client", status="ok", detail=detail + "pip install 'noisemill[jobs]'"
        )
    return Check(name="job client", status="ok", detail="installed")


def check_cpus(cpus: int, quota: float | None) -> Check:
    """Compare the CPUs this process may run on with its share of time.

    Args:
        cpus: CPUs in the process's affinity.
        quota: CPUs' worth of time the container allows; None if unlimited.
    """
    detail = f"{cpus} CPUs"
    if quota is not None and quota < cpus:
        return Check(
            name="cpus",
            status="warn",
            detail=f"{detail}, but the container may use only {quota:g} of them",
            fix=f"Set resources.actors and resources.threads so that their product is at most "
            f"{max(1, int(quota))}.",
        )
    if cpus < 2:
        return Check(
            name="cpus",
            status="warn",
            detail="1 CPU; Ray needs one beside the generator's actor",
            fix="Run with --inline, or give the machine a second CPU.",
        )
    return Check(name="cpus", status="ok", detail=detail)


def check_memory(total: float) -> Check:
    """Look at the memory this process may use, in bytes."""
    detail = f"{total / GIB:.1f} GiB"
    if total < MEMORY_FAIL:
        fix = f"Give the machine or container at least {MEMORY_WARN / GIB:.0f} GiB."
        return Check(name="memory", status="fail", detail=detail, fix=fix)
    if total < MEMORY_WARN:
        fix = "Use one actor and small batches (resources.actors=1), or --inline."
        return Check(name="memory", status="warn", detail=detail, fix=fix)
    return Check(name="memory", status="ok", detail=detail)


def check_shared_memory(mount: Path, total: float) -> Check:
    """Compare the shared memory with what Ray's object store will ask for.

    Args:
        mount: Where shared memory is mounted.
        total: Memory of the machine, bytes.
    """
    if not mount.exists():
        return Check(name="shared memory", status="ok", detail=f"no {mount} on this system")
    usage = shutil.disk_usage(mount)
    wanted = OBJECT_STORE_SHARE * total
    detail = f"{mount}: {usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free"
    if usage.free < wanted:
        return Check(
            name="shared memory",
            status="warn",
            detail=f"{detail}; Ray asks for {wanted / GIB:.1f} and will use the disk instead",
            fix=f"Start the container with --shm-size={wanted / GIB + 0.5:.0f}g.",
        )
    return Check(name="shared memory", status="ok", detail=detail)


def check_folder(name: str, folder: Path) -> Check:
    """Write a file where files will be written, and look at the space there.

    Args:
        name: What the folder is for.
        folder: The folder, or one that is yet to be made.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"noisemill")
            file.flush()
        usage = shutil.disk_usage(existing)
    except OSError as error:
        fix = "Choose another folder, or mend its permissions."
        return Check(name=name, status="fail", detail=f"{existing}: {error.strerror}", fix=fix)
    full = 1.0 - usage.free / usage.total
    detail = f"{existing}: {usage.free / GIB:.1f} GiB free, {full:.0%} full"
    if usage.free < DISK_FAIL:
        return Check(name=name, status="fail", detail=detail, fix="Make room on this disk.")
    if usage.free < DISK_WARN or full > DISK_FULL:
        fix = f"Make room: Ray stops using a disk that is {DISK_FULL:.0%} full."
        return Check(name=name, status="warn", detail=detail, fix=fix)
    return Check(name=name, status="ok", detail=detail)


def check_socket_paths(scratch: Path) -> Check:
    """Return True if the paths of Ray's sockets fit into what the system allows."""
    longest = len(os.fsencode(scratch)) + SOCKET_TAIL
    if longest > SOCKET_PATH:
        return Check(
            name="ray sockets",
            status="fail",
            detail=f"{scratch} is too long: sockets in it would have {longest} bytes in their "
            f"names, {SOCKET_PATH} are allowed",
            fix="Set RAY_TMPDIR to a short path such as /tmp.",
        )
    return Check(name="ray sockets", status="ok", detail=f"{longest} of {SOCKET_PATH} bytes")


def check_weights(folders: Sequence[Path]) -> Check:
    """Compare each bundled weights file with the checksum in the card beside it."""
    files = sorted(file for folder in folders for file in folder.glob("*.safetensors"))
    bad = [f"{file.name}: {fault}" for file in files if (fault := _weights_fault(file))]
    if bad:
        fix = "Install again: pip install --force-reinstall noisemill."
        return Check(name="weights", status="fail", detail="; ".join(bad), fix=fix)
    if not files:
        fix = "Install again, or name weights of your own in the manifest."
        return Check(name="weights", status="warn", detail="none are bundled", fix=fix)
    return Check(
        name="weights", status="ok", detail=", ".join(f.name for f in files) + " as on their cards"
    )


def available_cpus() -> int:
    """Return how many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota_cpus(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the CPUs' worth of time the container allows, or None if it sets no limit."""
    modern = _read(root / "cpu.max").split()
    if len(modern) == 2 and modern[0] != "max":
        return int(modern[0]) / int(modern[1])
    quota, period = _read(root / "cpu/cpu.cfs_quota_us"), _read(root / "cpu/cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def total_memory(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory this process may use, in bytes: the machine's, or its container's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _read(root / name)
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def _weight_folders() -> list[Path]:
    root = Path(__file__).resolve().parents[1]
    return [root / package / "weights" for package in ("generators", "denoisers")]


def _weights_fault(file: Path) -> str:
    """Return what is wrong with a weights file, or nothing."""
    cards = [c for c in sorted(file.parent.glob(f"{file.stem}.*")) if c != file]
    if not cards:
        return "it has no card beside it"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if not any(digest in card.read_text(encoding="utf-8", errors="replace") for card in cards):
        return "its SHA-256 is not the one on its card"
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
