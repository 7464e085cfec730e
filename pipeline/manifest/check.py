"""Checking a manifest's data against the models: every mistake, with its place, in plain words."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline.manifest.corpus import GeneratorSpec
from pipeline.manifest.mistakes import KeyPath, Mistake, closest, dotted, show
from pipeline.manifest.models import Manifest
from pipeline.manifest.names import Named
from pipeline.manifest.shapes import Shape, Spot, describe, locate, shape_of
from pipeline.manifest.tree import Tree

__all__ = ["check", "manifest_adapter"]


@cache
def manifest_adapter() -> TypeAdapter[Manifest]:
    """Return pydantic's adapter of the union of all manifests."""
    return TypeAdapter(Manifest)


def check(tree: Tree) -> tuple[Manifest | None, list[Mistake]]:
    """Check a manifest's data.

    Args:
        tree: The data with its places. A text that came from the environment and looks like a
            number is made a text again where the manifest wants one.

    Returns:
        The manifest and no mistakes, or ``None`` and all mistakes, those of the tree included.
    """
    return _Check(tree).run()


class _Check:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.root = shape_of(Manifest)
        self.data = copy.deepcopy(tree.data)
        self.mistakes = [*tree.mistakes, *(m for at in tree.broken.values() for m in at)]
        # Names by registry: asking what is installed reads files.
        self.known: dict[str, tuple[str, ...]] = {}
        # Places whose mistake is known: what pydantic says there (or below) is only its echo.
        self.settled: set[KeyPath] = set(tree.broken)

    def run(self) -> tuple[Manifest | None, list[Mistake]]:
        if not isinstance(self.data, dict):
            self._tell((), f"found {show(self.data)}", expected=f"expected {describe(self.root)}")
            return None, self.mistakes
        self._walk(self.root, self.data, ())
        manifest, errors = self._validate()
        for error in errors:
            self._translate(error)
        return (None if self.mistakes else manifest), self.mistakes

    def _tell(
        self, path: KeyPath, found: str, *, expected: str = "", hint: str = "", key: bool = False
    ) -> None:
        self.mistakes.append(self.tree.mistake(path, found, expected=expected, hint=hint, key=key))

    def _is_settled(self, path: KeyPath) -> bool:
        return any(path[:n] in self.settled for n in range(len(path) + 1))

    def _validate(
        self,
    ) -> tuple[Manifest | None, list[dict[str, Any]]]:
        for _ in range(2):
            try:
                return manifest_adapter().validate_python(self.data), []
            except ValidationError as caught:
                errors: list[Any] = caught.errors(include_url=False)
            if not self._restore_texts(errors):
                break
        return None, errors

    def _restore_texts(self, errors: Sequence[dict[str, Any]]) -> bool:
        """Put environment values back to texts where a text is wanted; tell if there were any."""
        restored = False
        for error in errors:
            path = locate(self.root, error["loc"]).path
            if error["type"] == "string_type" and path in self.tree.texts:
                for data in (self.data, self.tree.data):
                    _parent(data, path)[path[-1]] = self.tree.texts[path]
                restored = True
        return restored

    def _walk(self, shape: Shape, value: Any, path: KeyPath) -> None:
        """Settle what pydantic would hide (a wrong tag hides its whole mapping) or accept."""
        if isinstance(value, bool) and bool not in shape.members and Any not in shape.members:
            # Pydantic reads `true` as the number 1, which turns a slip into a run with seed 1.
            self._tell(path, f"found {show(value)}", expected=f"expected {describe(shape)}")
            self.settled.add(path)
        elif isinstance(value, str) and shape.named and shape.tag is None:
            self._check_name(shape.named, value, path)
        elif isinstance(value, dict):
            model = shape.model if shape.tag is None else self._choose(shape, value, path)
            for key, field in model.model_fields.items() if model else ():
                if key in value:
                    self._walk(shape_of(field), value[key], (*path, key))
        elif isinstance(value, list):
            if (inner := shape.item(0)) is not None and inner.model is GeneratorSpec:
                self._check_labels(value, path)
            for index, item in enumerate(value):
                if (inner := shape.item(index)) is not None:
                    self._walk(inner, item, (*path, index))

    def _choose(self, shape: Shape, value: dict[str, Any], path: KeyPath) -> type[BaseModel] | None:
        """Return the model that a mapping's tag names, or the likeliest one after telling so."""
        key, models = str(shape.tag), shape.by_tag
        tag = value.get(key)
        at = (*path, key)
        try:
            if isinstance(tag, str) and (model := shape.model_of(tag)) is not None:
                return model
            tags = shape.tags
        except ValueError as error:  # A plug-in is broken, or two claim one name.
            self._tell(at, str(error))
            self.settled.add(path)
            return None
        allowed = ", ".join(tags)
        guess = closest(tag, tags) if isinstance(tag, str) else None
        if key not in value:
            self._tell(at, f"missing key '{key}'", expected=f"expected one of {allowed}")
        elif not self._is_settled(at):
            hint = f"did you mean '{guess}'?" if guess else ""
            self._tell(at, f"unknown {key} {show(tag)}", expected=f"allowed: {allowed}", hint=hint)
        guess = guess or _most_alike(models, set(value) - {key})
        self.settled.add(at if guess else path)
        if guess is None:
            return None
        value[key] = guess
        return shape.model_of(guess)

    def _check_labels(self, specs: list[Any], path: KeyPath) -> None:
        """Find generators of one name, whatever else is wrong with the list."""
        first: dict[str, int] = {}
        for index, spec in enumerate(specs):
            if not isinstance(spec, dict) or self._is_settled((*path, index)):
                continue
            name, label = spec.get("name"), spec.get("label")
            key = label or name
            if isinstance(key, str) and key.strip() and first.setdefault(key, index) != index:
                self._tell(
                    (*path, index, "label" if label else "name"),
                    f"{show(key)} is the name of {dotted(path)}.{first[key]} too",
                    hint="give each its own `label`",
                )

    def _check_name(self, named: Named, name: str, path: KeyPath) -> None:
        """Find a name that its registry does not know."""
        if not name.strip() or self._is_settled(path):
            return
        registry = named.registry
        try:
            known = self.known.get(registry.group) or registry.names()
            self.known[registry.group] = known
            if name in known and named.allows(name):
                return
        except ValueError as error:  # A plug-in is broken, or two claim one name.
            self._tell(path, str(error))
            return
        allowed = named.names()
        guess = None if name in known else closest(name, allowed)
        what = f"{registry.kind} {show(name)}"
        self._tell(
            path,
            f"{what} cannot be used here" if name in known else f"unknown {what}",
            expected=f"allowed: {', '.join(allowed)}",
            hint=f"did you mean '{guess}'?" if guess else "",
        )

    def _translate(self, error: dict[str, Any]) -> None:
        spot = locate(self.root, error["loc"])
        if self._is_settled(spot.path) or error["type"] == "repeated_label":
            return
        if error["type"] == "extra_forbidden":
            self._unknown_key(spot)
        elif error["type"] == "missing" and isinstance(spot.path[-1], str):
            field = spot.owner.model_fields[spot.path[-1]] if spot.owner else None
            about = f" ({field.description.rstrip('.')})" if field and field.description else ""
            what = f"expected {describe(spot.shape)}{about}" if spot.shape else ""
            self._tell(spot.path, f"missing key '{spot.path[-1]}'", expected=what)
        elif error["type"] == "value_error":
            self._tell(spot.path, str(error["ctx"]["error"]))
        else:
            self._wrong_value(spot, error)

    def _unknown_key(self, spot: Spot) -> None:
        name, allowed = str(spot.path[-1]), list(spot.owner.model_fields) if spot.owner else []
        by_tag = spot.union.by_tag if spot.union else {}
        others = [tag for tag, model in by_tag.items() if name in model.model_fields]
        guess = closest(name, allowed, cutoff=0.8)
        if not guess and not others:
            guess = self._elsewhere(name) or closest(name, allowed)
        hint = f"did you mean '{guess}'?" if guess else ""
        if guess == name:
            hint = "it belongs to the top of the manifest, not into a section"
        if not guess and others and spot.union is not None:
            hint = f"it belongs to {spot.union.tag} {', '.join(others)}"
        self._tell(
            spot.path,
            f"unknown key {show(name)}",
            expected=f"allowed: {', '.join(allowed)}",
            hint=hint,
            key=True,
        )

    def _elsewhere(self, name: str) -> str | None:
        """Return the path of a key of this name at the top or in a section of the manifest."""
        model = self.root.by_tag.get(str(self.data.get("kind")))
        if model is None or name in model.model_fields:
            return name if model else None
        for section, field in model.model_fields.items():
            inner = shape_of(field).model
            if inner is not None and name in inner.model_fields:
                return f"{section}.{name}"
        return None

    def _wrong_value(self, spot: Spot, error: dict[str, Any]) -> None:
        path, shape, value = spot.path, spot.shape, error["input"]
        if error["type"] == "missing":  # Of a list of fixed length: the list is what is wrong.
            path = path[:-1]
            shape = locate(self.root, error["loc"][:-1]).shape
        found = f"found {show(value)}"
        expected, hint = str(error["msg"]), ""
        if shape is not None:
            expected = f"expected {describe(shape)}"
            guess = closest(value, shape.choices) if isinstance(value, str) else None
            if guess:
                expected, hint = f"allowed: {', '.join(shape.choices)}", f"did you mean '{guess}'?"
            elif str in shape.members and isinstance(value, int | float):
                hint = "put it in quotes"
        # The line of the key, where the value begins on the next one.
        key = isinstance(value, dict | list)
        self._tell(path, found, expected=expected, hint=hint, key=key)


def _most_alike(models: dict[str, type[BaseModel]], keys: set[str]) -> str | None:
    """Return the tag whose model has the most of these keys, ``None`` where none has any."""
    shared = {tag: len(keys & set(model.model_fields)) for tag, model in models.items()}
    best = max(shared, key=lambda tag: shared[tag])
    return best if shared[best] else None


def _parent(data: Any, path: KeyPath) -> Any:
    for part in path[:-1]:
        data = data[part]
    return data
