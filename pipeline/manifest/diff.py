"""How two manifests differ, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.manifest.mistakes import KeyPath, dotted, printable

__all__ = ["manifest_difference"]

_LONGEST_VALUE = 80
_ABSENT = "(absent)"


def manifest_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the differences between the data of two manifests.

    Args:
        old: JSON values, as :attr:`~pipeline.manifest.load.LoadedManifest.data`.
        new: JSON values.

    Returns:
        One line a difference, in the order of ``old``; empty where they are equal.

    Example:
        >>> manifest_difference({"patches": {"size": 64}}, {"patches": {"size": 32}, "seed": 1})
        ['patches.size: 64 -> 32', 'seed: (absent) -> 1']
    """
    return list(_differences(old, new, ()))


def _differences(old: Any, new: Any, path: KeyPath) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            at = (*path, str(key))
            if key not in new:
                yield _line(at, _text(old[key]), _ABSENT)
            elif key not in old:
                yield _line(at, _ABSENT, _text(new[key]))
            else:
                yield from _differences(old[key], new[key], at)
    elif _is_list(old) and _is_list(new):
        for i in range(max(len(old), len(new))):
            if i >= len(new):
                yield _line((*path, i), _text(old[i]), _ABSENT)
            elif i >= len(old):
                yield _line((*path, i), _ABSENT, _text(new[i]))
            else:
                yield from _differences(old[i], new[i], (*path, i))
    # 1 == True in Python, and they are two things in a manifest.
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield _line(path, _text(old), _text(new))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _line(path: KeyPath, old: str, new: str) -> str:
    return printable(f"{dotted(path)}: {old} -> {new}")


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
