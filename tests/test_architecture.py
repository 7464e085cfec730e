"""The house rules a machine can check: import directions, file sizes, names, public lists.

Imports go one way, ``noisemill -> pipeline -> denoisers -> generators -> torch, numpy,
safetensors``, so that a model can be lifted out and trained where there is no Ray. Imports inside
functions and under ``TYPE_CHECKING`` count: a direction is a direction.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

OURS = ("denoisers", "generators", "manifests", "noisemill", "pipeline")
LONGEST_MODULE = 400
# Names that say nothing about what is inside.
EMPTY_NAMES = {"common", "helper", "helpers", "manager", "misc", "tools", "util", "utils"}

# What the modules below a prefix may import; the longest matching prefix counts. None: anything.
ALLOWED: dict[str, set[str] | None] = {
    "generators": {"generators", "numpy", "safetensors", "torch"},
    "denoisers": {"denoisers", "generators", "numpy", "safetensors", "torch"},
    # The classical denoiser is another package's work, an extra.
    "denoisers.bm3d": {"bm3d", "denoisers", "generators", "numpy", "torch"},
    "manifests": set(),
    "noisemill": None,
    "pipeline": None,
}
_NO_PLAIN_TORCH = ("click", "cv2", "pipeline.cli", "pyarrow", "pydantic", "ray", "rich")
# What the modules below a prefix must not import, though they may import much.
FORBIDDEN: dict[str, set[str]] = {
    # Training runs on a machine that has neither Ray nor the manifest's tools.
    "pipeline.training.engine": {*_NO_PLAIN_TORCH, "pipeline.training.jobs"},
    "pipeline.training.data": {*_NO_PLAIN_TORCH, "pipeline.training.jobs"},
    # The face is what other programs import: no command line, and Ray only where it is used.
    "noisemill": {"click", "ray", "pipeline.cli"},
    # What is wanted is known before anything is done.
    "pipeline.manifest": {
        *("cv2", "h5py", "pyarrow", "ray", "torch"),
        *("pipeline.building", "pipeline.cli", "pipeline.corpus", "pipeline.report"),
        *("pipeline.sources", "pipeline.training"),
    },
    "pipeline.records": {"pipeline", "ray", "torch"},
    # Stages are plain callables that also run without Ray.
    "pipeline.building.stages": {
        *("click", "ray"),
        *("pipeline.building.run", "pipeline.cli", "pipeline.engine", "pipeline.report"),
    },
    # Where stages run knows no stage: they are handed in.
    "pipeline.engine": {
        *("click", "pipeline.building", "pipeline.cli", "pipeline.corpus", "pipeline.report"),
        *("pipeline.sources", "pipeline.training", "generators"),
    },
    # Reading a corpus belongs beside writing it, so sources may use formats; never the reverse.
    "pipeline.corpus": {"click", "ray", "pipeline.building", "pipeline.cli", "pipeline.sources"},
    "pipeline.sources": {"click", "pipeline.building", "pipeline.cli", "ray"},
    "pipeline.measure": {"click", "pipeline.building", "pipeline.cli", "ray"},
}
# The command line is the top: nothing imports it.
TOP = "pipeline.cli"
# The face is below it alone.
FACE = "noisemill"
LEAF = "pipeline.pixels"


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @property
    def package(self) -> str:
        is_package = self.path.name == "__init__.py"
        return self.name if is_package else self.name.rpartition(".")[0]

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield (line, dotted name) of everything imported; ``from a import b`` gives ``a.b``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parts = self.package.split(".")
                    above = ".".join(parts[: len(parts) - node.level + 1])
                    base = f"{above}.{base}".rstrip(".")
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"


def modules(root: Path, packages: tuple[str, ...] = OURS) -> list[Module]:
    found = []
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(Module(name=name, path=path))
    return found


def below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def import_faults(module: Module) -> list[str]:
    prefix = max((p for p in ALLOWED if below(module.name, p)), key=len)
    allowed = ALLOWED[prefix]
    forbidden = {f for p, names in FORBIDDEN.items() if below(module.name, p) for f in names}
    faults = []
    for line, name in module.imports():
        root = name.partition(".")[0]
        where = f"{module.path.name}:{line}: {module.name} imports {name}"
        if root in sys.stdlib_module_names:
            continue
        if allowed is not None and root not in allowed:
            faults.append(f"{where}; {prefix} may import {', '.join(sorted(allowed)) or 'nothing'}")
        if any(below(name, f) and not below(module.name, f) for f in forbidden):
            faults.append(f"{where}; that is the wrong direction")
        # Types of samples are a leaf of numpy alone.
        elif "pipeline" in forbidden and below(name, "pipeline") and not below(name, LEAF):
            faults.append(f"{where}; that is the wrong direction")
        if below(name, TOP) and not below(module.name, TOP) and module.name != "pipeline.__main__":
            faults.append(f"{where}; nothing imports the command line")
        if below(name, FACE) and not below(module.name, FACE) and not below(module.name, TOP):
            faults.append(f"{where}; only the command line imports the face")
    return faults


def shape_faults(module: Module) -> list[str]:
    faults = []
    lines = module.text.count("\n")
    if lines > LONGEST_MODULE:
        faults.append(f"{module.name} has {lines} lines; at most {LONGEST_MODULE}: split it")
    if module.name.rpartition(".")[2] in EMPTY_NAMES:
        faults.append(f"{module.name}: name it after what is inside")
    faults += [
        f"{module.name}: class {node.name} is a manager of what?"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Helper|Utils?)$", node.name)
    ]
    if module.tree.body and not ast.get_docstring(module.tree):
        faults.append(f"{module.name} does not open with its lesson")
    return faults


def public_list(module: Module) -> list[str] | None:
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
                return [str(item) for item in ast.literal_eval(node.value or ast.List([]))]
    return None


def list_faults(module: Module) -> list[str]:
    names = public_list(module)
    defines = any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign)
        and not all(name.startswith("_") for name in bound_names(node))
        for node in module.tree.body
    )
    if names is None:
        return [f"{module.name} has no __all__"] if defines else []

    def order(name: str) -> tuple[int, str]:
        # As ruff sorts them (RUF022): constants, classes, functions.
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    faults = []
    if len(set(names)) != len(names):
        faults.append(f"{module.name}: a name stands twice in __all__")
    if names != sorted(names, key=order):
        faults.append(f"{module.name}: __all__ is not sorted")
    bound = {name for node in ast.walk(module.tree) for name in bound_names(node)}
    faults += [
        f"{module.name}: __all__ names {n}, which is not there" for n in names if n not in bound
    ]
    return faults


def bound_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def cycle(all_modules: list[Module]) -> list[str]:
    """Return one ring of modules that import each other, at whatever time, or nothing."""
    known = {module.name: module for module in all_modules}
    needs: dict[str, set[str]] = {}
    for module in all_modules:
        wanted = {n if n in known else n.rpartition(".")[0] for _, n in module.imports()}
        needs[module.name] = {n for n in wanted if n in known and n != module.name}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(needs[name]):
                if ring := visit(other, [*path, name]):
                    return ring
            done.add(name)
        return []

    for name in sorted(known):
        if ring := visit(name, []):
            return ring
    return []


def installed_root() -> Path:
    """Return the folder the packages under test lie in: the checkout, or site-packages."""
    file = importlib.import_module("pipeline").__file__
    assert file is not None
    return Path(file).resolve().parents[1]


@pytest.fixture(scope="module")
def ours() -> list[Module]:
    found = modules(installed_root())
    assert {m.name for m in found} >= set(OURS)
    return found


def test_imports_go_one_way(ours: list[Module]) -> None:
    assert [fault for module in ours for fault in import_faults(module)] == []


def test_no_modules_import_each_other_in_a_ring(ours: list[Module]) -> None:
    assert cycle(ours) == []


def test_modules_are_short_named_and_open_with_their_lesson(ours: list[Module]) -> None:
    assert [fault for module in ours for fault in shape_faults(module)] == []


def test_public_lists_are_there_sorted_and_true(ours: list[Module]) -> None:
    assert [fault for module in ours for fault in list_faults(module)] == []


def source(tmp_path: Path, name: str, text: str) -> Module:
    path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return Module(name=name, path=path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("generators.x", "import ray"),
        ("generators.x", "import h5py.h5"),
        ("generators.x", "from denoisers import dncnn"),
        ("generators.x", "from pipeline.records import Reject"),
        ("generators.x", "def f():\n    import cv2"),
        ("generators.flows.x", "from ...pipeline import records"),
        ("denoisers.x", "import pipeline"),
        ("manifests.x", "import yaml"),
        ("pipeline.training.engine.x", "from ray import train"),
        ("pipeline.training.data.x", "import pydantic"),
        ("pipeline.building.stages.x", "import ray.data"),
        ("pipeline.manifest.x", "from pipeline import corpus"),
        ("pipeline.records", "from pipeline import corpus"),
        ("pipeline.corpus.formats.x", "from pipeline.sources import images"),
        ("pipeline.building", "from pipeline.cli import main"),
        ("pipeline.building", "import noisemill"),
        ("noisemill.x", "def f():\n    import ray"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(tmp_path: Path, name: str, line: str) -> None:
    assert len(import_faults(source(tmp_path, name, line))) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("generators.x", "import math\nimport torch.nn.functional\nfrom generators import base"),
        ("generators.flows.x", "from .. import seeds\nfrom . import coupling"),
        ("denoisers.x", "from generators.flows import coupling"),
        ("pipeline.training.x", "import h5py\nimport torch\nfrom generators import naflow"),
        ("pipeline.manifest.x", "import pydantic\nfrom pipeline.manifest import models"),
        ("pipeline.__main__", "from pipeline.cli import main"),
        ("pipeline.cli.x", "import noisemill"),
        ("noisemill.x", "from pipeline.building.run import build"),
        ("pipeline.building", "import ray\nfrom pipeline.building.stages import cut"),
    ],
)
def test_an_import_in_the_right_direction_passes(tmp_path: Path, name: str, line: str) -> None:
    assert import_faults(source(tmp_path, name, line)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pipeline.utils", '"""Lesson."""\n'),
        ("pipeline.x", '"""Lesson."""\n' + "#\n" * 400),
        ("pipeline.x", '"""Lesson."""\nclass JobManager: ...\n'),
        ("pipeline.x", "x = 1\n"),
    ],
)
def test_a_shapeless_module_is_found(tmp_path: Path, name: str, text: str) -> None:
    assert len(shape_faults(source(tmp_path, name, text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "def f(): ...",
        '__all__ = ["g", "f"]\ndef f(): ...\ndef g(): ...',
        '__all__ = ["f", "f"]\ndef f(): ...',
        '__all__ = ["f"]',
        '__all__ = ["f", "F"]\ndef f(): ...\nclass F: ...',
    ],
)
def test_a_wrong_public_list_is_found(tmp_path: Path, text: str) -> None:
    assert len(list_faults(source(tmp_path, "pipeline.x", text))) == 1


def test_a_ring_is_found(tmp_path: Path) -> None:
    one_way = source(tmp_path, "pipeline.a", "from pipeline.c import f")
    ring = source(tmp_path, "pipeline.c", "from pipeline import d")
    assert cycle([one_way, ring, source(tmp_path, "pipeline.d", "import torch")]) == []
    back = source(tmp_path, "pipeline.d", "import pipeline.c")
    assert cycle([one_way, ring, back]) == ["pipeline.c", "pipeline.d", "pipeline.c"]


@pytest.mark.parametrize(
    "back",
    [
        "def f():\n    from pipeline import a",
        "class C:\n    def f(self):\n        import pipeline.a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline.a import f",
        "try:\n    import ray\nexcept ImportError:\n    from . import a",
    ],
)
def test_an_import_that_comes_late_or_never_closes_a_ring(tmp_path: Path, back: str) -> None:
    there = source(tmp_path, "pipeline.a", "from pipeline.b import f")
    ring = cycle([there, source(tmp_path, "pipeline.b", back)])
    assert ring == ["pipeline.a", "pipeline.b", "pipeline.a"]
