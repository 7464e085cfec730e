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
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
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
        needs: Attributes that a plug-in must have to be of this kind.
        base: What a plug-in is derived from, or a page that says how one is written, for messages.

    Example:
        >>> kinds = Registry("number", "noisemill.numbers", {"tau": "math:tau"})
        >>> kinds.names(), round(kinds.load("tau"), 2)
        (('tau',), 6.28)
    """

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, str],
        *,
        needs: Sequence[str] = (),
        base: str = "docs/plugins.md",
    ) -> None:
        self.kind, self.group, self.built_in = kind, group, dict(built_in)
        self.needs, self.base = tuple(needs), base

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
            ValueError: If there is no such name, or a plug-in cannot be imported or is not of this
                kind.
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
        if name in self.built_in:
            return _import(target)
        plug_in = f"plug-in {self.kind} '{name}' of {self.owner(name)}"
        try:
            loaded = _import(target)
        # A plug-in may do anything while it is imported; whatever it raises is its own fault.
        except Exception as error:
            raise ValueError(
                f"{plug_in} cannot be imported from {target}: {type(error).__name__}: {error}. "
                "Reinstall or remove that distribution."
            ) from error
        lacking = [attribute for attribute in self.needs if not hasattr(loaded, attribute)]
        if lacking:
            raise ValueError(
                f"{plug_in} ({target}) is no {self.kind}: it has no {', '.join(lacking)}; see "
                f"{self.base}. Mend or remove that distribution."
            )
        return loaded

    def summary(self, name: str) -> str:
        """Return one line about what a name stands for: its ``about``, or its docstring's first.

        Raises:
            ValueError: As :meth:`load`.
        """
        loaded = self.load(name)
        about: str | None = getattr(loaded, "about", None)
        return about or (inspect.getdoc(loaded) or "").partition("\n")[0].replace("``", "")

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

    def _plug_ins(self) -> tuple[EntryPoint, ...]:
        return _installed(self.group, entry_points, tuple(sys.path))


# Looking through all distributions takes 3 ms, and names are asked for with every row of a table
# and every shard. What is found depends on the search path, which a program may extend.
@lru_cache(maxsize=256)
def _installed(
    group: str, look_up: Callable[..., Iterable[EntryPoint]], path: tuple[str, ...]
) -> tuple[EntryPoint, ...]:
    return tuple(look_up(group=group))


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown distribution"
