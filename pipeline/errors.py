"""The one tree of errors: whatever noisemill refuses or fails at is a :class:`NoisemillError`.

Each says what is wrong, where, what was expected and what to do, and has a stable ``code`` for
programs. Every kind keeps the built-in class that fits (``ValueError``, ``OSError``, ...) as its
second base. `generators` and `denoisers` stand alone and know built-in errors only; where their
errors leave noisemill, :func:`translated` gives them a place in the tree.

A message that is given as one text is taken apart by the house's order, "what; expected X. Do Y.",
so that ``expected`` and ``what_to_do`` hold for it too.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

__all__ = [
    "DatasetError",
    "ImageError",
    "InputError",
    "InternalError",
    "JobError",
    "ManifestChangedError",
    "MemoryExhaustedError",
    "NoisemillError",
    "NotACorpusError",
    "NotFoundError",
    "PackageError",
    "PlanError",
    "RejectBudgetError",
    "RunError",
    "StorageError",
    "UnknownNameError",
    "WorkerError",
    "WrongTypeError",
    "printable",
    "translated",
    "within_the_tree",
]

_EXPECTED = re.compile(r"\bexpected (.+?)(?=\.\s|\.?$|;)", re.DOTALL)
# A sentence ends before a blank and a capital, so that neither 0.5 nor a.yaml ends one.
_ADVICE = re.compile(r"\.\s+(?=[A-Z])")


class NoisemillError(Exception):
    """Something that noisemill refuses, or cannot do.

    Args:
        message: What is wrong; may say all the rest as well.
        where: The file, key or argument; set before the message that does not name it.
        expected: What is allowed instead; set behind a message that does not say it.
        what_to_do: Advice; likewise.
    """

    code: ClassVar[str] = "failed"
    # Whether the call itself was wrong, so that no other try of it can succeed.
    is_usage: ClassVar[bool] = False

    def __init__(
        self, message: str = "", *, where: str = "", expected: str = "", what_to_do: str = ""
    ) -> None:
        said = _EXPECTED.search(message)
        what, *advice = _ADVICE.split(message, maxsplit=1)
        self.what = what[: said.start()].rstrip(" ;:,(") if said else what.rstrip(".")
        self.what = self.what or what
        self.where = where
        self.expected = expected or (said.group(1) if said else "")
        self.what_to_do = what_to_do or "".join(advice)
        text = message if where in message else f"{where}: {message}"
        text = f"{text.rstrip('.')}; expected {expected}." if expected else text
        self.message = f"{text} {what_to_do}" if what_to_do else text
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return everything as one message for a person."""
        return self.message or type(self).__name__


class InputError(NoisemillError, ValueError):
    """A value that cannot be used."""

    code = "invalid-value"


class WrongTypeError(NoisemillError, TypeError):
    """A value of a wrong type."""

    code = "wrong-type"


class NotFoundError(NoisemillError, FileNotFoundError):
    """A file or folder that is not there."""

    code = "not-found"


class PackageError(NoisemillError, ImportError):
    """An optional package that is not installed, or does not load."""

    code = "missing-package"


class MemoryExhaustedError(NoisemillError, MemoryError):
    """There is not enough memory."""

    code = "out-of-memory"


class InternalError(NoisemillError):
    """A fault of noisemill or of a plug-in, not of the caller; its cause is ``__cause__``."""

    code = "internal"


class UnknownNameError(InputError):
    """There is nothing of that name."""

    code = "unknown-name"


class PlanError(InputError):
    """A plan that cannot be run; the message says what to change."""

    code = "plan"
    is_usage = True


class ManifestChangedError(InputError):
    """The output belongs to another manifest; the message shows the difference."""

    code = "manifest-changed"


class NotACorpusError(InputError):
    """The output folder holds something that is not ours."""

    code = "not-a-corpus"


class ImageError(InputError):
    """An image that cannot be used.

    Args:
        reason: A short stable word: ``missing``, ``empty``, ``not-an-image``, ``truncated``,
            ``unreadable``, ``unsupported``, ``cmyk``, ``alpha``, ``too-large``, ``too-small``,
            ``not-finite``, ``out-of-range`` or ``changed``.
        detail: One line for a person: what was found, what was expected, what to do.
        uri: The image, where it is known; part of ``str(error)`` but not of ``detail``.
    """

    code = "image"

    def __init__(self, reason: str, detail: str, uri: str = "") -> None:
        super().__init__(f"{uri}: {detail}" if uri else detail, where=uri)
        self.reason = reason
        self.detail = detail
        self.uri = uri

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, str]]:
        # The default would call ImageError(message) when an error comes back from a worker.
        return ImageError, (self.reason, self.detail, self.uri)

    def at(self, uri: str) -> ImageError:
        """Return the same error with the image named."""
        return ImageError(self.reason, self.detail, uri)


