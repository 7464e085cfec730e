"""Overrides: ``--set patches.size=32`` puts a value into a manifest's data before it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.manifest.mistakes import KeyPath, Mistake, dotted, show
from pipeline.manifest.reader import read_tree
from pipeline.manifest.tree import Place, Tree

__all__ = ["apply_overrides"]


def apply_overrides(tree: Tree, overrides: Sequence[str], *, environ: Mapping[str, str]) -> None:
    """Put overrides into a tree, later ones over earlier ones.

    A mapping that is missing on the way is made, so ``patches.size=32`` works without a ``patches``
    section; a key that does not belong there is found by the check of the whole manifest.

    Args:
        tree: The manifest; changed in place. What is wrong with an override is noted in it.
        overrides: ``key=value``; the key is a dotted path with list places counted from 0, the
            value is YAML.
        environ: Environment of ``${VAR}`` in values.
    """
    for text in overrides:
        key, equals, value = text.partition("=")
        name = f"--set {text}"
        path = _parse_path(key)
        if not equals or path is None:
            found = "no '='" if not equals else f"the key is {show(key)}"
            tree.mistakes.append(
                _mistake(name, (), found, "expected key=value, e.g. patches.size=32")
            )
            continue
        # An alias cannot mean anything here, but a glob often starts with a star.
        quoted = f"'{value.replace(chr(39), chr(39) * 2)}'" if value.startswith("*") else value
        new = read_tree(quoted, name=name, environ=environ, lines=False)
        _put(tree, path, new)


def _parse_path(key: str) -> KeyPath | None:
    parts = key.strip().split(".")
    if not all(part and part == part.strip() for part in parts):
        return None
    return tuple(parts)


def _put(tree: Tree, parts: KeyPath, new: Tree) -> None:
    if tree.data is None:
        tree.data = {}
    node: Any = tree.data
    path: KeyPath = ()
    for depth, part in enumerate(parts):
        step = _step(node, part)
        if step is None:
            tree.mistakes.append(_no_such_place(new.name, node, (*path, part)))
            return
        path = (*path, step)
        if depth == len(parts) - 1:
            node[step] = new.data
        elif isinstance(node, dict) and node.get(step) is None:
            node[step] = {}
            tree.values[path] = tree.keys[path] = Place(new.name)
        node = node[step]
    _graft(tree, path, new)


def _step(node: Any, part: str | int) -> str | int | None:
    """Return the key or index that ``part`` is in ``node``, or ``None`` where it is none."""
    if isinstance(node, dict):
        return part
    text = str(part)
    # Ten digits are more than any list; int() refuses texts of thousands.
    if isinstance(node, list) and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text) if int(text) < len(node) else None
    return None


def _graft(tree: Tree, path: KeyPath, new: Tree) -> None:
    """Move the new tree's places and mistakes below ``path``, over what was known there."""
    length = len(path)
    for known in (tree.keys, tree.values, tree.texts, tree.broken):
        for old in [at for at in known if at[:length] == path]:
            del known[old]
    tree.keys[path] = Place(new.name)
    tree.keys.update({path + at: place for at, place in new.keys.items()})
    tree.values.update({path + at: place for at, place in new.values.items()})
    tree.texts.update({path + at: text for at, text in new.texts.items()})
    # Mistakes of the value, not of the file: the next override of the same key replaces them.
    for at, mistakes in [((), new.mistakes), *new.broken.items()]:
        if mistakes:
            found = [_below(path, mistake) for mistake in mistakes]
            tree.broken.setdefault(path + at, []).extend(found)


def _below(path: KeyPath, mistake: Mistake) -> Mistake:
    key_path = ".".join(part for part in (dotted(path), mistake.key_path) if part)
    return replace(mistake, line=None, column=None, key_path=key_path)


def _no_such_place(name: str, node: Any, path: KeyPath) -> Mistake:
    if isinstance(node, list):
        number = f"a number from 0 to {len(node) - 1}" if node else "a list with items"
        return _mistake(name, path, f"no item {show(path[-1])}", f"expected {number}")
    found = (
        f"'{dotted(path[:-1])}' is {show(node)}" if path[:-1] else f"the manifest is {show(node)}"
    )
    return _mistake(name, path, found, "expected a mapping or a list there")


def _mistake(name: str, path: KeyPath, found: str, expected: str) -> Mistake:
    return Mistake(
        file=name, line=None, column=None, key_path=dotted(path), found=found, expected=expected
    )
