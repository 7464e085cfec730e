"""The wheel: everything a run needs is in it, nothing else, and it works away from the checkout.

The whole test suite against an installed wheel is `make wheel`; here is what is quick to see.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("denoisers", "generators", "manifests", "noisemill", "pipeline")
# What is read at run time and is no Python: it must travel.
SHIPPED = ("*.yaml", "*.json", "*.safetensors", "*.md", "*.j2", "*.css", "py.typed")

pytestmark = [
    pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="this is no checkout"),
    pytest.mark.skipif(not (ROOT / "pipeline").exists(), reason="this is no checkout"),
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="building needs hatchling (dev extra)"
    ),
]


def python(*arguments: str | Path, cwd: Path, path: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (file,) = folder.glob("noisemill-*-py3-none-any.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    # --no-deps and no index: nothing is fetched, the dependencies are those of this environment.
    python(
        *("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"),
        *("--disable-pip-version-check", "--target", target, wheel),
        cwd=target,
    )
    return target


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_source_and_data_file_is_in_the_wheel(wheel: Path) -> None:
    expected = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for pattern in ("*.py", *SHIPPED)
        for file in (ROOT / package).rglob(pattern)
        if "__pycache__" not in file.parts
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    assert expected - names_in(wheel) == set()


def test_nothing_but_packages_and_metadata_is_in_the_wheel(wheel: Path) -> None:
    roots = {name.partition("/")[0] for name in names_in(wheel)}
    assert {root for root in roots if not root.endswith(".dist-info")} == set(PACKAGES)
    # noisemill.testing is for other packages: the contracts that their parts can be held against.
    ours = [name for name in names_in(wheel) if not name.startswith("noisemill/testing/")]
    parts = {part for name in ours for part in name.split("/")}
    assert not [part for part in parts if part.startswith("test") or part.endswith(".pyc")]
    assert any(name.endswith("licenses/LICENSE") for name in names_in(wheel))
    assert wheel.stat().st_size < 32 * 2**20  # bundled weights may take 30 MB


def test_packages_import_from_the_wheel_outside_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    script = f"import {', '.join(PACKAGES)}\n"
    script += f"print(*[m.__file__ for m in ({', '.join(PACKAGES)})], sep='\\n')"
    files = python("-c", script, cwd=tmp_path, path=installed).split()
    assert len(files) == len(PACKAGES)
    assert all(Path(file).is_relative_to(installed) for file in files)


def test_the_metadata_and_the_module_give_one_version(installed: Path, tmp_path: Path) -> None:
    script = "import importlib.metadata as m, pipeline.version as v\n"
    script += "print(m.version('noisemill'), v.__version__)"
    versions = python("-c", script, cwd=tmp_path, path=installed).split()
    assert versions[0] == versions[1]


@pytest.mark.skipif(
    importlib.util.find_spec("pipeline.cli") is None, reason="there is no command line yet"
)
def test_the_command_finds_its_data_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    run = ("-W", "error::RuntimeWarning", "-m", "pipeline.cli")
    schema = python(*run, "schema", cwd=tmp_path, path=installed)
    assert '"$defs"' in schema
    assert "naflow" in python(*run, "models", cwd=tmp_path, path=installed)
    assert list(tmp_path.iterdir()) == []