class StorageError(NoisemillError, OSError):
    """Storage could not be read or written.

    Args:
        number: The system's error number, where there is one.
        message: What failed.
        where: The file or folder.
        what_to_do: Advice.
    """

    code = "storage"

    def __init__(
        self, number: int | None, message: str, *, where: str = "", what_to_do: str = ""
    ) -> None:
        super().__init__(message, where=where, what_to_do=what_to_do)
        # Two arguments are what OSError reads its number from, here and behind a pickle.
        OSError.__init__(self, number, self.message)


class DatasetError(NoisemillError):
    """Stored data is damaged, incomplete or not what it says it is."""

    code = "dataset"


class RunError(NoisemillError, RuntimeError):
    """A run that could not go on."""

    code = "run"


class RejectBudgetError(RunError):
    """More was refused than the manifest allows; the message lists the reasons."""

    code = "reject-budget"


class WorkerError(RunError):
    """A worker process or a machine of the cluster was lost, and trying again did not help."""

    code = "worker"


class JobError(RunError):
    """A job could not be handed over or followed; the message says what to do."""

    code = "job"


@contextmanager
def within_the_tree() -> Iterator[None]:
    """Let nothing but :class:`NoisemillError` out; interruptions pass. Decorates functions too."""
    try:
        yield
    except Exception as error:
        ours = translated(error)
        if ours is error:
            raise
        raise ours from error


def translated(error: BaseException) -> NoisemillError:
    """Return an exception as a member of the tree; what Ray wrapped is unwrapped before."""
    cause = _root(error)
    if _is_ray(cause):
        return RunError(f"Ray: {_without_traceback(str(cause))}")
    if isinstance(cause, NoisemillError):
        return cause
    if isinstance(cause, MemoryError):
        return MemoryExhaustedError(
            "out of memory; use fewer actors (resources.actors), smaller batches "
            "(resources.batch_size) or smaller shards (output.rows_per_shard)."
        )
    if isinstance(cause, OSError):
        return _of_system(cause)
    said = str(cause) or type(cause).__name__
    for builtin, kind in _KINDS:
        if isinstance(cause, builtin):
            return kind(said)
    return InternalError(
        f"unexpected {type(cause).__name__}: {cause}. This is a fault of noisemill; "
        "set NOISEMILL_DEBUG=1 and run again to see where."
    )


_KINDS: tuple[tuple[type[Exception], type[NoisemillError]], ...] = (
    (ValueError, InputError),
    (TypeError, WrongTypeError),
    (ImportError, PackageError),
    (RuntimeError, RunError),
    (FloatingPointError, RunError),
)


def _of_system(error: OSError) -> NoisemillError:
    """Return an error of the system without ``[Errno 13]``, and with the file it is about."""
    where = ""
    said = str(error) or type(error).__name__
    if error.filename is not None and error.strerror:
        where = printable(os.fsdecode(error.filename) if error.filename else "''")
        said = f"{where}: {error.strerror[0].lower()}{error.strerror[1:]}."
    elif type(error) is OSError and error.errno == errno.ENOSPC:
        said = "the output cannot be written: the disk is full."
    if isinstance(error, FileNotFoundError):
        missing = NotFoundError(said, where=where)
        missing.errno = error.errno
        return missing
    return StorageError(error.errno, said, where=where)


def _root(error: BaseException) -> BaseException:
    """Return what a Ray worker raised instead of Ray's wrapping of it."""
    seen = error
    for _ in range(10):
        inner: Any = getattr(seen, "cause", None)
        if not isinstance(inner, BaseException):
            inner = seen.__cause__ if _is_ray(seen) else None
        if not isinstance(inner, BaseException):
            return seen
        seen = inner
    return seen


def _without_traceback(text: str) -> str:
    """Return Ray's message without the worker's stack: the lines before it, and the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    kept = lines if not starts else [*lines[: starts[0]], lines[-1]]
    return " ".join(kept) or "unknown error"


def _is_ray(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] == "ray"


def printable(text: str) -> str:
    """Return the text on one line and safe for any terminal: other characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
