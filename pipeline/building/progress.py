"""Progress: one live line a stage on a terminal, a line every ten seconds elsewhere, or JSON lines.

Stages report to counters (:mod:`pipeline.engine.counters`); a :class:`Display` reads them. Neither
knows where the other is: on a cluster the counters are an actor's, in one process an object.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.engine.work import STAGES

__all__ = ["Display", "Style", "duration", "tell"]

Style = Literal["auto", "json", "quiet"]
_EVERY_S = 10.0


class Display:
    """Shows a run's progress on standard error.

    Args:
        total: Patches to be made.
        done: Of them, made by an earlier run.
        style: ``auto`` looks at the terminal; ``json`` prints one object a line; ``quiet`` nothing.
    """

    def __init__(self, total: int, *, done: int, style: Style) -> None:
        self.total, self.done, self.style = total, done, style
        self.console = Console(stderr=True)
        self.started = time.monotonic()

    @contextmanager
    def watching(self, snapshot: Callable[[], Mapping[str, tuple[int, int]]]) -> Iterator[None]:
        """Show progress until the block ends.

        Args:
            snapshot: Returns (patches, rejected) of each stage so far.
        """
        if self.style == "quiet":
            yield
            return
        stop = threading.Event()
        live = self.style == "auto" and self.console.is_terminal
        thread = threading.Thread(
            target=self._live if live else self._lines, args=(_steady(snapshot), stop), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5.0)

    def _live(
        self, snapshot: Callable[[], Mapping[str, tuple[int, int]]], stop: threading.Event
    ) -> None:
        with Live(
            self._table(snapshot()),
            console=self.console,
            refresh_per_second=4,
            redirect_stdout=False,  # results go there, and a cluster's output is led elsewhere
        ) as live:
            while not stop.wait(0.25):
                live.update(self._table(snapshot()))
            live.update(self._table(snapshot()))

    def _lines(
        self, snapshot: Callable[[], Mapping[str, tuple[int, int]]], stop: threading.Event
    ) -> None:
        while not stop.wait(_EVERY_S):
            self._line(snapshot())
        self._line(snapshot())

    def _line(self, counts: Mapping[str, tuple[int, int]]) -> None:
        rows = {name: self._numbers(*counts[name]) for name in STAGES}
        if self.style == "json":
            print(json.dumps({"event": "progress", "total": self.total, **rows}), file=sys.stderr)
            return
        done, rate, left, rejected = (
            rows["write"][key] for key in ("patches", "per_second", "left_s", "rejected")
        )
        text = f"{int(done or 0) + self.done}/{self.total} patches, {rate:.0f}/s"
        text += f", {int(rejected or 0)} rejected" if rejected else ""
        text += f", {duration(left)} left" if left else ""
        stages = ", ".join(f"{name} {int(rows[name]['patches'] or 0)}" for name in STAGES)
        print(f"noisemill: {text} ({stages})", file=sys.stderr, flush=True)

    def _table(self, counts: Mapping[str, tuple[int, int]]) -> Table:
        table = Table.grid(padding=(0, 2))
        for name in STAGES:
            row = self._numbers(*counts[name])
            done = int(row["patches"] or 0) + self.done
            share = done / self.total if self.total else 1.0
            bar = "━" * round(24 * min(share, 1.0))
            table.add_row(
                f"[bold]{name:<8}[/]",
                f"[green]{bar}[/][dim]{'━' * (24 - len(bar))}[/]",
                f"{done:,}/{self.total:,}",
                f"{row['per_second']:.0f} patches/s",
                f"[yellow]{int(row['rejected'] or 0)} rejected[/]" if row["rejected"] else "",
                f"{duration(row['left_s'])} left" if row["left_s"] else "",
            )
        return table

    def _numbers(self, patches: int, rejected: int) -> dict[str, float | None]:
        elapsed = max(time.monotonic() - self.started, 1e-6)
        rate = patches / elapsed
        remaining = self.total - self.done - patches - rejected
        left = remaining / rate if rate > 0 and remaining > 0 else None
        return {
            "patches": patches,
            "rejected": rejected,
            "per_second": round(rate, 2),
            "left_s": None if left is None else round(left, 1),
        }


def _steady(
    snapshot: Callable[[], Mapping[str, tuple[int, int]]],
) -> Callable[[], Mapping[str, tuple[int, int]]]:
    """Return the last counts where there are no new ones: the cluster may be gone before us."""
    last: dict[str, tuple[int, int]] = {name: (0, 0) for name in STAGES}

    def look() -> Mapping[str, tuple[int, int]]:
        # Whatever went wrong there, the run itself says it, better.
        with suppress(Exception):
            last.update(snapshot())
        return last

    return look


def tell(style: Style, text: str) -> None:
    """Say on standard error what is being done, where a run would otherwise be silent for long."""
    if style == "json":
        print(json.dumps({"event": "note", "text": text}), file=sys.stderr, flush=True)
    elif style == "auto":
        print(f"noisemill: {text}", file=sys.stderr, flush=True)


def duration(seconds: float | None) -> str:
    """Return a duration for people.

    Example:
        >>> duration(42), duration(75), duration(7500)
        ('42 s', '1 min 15 s', '2 h 05 min')
    """
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
