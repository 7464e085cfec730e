from __future__ import annotations

import errno
import importlib
import pickle
import pkgutil
from pathlib import Path

import pytest

import denoisers
import generators
import pipeline
from noisemill import errors as public
from pipeline.errors import (
    DatasetError,
    ImageError,
    InternalError,
    NoisemillError,
    PlanError,
    StorageError,
    translated,
    within_the_tree,
)
from pipeline.manifest.mistakes import ManifestError, Mistake
from pipeline.manifest.scalars import ScalarError
from pipeline.storage import read_bytes

MISTAKE = Mistake(
    file="m.yaml",
    line=3,
    column=1,
    key_path="seed",
    found="found 'x'",
    expected="expected a whole number",
)
ERRORS = [
    StorageError(errno.ENOSPC, "cannot write a: the disk is full", where="a"),
    ImageError("missing", "no such file.", "a.png"),
    DatasetError("a.h5 has 2 rows; expected 3. Make it again."),
    ManifestError([MISTAKE]),
    PlanError("nothing can be cut", where="patches.size", expected="24", what_to_do="Set it."),
    translated(FileNotFoundError(2, "No such file or directory", "a.png")),
]


def exceptions_of(package: object) -> set[type[BaseException]]:
    """Return the exception classes that the modules of a package define."""
    classes = set()
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        classes |= {
            value
            for name, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, BaseException)
            and value.__module__ == module.__name__
            and not name.startswith("_")
        }
    return classes


def test_every_error_of_the_pipeline_is_in_the_tree_and_public() -> None:
    # Inside the reading of a manifest; it becomes a mistake there.
    raised = exceptions_of(pipeline) - {ScalarError}
    assert {kind for kind in raised if not issubclass(kind, NoisemillError)} == set()
    assert raised == {getattr(public, name) for name in public.__all__}


def test_errors_of_generators_and_denoisers_are_built_in_ones() -> None:
    # They stand alone, without the tree; where they leave noisemill they are translated.
    builtin = (ValueError, TypeError, OSError, ImportError, RuntimeError)
    for kind in exceptions_of(generators) | exceptions_of(denoisers):
        assert issubclass(kind, builtin)


def test_codes_are_stable_and_differ() -> None:
    codes = {name: getattr(public, name).code for name in public.__all__}
    assert len(set(codes.values())) == len(codes)
    assert codes == {
        "DatasetError": "dataset",
        "Error": "failed",
        "ImageError": "image",
        "InputError": "invalid-value",
        "InternalError": "internal",
        "JobError": "job",
        "ManifestChangedError": "manifest-changed",
        "ManifestError": "manifest",
        "MemoryExhaustedError": "out-of-memory",
        "NotACorpusError": "not-a-corpus",
        "NotFoundError": "not-found",
        "PackageError": "missing-package",
        "PlanError": "plan",
        "RejectBudgetError": "reject-budget",
        "RunError": "run",
        "StorageError": "storage",
        "UnknownNameError": "unknown-name",
        "WorkerError": "worker",
        "WrongTypeError": "wrong-type",
    }


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_from_a_worker_as_it_was(error: NoisemillError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize(
    ("error", "parts", "message"),
    [
        (ERRORS[0], ("cannot write a: the disk is full", "a", "", ""), "cannot write a: the disk"),
        (ERRORS[1], ("a.png: no such file", "a.png", "", ""), "a.png: no such file."),
        (
            ERRORS[2],
            ("a.h5 has 2 rows", "", "3", "Make it again."),
            "a.h5 has 2 rows; expected 3. Make it again.",
        ),
        (
            ERRORS[3],
            ("found 'x'", "m.yaml:3: seed", "a whole number", ""),
            "m.yaml:3: seed: found 'x'; expected a whole number",
        ),
        (
            ERRORS[4],
            ("nothing can be cut", "patches.size", "24", "Set it."),
            "patches.size: nothing can be cut; expected 24. Set it.",
        ),
    ],
)
def test_an_error_says_what_where_expected_and_what_to_do(
    error: NoisemillError, parts: tuple[str, ...], message: str
) -> None:
    assert (error.what, error.where, error.expected, error.what_to_do) == parts
    assert str(error).startswith(message)


@pytest.mark.parametrize(
    ("builtin", "code"),
    [
        (ValueError("sigma is -1"), "invalid-value"),
        (TypeError("clean must be float32"), "wrong-type"),
        (FileNotFoundError("no weights"), "not-found"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "storage"),
        (ModuleNotFoundError("No module named 's3fs'"), "missing-package"),
        (RuntimeError("no GPU"), "run"),
        (MemoryError(), "out-of-memory"),
    ],
)
def test_a_built_in_error_becomes_one_of_the_tree_and_stays_what_it_was(
    builtin: Exception, code: str
) -> None:
    with pytest.raises(NoisemillError) as raised, within_the_tree():
        raise builtin
    base = next(b for b in type(builtin).__mro__ if b in (ValueError, TypeError, ImportError,
        FileNotFoundError, OSError, RuntimeError, MemoryError))  # fmt: skip
    assert isinstance(raised.value, base)
    assert raised.value.code == code
    assert raised.value.__cause__ is builtin
    assert getattr(raised.value, "errno", None) == getattr(builtin, "errno", None)


def test_a_fault_of_the_program_is_told_as_one() -> None:
    with pytest.raises(InternalError, match="unexpected KeyError: 'rows'"), within_the_tree():
        raise KeyError("rows")


def test_an_error_of_the_tree_and_an_interruption_pass_as_they_are() -> None:
    error = PlanError("no")
    with pytest.raises(PlanError) as raised, within_the_tree():
        raise error
    assert raised.value is error
    with pytest.raises(KeyboardInterrupt), within_the_tree():
        raise KeyboardInterrupt


def test_storage_names_the_file_it_could_not_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as raised:
        read_bytes(str(tmp_path), "a.json")
    assert raised.value.where == str(tmp_path / "a.json")
    assert raised.value.errno == errno.ENOENT
