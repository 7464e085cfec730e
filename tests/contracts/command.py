"""The command line in this process, held to what every command promises, and a small manifest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pipeline.cli import main


def noisemill(*arguments: str | Path) -> Result:
    """Run a command as in a pipe and check the manners of all commands."""
    called = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="noisemill")
    if not isinstance(called.exception, SystemExit | None):
        raise called.exception
    assert called.exit_code in (0, 1, 2, 130)
    assert "Traceback" not in called.output
    assert "fault of noisemill" not in called.output
    assert "\x1b" not in called.output, "colours in a pipe"
    assert [line for line in called.stdout.splitlines() if line != line.rstrip()] == []
    if called.exit_code:
        assert called.output.strip(), "a failure without a word"
    return called


def document(*arguments: str | Path, exit_code: int = 0) -> Any:
    """Run a command with ``--json`` and return the one document on its standard output."""
    called = noisemill(*arguments, "--json")
    assert called.exit_code == exit_code, called.output
    return json.loads(called.stdout)


def write_manifest(path: Path, *, source: dict[str, Any] | Path, **changes: Any) -> Path:
    """Write the manifest of a quick corpus: awgn, 16x16 patches; ``changes`` replace top keys."""
    if isinstance(source, Path):
        source = {"type": "images", "path": str(source)}
    manifest = {
        "kind": "corpus",
        "name": "tiny",
        "seed": 3,
        "sources": [source],
        "patches": {"size": 16},
        "generators": [{"name": "awgn", "params": {"sigma": 10}}],
        "output": {"path": str(path.parent / "out"), "rows_per_shard": 8},
        "report": False,
    }
    # JSON is YAML, too.
    path.write_text(json.dumps(manifest | changes, indent=1))
    return path


def interruptible(*arguments: str) -> list[str]:
    """Return a command that runs ``noisemill`` and heeds SIGINT wherever the tests run.

    A shell starts background jobs with SIGINT ignored, and Python inherits that.
    """
    code = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv = ['noisemill', *sys.argv[1:]]; "
        "runpy.run_module('pipeline.cli', run_name='__main__')"
    )
    return [sys.executable, "-c", code, *arguments]
