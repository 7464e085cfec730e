"""The command line: each command parses, calls one function, prints.

Exit codes: 0 done, 1 it failed (bad images, a full disk, a check that found something), 2 the call
was wrong (unknown option, bad manifest, a plan that cannot run), 130 interrupted by Ctrl-C. Errors
are one message on standard error, never a traceback; ``NOISEMILL_DEBUG=1`` shows the traceback of
what was not foreseen.
"""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import click

from pipeline.cli.errors import ErrorGroup
from pipeline.manifest.mistakes import closest, printable
from pipeline.version import __version__

__all__ = ["main"]

# Name -> module:function. Commands are imported when they are called: `noisemill --help` must not
# wait for torch and Ray.
_COMMANDS = {
    "run": ("running", "Carry out a manifest: make a corpus, train a generator."),
    "plan": ("running", "Say what a run would do and cost, before spending."),
    "verify": ("corpora", "Check every file, checksum and row of a corpus."),
    "inspect": ("corpora", "Summarise a corpus and draw some of it."),
    "sample": ("sampling", "Put noise on pictures, or make one sample of a corpus again."),
    "denoise": ("denoising", "Denoise pictures."),
    "audit": ("looking", "Measure clean/noisy pairs and say which are suspect."),
    "models": ("weights", "List generators, denoisers and the weights that come with noisemill."),
    "import-weights": ("weights", "Turn weights that others released into weights files."),
    "schema": ("looking", "Print the JSON Schema of manifests."),
    "doctor": ("looking", "Check that this machine can run noisemill."),
    "submit": ("jobs", "Submit a manifest to a Ray cluster's job server."),
    "kuberay": ("jobs", "Print a RayJob or RayCronJob for KubeRay."),
}


class _LazyGroup(ErrorGroup):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of their use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"pipeline.cli.{_COMMANDS[cmd_name][0]}")
        command: Any = getattr(module, cmd_name.replace("-", "_"))
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where there is none, say which are there or which was meant."""
        name = args[0]
        if name in _COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        guess = closest(name, list(_COMMANDS))
        hint = f"Did you mean '{guess}'?" if guess else f"There are {', '.join(_COMMANDS)}."
        raise click.UsageError(f"No such command '{printable(name)}'. {hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="noisemill")
def main() -> None:
    """Turn clean photographs into training corpora with realistic camera noise.

    Exit codes: 0 done, 1 failed, 2 wrong usage or manifest, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # File names need not be text; one that is not must not end a command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
