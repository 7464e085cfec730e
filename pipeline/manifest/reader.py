"""YAML text to a tree: plain data that remembers where everything stood.

The node graph is composed by PyYAML; the data is built here, because only here are the line of each
key, duplicate keys and environment expressions still to be seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.manifest.expand import expand
from pipeline.manifest.mistakes import KeyPath, Mistake, dotted, show
from pipeline.manifest.scalars import TAG, CoreLoader, ScalarError, read_scalar, resolve, short_tag
from pipeline.manifest.tree import Place, Tree

__all__ = ["read_tree"]

_DEEPEST = 50
_MOST_NODES = 100_000
_TEXTS = (f"{TAG}str", f"{TAG}merge")


def read_tree(
    text: str, *, name: str, environ: Mapping[str, str], lines: bool = True, path: KeyPath = ()
) -> Tree:
    """Read YAML into data with places.

    Args:
        text: The YAML text.
        name: Name of the file (or override) in messages.
        environ: Environment of ``${VAR}``.
        lines: Whether places have lines; an override has none.
        path: Where the text's value goes, for the paths in messages.

    Returns:
        The tree. Its mistakes say what is wrong; nothing is raised for a text of any content.
    """
    tree = Tree(name)
    tree.values[path] = Place(name, 1, 1) if lines else Place(name)
    loader = None
    try:
        loader = CoreLoader(text)
        node = loader.get_single_node()
    except Exception as error:  # PyYAML raises ValueError, RecursionError and more on odd texts.
        tree.mistakes.append(_syntax_mistake(error, text, loader, tree.place(path), dotted(path)))
        return tree
    if node is not None:
        builder = _Builder(tree=tree, environ=environ, lines=lines)
        tree.data = builder.build(node, path, ())
    return tree


def _syntax_mistake(
    error: Exception, text: str, loader: CoreLoader | None, place: Place, key_path: str
) -> Mistake:
    line, column = (loader.line + 1, loader.column + 1) if loader is not None else (1, 1)
    problem = " ".join(str(error).split())
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (line, column)
        problem = ", ".join(part for part in (error.context, error.problem) if part)
    elif isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        problem = f"character {text[error.position]!r} is not allowed"
    elif isinstance(error, RecursionError):
        problem = "nested too deeply"
    around = text.splitlines()[line - 1] if 0 < line <= len(text.splitlines()) else ""
    hint = ""
    if "\\t" in problem or "\t" in around[:column]:
        hint = "indent with spaces, not with tabs"
    elif "${" in around and re.search(r"[\[{,]\s*\$\{|: *[\[{].*\$\{", around):
        hint = "put quotes around ${...} inside [ ] and { }"
    elif "mapping values are not allowed" in problem:
        hint = "put quotes around a value with ': ' in it, and check the indentation"
    elif place.line is None:
        hint = "put quotes around the value, e.g. --set 'name=\"a: b\"'"
    where = f" (column {column})" if place.line is not None else ""
    return Mistake(
        file=place.file,
        line=line if place.line is not None else None,
        column=column if place.line is not None else None,
        key_path=key_path,
        found=f"not valid YAML: {problem}{where}",
        hint=hint,
    )


@dataclass(slots=True)
class _Builder:
    tree: Tree
    environ: Mapping[str, str]
    lines: bool
    nodes: int = 0

    def build(self, node: yaml.Node, path: KeyPath, above: tuple[int, ...]) -> Any:
        """Return the data of a node, noting places and mistakes in the tree."""
        self.tree.values[path] = self._place(node)
        self.nodes += 1
        if id(node) in above:
            return self._break(path, "an alias that contains itself", "write the value out")
        # Aliases of aliases double with each line; a manifest has some hundred nodes.
        if len(above) >= _DEEPEST or self.nodes > _MOST_NODES:
            return self._break(path, "too deeply nested, or too many values", "simplify it")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (f"{TAG}map", f"{TAG}seq"):
            return self._break(path, f"tag '{short_tag(node.tag)}'", "remove the tag")
        inside = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, i), inside) for i, item in enumerate(node.value)]
        return self._mapping(node, path, inside)

    def _place(self, node: yaml.Node) -> Place:
        if not self.lines:
            return Place(self.tree.name)
        return Place(self.tree.name, node.start_mark.line + 1, node.start_mark.column + 1)

    def _break(self, path: KeyPath, found: str, hint: str, expected: str = "") -> None:
        mistake = self.tree.mistake(path, found, expected=expected, hint=hint)
        self.tree.broken.setdefault(path, []).append(mistake)

    def _mapping(
        self, node: yaml.MappingNode, path: KeyPath, above: tuple[int, ...]
    ) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        seen: dict[str, Place] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._bad_key(path, place)
            elif key_node.tag == f"{TAG}merge":
                merged = {**self._merged(value_node, path, above), **merged}
            elif key_node.value in seen:
                self._duplicate((*path, key_node.value), seen[key_node.value], place)
            else:
                seen[key_node.value] = self.tree.keys[(*path, key_node.value)] = place
                data[key_node.value] = self.build(value_node, (*path, key_node.value), above)
        return {**merged, **data}

    def _merged(self, node: yaml.Node, path: KeyPath, above: tuple[int, ...]) -> dict[str, Any]:
        """Return what ``<<: *base`` brings in; the places are those of the base."""
        sub = _Builder(Tree(self.tree.name), self.environ, self.lines, self.nodes)
        value = sub.build(node, path, above)
        self.nodes = sub.nodes
        self.tree.mistakes += sub.tree.mistakes
        self.tree.broken.update(sub.tree.broken)
        self.tree.texts.update(sub.tree.texts)
        for mine, theirs in ((self.tree.keys, sub.tree.keys), (self.tree.values, sub.tree.values)):
            mine.update(
                {at: place for at, place in theirs.items() if at != path and at not in mine}
            )
        maps = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in maps):
            self.tree.mistakes.append(
                self.tree.mistake(
                    (*path, "<<"), f"found {show(value)}", expected="expected an alias of a mapping"
                )
            )
            return {}
        return {key: val for each in reversed(maps) for key, val in each.items()}

    def _bad_key(self, path: KeyPath, place: Place) -> None:
        self.tree.mistakes.append(
            place.mistake(
                path,
                "a key that is a list or a mapping",
                hint="keys are texts; put quotes around a text that starts with [ or {",
            )
        )

    def _duplicate(self, path: KeyPath, first: Place, again: Place) -> None:
        where = f" on line {first.line}" if first.line is not None else ""
        self.tree.mistakes.append(
            again.mistake(
                path,
                f"duplicate key '{path[-1]}', first given{where}",
                hint="remove one of them",
            )
        )

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if node.tag != f"{TAG}str":
            return self._typed(node.tag, node.value, path)
        expansion = expand(node.value, self.environ)
        for problem in expansion.problems:
            self._break(path, problem.found, problem.hint)
        text = expansion.text
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            return self._break(
                path, f"found {show(text)}", "remove the characters that are no text"
            )
        # Only a bare ${VAR} may become a number; "${VAR}" in quotes stays a text.
        if expansion.whole and node.style is None:
            self.tree.texts[path] = text
            return self._reread(text, path)
        return text

    def _reread(self, text: str, path: KeyPath) -> Any:
        if text.startswith("["):
            sub = read_tree(text, name=self.tree.name, environ={}, lines=False, path=path)
            if isinstance(sub.data, list) and not sub.mistakes and not sub.broken:
                return sub.data
        tag = resolve(text)
        try:
            return text if tag in _TEXTS else read_scalar(tag, text)
        except ScalarError:
            return text

    def _typed(self, tag: str, text: str, path: KeyPath) -> Any:
        try:
            return text if tag in _TEXTS else read_scalar(tag, text)
        except ScalarError as error:
            return self._break(path, error.found, "", error.expected)
