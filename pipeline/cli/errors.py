"""From exceptions to one message and an exit code.

Mistakes of the caller are ``ValueError``, ``TypeError``, ``OSError`` and the trees below; all carry
a message for a person. Anything else is a fault of this program and says so. What Ray raises is
opened until what happened in the worker is found.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Any

import click

from pipeline.manifest.mistakes import printable

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "ErrorGroup", "explain"]

FAILED = 1
USAGE = 2
INTERRUPTED = 130
_EXPECTED = (ValueError, TypeError, OSError, RuntimeError, FloatingPointError, ImportError)


class ErrorGroup(click.Group):
    """A click group that turns exceptions into messages."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; exit with 1, 2 or 130 and a message where it raises."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                # A full disk or a closed pipe shows here, not as a complaint while Python ends.
                sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort, SystemExit):
            raise
        except KeyboardInterrupt:
            click.echo(f"\nnoisemill: interrupted.{_after_interrupt(ctx)}", err=True)
            sys.exit(INTERRUPTED)
        except Exception as error:
            if os.environ.get("NOISEMILL_DEBUG"):
                traceback.print_exc()
            _drop_output(error)
            if isinstance(error, BrokenPipeError):
                # The reader has seen enough, as `head` has.
                sys.exit(FAILED)
            message, code = explain(error)
            click.echo(f"Error: {message}", err=True)
            sys.exit(code)


def explain(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of an exception."""
    from pipeline.building.plan import PlanError
    from pipeline.manifest.mistakes import ManifestError

    cause = _root(error)
    if isinstance(cause, ManifestError | PlanError):
        return str(cause), USAGE
    if isinstance(cause, MemoryError):
        return (
            "out of memory; use fewer actors (resources.actors), smaller batches "
            "(resources.batch_size) or smaller shards (output.rows_per_shard).",
            FAILED,
        )
    if _is_ray(cause):
        return f"Ray: {_without_traceback(str(cause))}", FAILED
    if isinstance(cause, _EXPECTED) or _is_ours(cause):
        return _message(cause), FAILED
    return (
        f"unexpected {type(cause).__name__}: {cause}. This is a fault of noisemill; "
        "set NOISEMILL_DEBUG=1 and run again to see where.",
        FAILED,
    )


def _message(error: BaseException) -> str:
    """Return an error's own words; without ``[Errno 13]``, and with the file it is about."""
    # Errors with a text of their own (StorageError) have no file name beside it.
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        name = os.fsdecode(error.filename) if error.filename else "''"
        return f"{printable(name)}: {error.strerror[0].lower()}{error.strerror[1:]}."
    if type(error) is OSError and error.errno == errno.ENOSPC:
        return "the output cannot be written: the disk is full."
    return str(error) or type(error).__name__


def _after_interrupt(ctx: click.Context) -> str:
    if ctx.invoked_subcommand != "run":
        return ""
    return " What is finished is kept; run the same command again to go on."


def _drop_output(error: Exception) -> None:
    """Throw away what standard output could not take, so that Python does not try again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _root(error: BaseException) -> BaseException:
    """Return what a Ray worker raised instead of Ray's wrapping of it."""
    seen = error
    for _ in range(10):
        inner = getattr(seen, "cause", None)
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


def _is_ours(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] in ("pipeline", "generators", "denoisers")
