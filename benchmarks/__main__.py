"""``python -m benchmarks [NAME ...] [--quick] [--json PATH]``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.results import FULL, QUICK, Line, table
from benchmarks.suite import BENCHMARKS, run


def main() -> None:
    """Run the benchmarks named, or all of them, and print a table of each as it is done."""
    arguments = _parse()
    effort = QUICK if arguments.quick else FULL
    done: dict[str, list[Line]] = {}
    for name in arguments.names or BENCHMARKS:
        busy = os.getloadavg()[0]
        print(f"\n{name}: {BENCHMARKS[name][1]} (load of the machine before: {busy:.1f})")
        sys.stdout.flush()
        with tempfile.TemporaryDirectory(prefix="noisemill-bench-") as folder:
            done[name] = run(name, effort, Path(folder))
        print(table(done[name]), flush=True)
        if arguments.json is not None:
            # After each: a benchmark that fails later must not take these along.
            arguments.json.write_text(json.dumps(_report(done, arguments.quick), indent=2) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures here as well")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return arguments


def _report(done: dict[str, list[Line]], quick: bool) -> dict[str, object]:
    from pipeline.corpus.provenance import git_revision, hardware, software_versions

    return {
        "quick": quick,
        "load": os.getloadavg(),
        "hardware": hardware([]),
        "software": software_versions(),
        "git": git_revision(),
        "benchmarks": {name: [line.to_dict() for line in lines] for name, lines in done.items()},
    }


if __name__ == "__main__":
    main()
