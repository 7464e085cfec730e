"""Build the wheel, install it far from the checkout, and run the tests against it there.

What only works because the checkout is on the path (a data file that is not packaged, an import of
a neighbour) fails here. The temporary environment borrows the dependencies of the one that runs
this script, so nothing is downloaded; noisemill itself comes from the wheel.

Usage: python tools/check_wheel.py [ARGUMENTS OF PYTEST]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("generators", "denoisers", "pipeline")


def build() -> Path:
    dist = ROOT / "dist"
    for old in dist.glob("noisemill-*.whl"):
        old.unlink()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=ROOT, check=True
    )
    (wheel,) = dist.glob("noisemill-*.whl")
    return wheel


def environment(folder: Path, wheel: Path) -> Path:
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    # A path in a .pth file is searched after this environment's own packages, and .pth files in it
    # are not read: the checkout, which such a file puts on the path, stays out.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    where = ["--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([*install, *where], check=True)
    return python


def main() -> int:
    wheel = build()
    with tempfile.TemporaryDirectory(prefix="noisemill-wheel-") as name:
        folder = Path(name)
        python = environment(folder / "env", wheel)
        work = folder / "work"
        work.mkdir()
        shutil.copytree(
            ROOT / "tests", work / "tests", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / "pyproject.toml", work)
        data = os.environ.get("NOISEMILL_DATA", str(ROOT / "../shared/data"))
        settings = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        settings["NOISEMILL_DATA"] = str(Path(data).resolve())
        where = "import pipeline; print(pipeline.__file__)"
        found = subprocess.run(
            [python, "-c", where],
            cwd=work,
            env=settings,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        if not Path(found).is_relative_to(folder):
            print(f"the tests would run against {found}, not the wheel", file=sys.stderr)
            return 1
        print(f"testing {wheel.name} as installed in {folder}", flush=True)
        arguments = sys.argv[1:] or ["tests"]
        return subprocess.run(
            [python, "-m", "pytest", *arguments], cwd=work, env=settings
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
