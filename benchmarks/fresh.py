"""Run a function of this package in a new Python process, and get back what it returns.

Peak memory belongs to a process, so whatever ran before must not be in it.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "in_fresh_process"]

ROOT = Path(__file__).resolve().parents[1]


def in_fresh_process(module: str, function: str, **arguments: Any) -> dict[str, Any]:
    """Call ``benchmarks.<module>.<function>(**arguments)`` in a new process.

    Args:
        module: Name of the module below this package.
        function: Its function; takes and returns JSON values.
        arguments: Keyword arguments.

    Raises:
        RuntimeError: If the process fails; the message holds the end of its errors.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fresh", module, function, json.dumps(arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module}.{function} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _main() -> None:
    module, function, arguments = sys.argv[1:]
    called = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    print(json.dumps(called(**json.loads(arguments))))


if __name__ == "__main__":
    _main()
