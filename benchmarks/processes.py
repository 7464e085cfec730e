"""Memory and CPU time of this process and of everything below it, read from Linux's ``/proc``.

Ray's workers map the object store, so the pages of a shard that passes through count as resident
in each of them. What a process holds for itself is its *anonymous* memory (``RssAnon``); both are
kept.
The kernel keeps no peak of anonymous memory, so a thread looks every few milliseconds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Usage", "Watch", "watching"]

_EVERY_S = 0.05
_FAMILY_EVERY = 10  # looks; listing every process of the machine takes milliseconds
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Usage:
    """What one process has used so far.

    Args:
        role: ``driver``, ``actor`` (generators), ``task`` (cut and write) or ``service``.
        private: Peak anonymous memory, bytes.
        resident: Peak resident memory with what is shared, bytes.
        cpu_s: CPU time, user and system.
    """

    role: str = "service"
    private: int = 0
    resident: int = 0
    cpu_s: float = 0.0


@dataclass(slots=True)
class Watch:
    """Every process seen, by its number."""

    processes: dict[int, Usage] = field(default_factory=dict)
    _family: list[int] = field(default_factory=list)
    _looks: int = 0

    def peaks(self) -> dict[str, dict[str, int]]:
        """Return the largest private and resident memory of a process of each role, bytes."""
        roles = sorted({usage.role for usage in self.processes.values()})
        return {
            role: {
                "private": max(u.private for u in self.processes.values() if u.role == role),
                "resident": max(u.resident for u in self.processes.values() if u.role == role),
            }
            for role in roles
        }

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time of each role so far."""
        total: dict[str, float] = {}
        for usage in self.processes.values():
            total[usage.role] = total.get(usage.role, 0.0) + usage.cpu_s
        return total

    def look(self) -> None:
        """Read the numbers of this process and of its descendants."""
        if self._looks % _FAMILY_EVERY == 0:
            self._family = _family(os.getpid())
        self._looks += 1
        for pid in self._family:
            try:
                self._read(pid)
            except OSError:
                continue  # it has just ended

    def _read(self, pid: int) -> None:
        folder = Path("/proc") / str(pid)
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines() if line
        )
        if "RssAnon" not in status:
            return  # it has just ended and is not buried yet
        usage = self.processes.setdefault(pid, Usage())
        if usage.role == "service":
            usage.role = _role(pid, (folder / "cmdline").read_text(errors="replace"))
        usage.private = max(usage.private, _bytes(status["RssAnon"]))
        usage.resident = max(usage.resident, _bytes(status["VmHWM"]))
        times = (folder / "stat").read_text().rpartition(")")[2].split()
        usage.cpu_s = (int(times[11]) + int(times[12])) * _TICK_S


@contextmanager
def watching() -> Iterator[Watch]:
    """Look at the processes until the block ends."""
    watch, stop = Watch(), threading.Event()

    def keep_looking() -> None:
        while not stop.wait(_EVERY_S):
            watch.look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    watch.look()
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
        watch.look()


def _family(ancestor: int) -> list[int]:
    """Return a process and all below it."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = (Path("/proc") / entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    family = {ancestor}
    # A child may be listed before its parent: repeat until nothing is added.
    while more := {p for p, above in parents.items() if above in family} - family:
        family |= more
    return sorted(family)


def _role(pid: int, title: str) -> str:
    """Tell a process's role from its title; Ray renames workers while they work."""
    if pid == os.getpid():
        return "driver"
    if "ray::MapWorker" in title:
        return "actor"
    return "task" if title.startswith("ray::") and "Map(" in title else "service"


def _bytes(kilobytes: str) -> int:
    return 1024 * int(kilobytes.split()[0])
