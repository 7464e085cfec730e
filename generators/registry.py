"""Names that stand for classes: our own by one line each, those of others by entry point.

A registry holds text (``module:attribute``), so listing what there is imports nothing. Another
distribution adds to it by an entry point in the registry's group:

    [project.entry-points."noisemill.generators"]
    my-noise = "my_package.noise:MyNoise"

It may not take a name that is taken: a manifest would silently mean something else on the machine
where it is installed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

__all__ = ["Registry", "close_match"]

_OURS = "noisemill"


def close_match(name: str, names: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """Return ``" Did you mean 'x'?"`` where a known name is close to ``name``; else ``""``."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


class Registry:
    """All of one kind, by name.

    Args:
        kind: What they are, for messages: ``"generator"``.
        group: Entry-point group of other distributions: ``"noisemill.generators"``.
        built_in: Name to ``module:attribute`` of this project's own.

    Example:
        >>> kinds = Registry("number", "noisemill.numbers", {"tau": "math:tau"})
        >>> kinds.names(), round(kinds.load("tau"), 2)
        (('tau',), 6.28)
    """

    def __init__(self, kind: str, group: str, built_in: Mapping[str, str]) -> None:
        self.kind, self.group, self.built_in = kind, group, dict(built_in)

    def names(self) -> tuple[str, ...]:
        """Return all names, built in and installed, sorted.

        Raises:
            ValueError: If two distributions give one name.
        """
        return tuple(sorted(self.targets()))

    def __contains__(self, name: str) -> bool:
        return name in self.built_in or name in self.targets()

    def load(self, name: str) -> Any:
        """Import what a name stands for.

        Raises:
            ValueError: If there is no such name, or a plug-in cannot be imported.
        """
        target = self.built_in.get(name)
        if target is None:
            targets = self.targets()
            if name not in targets:
                raise ValueError(
                    f"there is no {self.kind} '{name}'; there are {', '.join(sorted(targets))}."
                    f"{close_match(name, targets)}"
                )
            target = targets[name]
        module, _, attribute = target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            if name in self.built_in:
                raise
            raise ValueError(
                f"plug-in {self.kind} '{name}' of {self.owner(name)} cannot be imported from "
                f"{target}: {error}. Reinstall or remove that distribution."
            ) from error

    def owner(self, name: str) -> str:
        """Return the distribution that gives a name; ``"noisemill"`` for a built-in."""
        if name in self.built_in:
            return _OURS
        return next((_owner(e) for e in self._plug_ins() if e.name == name), "an unknown source")

    def targets(self) -> dict[str, str]:
        """Return name to ``module:attribute`` of all, built in and installed.

        Raises:
            ValueError: If two distributions give one name.
        """
        found = dict(self.built_in)
        for entry in self._plug_ins():
            if entry.name in found and found[entry.name] != entry.value:
                raise ValueError(
                    f"plug-in {self.kind} '{entry.name}' of {_owner(entry)} ({entry.value}) has "
                    f"the name of {found[entry.name]}; uninstall it or rename its entry point."
                )
            found[entry.name] = entry.value
        return found

    def _plug_ins(self) -> list[EntryPoint]:
        return list(entry_points(group=self.group))


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown distribution"
