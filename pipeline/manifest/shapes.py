"""What the models allow at a place, read from their annotations and told in words."""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.manifest.mistakes import KeyPath
from pipeline.manifest.names import Named

__all__ = ["Shape", "Spot", "describe", "locate", "shape_of"]

_BOUNDS = ("gt", "ge", "lt", "le", "min_length", "pattern")


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand at a place.

    Args:
        members: The types allowed, without ``None``.
        bounds: Limits of a value: ``gt``, ``ge``, ``lt``, ``le``, ``min_length``, ``pattern``.
        tag: Name of the key that tells the members apart, for a union of models.
        named: Registry of the texts that may stand here, or of the tags of further models.
    """

    members: tuple[Any, ...]
    bounds: dict[str, Any]
    tag: str | None = None
    named: Named | None = None

    @property
    def model(self) -> type[BaseModel] | None:
        """The one model allowed here, or ``None`` where there is a choice or no model."""
        only = self.members[0] if len(self.members) == 1 and self.tag is None else None
        return only if isinstance(only, type) and issubclass(only, BaseModel) else None

    @property
    def by_tag(self) -> dict[str, type[BaseModel]]:
        """The models of a union by their tags."""
        if self.tag is None:
            return {}
        fields = ((model, model.model_fields[self.tag].annotation) for model in self.members)
        return {tag: model for model, literal in fields for tag in get_args(literal)}

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of a union of models, those of plug-ins included.

        Raises:
            ValueError: If two distributions give one tag.
        """
        return tuple(dict.fromkeys([*self.by_tag, *(self.named.names() if self.named else ())]))

    def model_of(self, tag: str) -> type[BaseModel] | None:
        """Return the model of a tag, ``None`` where there is none.

        Raises:
            ValueError: If it is a plug-in's and cannot be imported.
        """
        if tag in self.by_tag or self.tag is None or self.named is None:
            return self.by_tag.get(tag)
        model: type[BaseModel] | None = self.named.load(tag) if self.named.allows(tag) else None
        return model

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts allowed here, or nothing where it is not a choice among texts."""
        if self.named is not None:
            return self.named.names()
        literals = [member for member in self.members if get_origin(member) is Literal]
        return tuple(str(choice) for literal in literals for choice in get_args(literal))

    def item(self, index: int) -> Shape | None:
        """Return the shape of a list's item, or ``None`` where no list is allowed."""
        for member in self.members:
            arguments = get_args(member)
            if get_origin(member) is list:
                return shape_of(arguments[0])
            if get_origin(member) is tuple and 0 <= index < len(arguments):
                return shape_of(arguments[index])
        return None


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an error of pydantic is in the manifest.

    Args:
        path: Path of the key in the YAML data, without the tags that pydantic puts in between.
        shape: What may stand there; ``None`` for an unknown key.
        owner: The model that the key belongs to, ``None`` for the manifest itself.
        union: Shape of the tagged union that ``owner`` was chosen from, if it was.
    """

    path: KeyPath
    shape: Shape | None
    owner: type[BaseModel] | None
    union: Shape | None


def shape_of(annotation: Any, metadata: Iterable[Any] = ()) -> Shape:
    """Return the shape of a type annotation.

    Args:
        annotation: A model's field annotation, or a :class:`~pydantic.fields.FieldInfo`.
        metadata: Limits that go with it.
    """
    if isinstance(annotation, FieldInfo):
        return shape_of(annotation.annotation, [*annotation.metadata, annotation])
    bounds: dict[str, Any] = {}
    tag: str | None = None
    named: Named | None = None
    for entry in metadata:
        named = entry if isinstance(entry, Named) else named
        bounds |= {
            name: bound for name in _BOUNDS if (bound := getattr(entry, name, None)) is not None
        }
        if isinstance(entry, FieldInfo):
            bounds |= shape_of(str, entry.metadata).bounds
            tag = entry.discriminator if isinstance(entry.discriminator, str) else tag
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        deeper = shape_of(inner, extra)
        bounds = {**deeper.bounds, **bounds}
        return Shape(deeper.members, bounds, deeper.tag or tag, deeper.named or named)
    if get_origin(annotation) in (Union, types.UnionType):
        members: list[Any] = []
        for argument in get_args(annotation):
            if argument is not type(None):
                deeper = shape_of(argument)
                members += deeper.members
                bounds = {**deeper.bounds, **bounds}
                named = deeper.named or named
        return Shape(tuple(members), bounds, tag, named)
    return Shape((annotation,), bounds, tag, named)


def locate(root: Shape, loc: Sequence[str | int]) -> Spot:
    """Turn the ``loc`` of a pydantic error into a place in the YAML data.

    Pydantic puts the tag of a union's member (``images``), or the name of a type (``int``), into
    the path; only the models tell these apart from keys.
    """
    path: KeyPath = ()
    shape: Shape | None = root
    owner: type[BaseModel] | None = None
    union: Shape | None = None
    chosen: Shape | None = None
    for part in loc:
        if shape is None:
            path = (*path, part)
        elif (model := shape.model_of(str(part))) is not None:
            chosen, shape = shape, Shape((model,), {})
        elif shape.model is not None:
            owner, union, chosen = shape.model, chosen, None
            path = (*path, part)
            field = owner.model_fields.get(str(part))
            shape = None if field is None else shape_of(field)
        elif isinstance(part, int):
            path, shape = (*path, part), shape.item(part)
    return Spot(path, shape, owner, union)


def describe(shape: Shape) -> str:
    """Say in words what may stand at a place.

    Example:
        >>> describe(shape_of(list[Literal["hdf5", "parquet"]]))
        'a list of: one of hdf5, parquet'
    """
    if shape.tag is not None:
        return f"a mapping with '{shape.tag}' one of {', '.join(shape.tags)}"
    if shape.named is not None:
        return f"one of {', '.join(shape.choices)}"
    return " or ".join(dict.fromkeys(_describe(member, shape.bounds) for member in shape.members))


def _describe(member: Any, bounds: dict[str, Any]) -> str:
    origin, arguments = get_origin(member), get_args(member)
    if origin is Literal:
        choices = ", ".join(str(choice) for choice in arguments)
        return f"one of {choices}" if len(arguments) > 1 else f"'{choices}'"
    if origin is list:
        some = " with at least one item" if bounds.get("min_length") else ""
        return f"a list{some} of: {describe(shape_of(arguments[0]))}"
    if origin is tuple:
        return f"a list of {len(arguments)} items, each {describe(shape_of(arguments[0]))}"
    if isinstance(member, type) and issubclass(member, BaseModel):
        return f"a mapping with the keys {', '.join(member.model_fields)}"
    if member is str:
        return "a text that is not empty" if "pattern" in bounds else "a text"
    if member is bool:
        return "true or false"
    if member in (int, float):
        return ("a whole number" if member is int else "a number") + _describe_bounds(bounds)
    return "a mapping" if origin is dict else "a value"


def _describe_bounds(bounds: dict[str, Any]) -> str:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']:g} to {bounds['le']:g}"
    told = [f"{word} {bounds[name]:g}" for name, word in words.items() if name in bounds]
    return f" {' and '.join(told)}" if told else ""
