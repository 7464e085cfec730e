"""From exceptions to one message and an exit code.

Which errors there are, and what they say, is :mod:`pipeline.errors`' business.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from pipeline.errors import translated

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "ErrorGroup", "explain"]

FAILED = 1
USAGE = 2
INTERRUPTED = 130


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
    ours = translated(error)
    return str(ours), USAGE if ours.is_usage else FAILED


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
