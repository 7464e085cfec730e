"""How long a command makes people wait before it does anything, against an empty Python process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.fresh import ROOT
from benchmarks.results import Effort, Line
from benchmarks.timing import in_turn, ratios

__all__ = ["measure"]

_COMMANDS = {
    "import generators": ["-c", "import generators"],
    "import pipeline.cli": ["-c", "import pipeline.cli"],
    "noisemill --help": ["-m", "pipeline.cli", "--help"],
    "noisemill run --help": ["-m", "pipeline.cli", "run", "--help"],
    "import pipeline.corpus.dataset": ["-c", "import pipeline.corpus.dataset"],
}


def measure(effort: Effort, folder: Path) -> list[Line]:
    """Return each command's time over that of ``python -c pass``."""
    runs = [_process(arguments) for arguments in (["-c", "pass"], *_COMMANDS.values())]
    times = in_turn(*runs, rounds=effort.rounds, warm=effort.rounds > 1)
    lines = []
    for number, name in enumerate(_COMMANDS, start=1):
        best = min(each[number] for each in times)
        note = f"fastest {1000 * best:.0f} ms"
        lines.append(Line(name=name, values=ratios(times, number, 0), note=note))
    return lines


def _process(arguments: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True
    )
