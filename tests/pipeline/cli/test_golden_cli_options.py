"""The options of all commands, frozen: scripts rely on them.

If this fails, an option changed. One that was added belongs into ``CHANGELOG.md``; one that was
removed or renamed breaks somebody's script. Write the list again with:

    python -m tests.pipeline.cli.test_golden_cli_options
"""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from pipeline.cli import main
from tests.contracts.command import noisemill

GOLDEN = Path(__file__).parents[2] / "golden" / "cli_options.txt"


def listing() -> str:
    """Return one line a parameter: command, name, kind of value, default."""
    context = click.Context(main)
    lines = []
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        lines.append(f"{name}: {command.get_short_help_str(80)}")
        lines += [f"    {_describe(parameter, context)}" for parameter in command.params]
    return "\n".join(lines) + "\n"


def _describe(parameter: click.Parameter, context: click.Context) -> str:
    if isinstance(parameter, click.Argument):
        many = "..." if parameter.nargs == -1 else ""
        return f"{parameter.human_readable_name}{many}"
    assert isinstance(parameter, click.Option)
    words = [", ".join(parameter.opts)]
    if not parameter.is_flag:
        words.append(parameter.make_metavar(context))
    words += ["repeated"] * parameter.multiple + ["required"] * parameter.required
    default = parameter.to_info_dict()["default"]
    if isinstance(default, str | int) and not parameter.is_flag:
        words.append(f"default {default}")
    return " ".join(words)


def test_the_options_of_all_commands_are_the_frozen_ones() -> None:
    assert listing() == GOLDEN.read_text(), "see the head of this file"


COMMANDS = [line.partition(":")[0] for line in listing().splitlines() if not line.startswith(" ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(command: str) -> None:
    shown = noisemill(command, "--help")
    assert shown.exit_code == 0
    assert shown.stderr == ""
    assert shown.stdout.startswith(f"Usage: noisemill {command}")
    block = listing().split(f"{command}: ")[1].splitlines()[1:]
    for line in block:
        if not line.startswith("    "):
            break
        assert line.split()[0].rstrip(",.") in shown.stdout


if __name__ == "__main__":
    GOLDEN.write_text(listing())
    print(f"wrote {GOLDEN}")
