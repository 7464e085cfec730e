"""JSON with one spelling: canonical text and hashes, and values rebuilt from it with checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from pipeline.storage import DatasetError

__all__ = ["canonical_json", "list_of", "rebuild", "scalar_fields", "sha256_of"]

_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "str | None": (str, type(None)),
}
_T = TypeVar("_T")


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8 as it is.

    Raises:
        ValueError: If a number is not finite.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_of(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    # A YAML file can hold half a surrogate pair, which has no UTF-8.
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def scalar_fields(cls: Any) -> list[str]:
    """Return the names of the fields that are JSON scalars."""
    return [field.name for field in fields(cls) if field.type in _SCALARS]


def rebuild(cls: type[_T], data: Any, where: str, **ready: Any) -> _T:
    """Make a dataclass from JSON: unknown keys are passed over, mistyped ones refused.

    A key that is missing is refused too, unless the field has a default: those came later than the
    files that lack them.

    Args:
        cls: A dataclass.
        data: What JSON gave for it.
        where: The file, for messages.
        ready: Fields that are already rebuilt.

    Raises:
        DatasetError: If ``data`` does not fit.
    """
    if not isinstance(data, Mapping):
        raise DatasetError(f"{where} is damaged: expected an object for {cls.__name__}.")
    values = dict(ready)
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name in values:
            continue
        if field.name not in data and field.default is not MISSING:
            continue
        if field.name not in data:
            raise DatasetError(f"{where} is damaged: {cls.__name__} has no {field.name!r}.")
        value, kinds = data[field.name], _SCALARS.get(str(field.type), (dict,))
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise DatasetError(
                f"{where} is damaged: {field.name!r} of {cls.__name__} is {value!r}."
            )
        values[field.name] = value
    return cls(**values)


def list_of(
    data: Mapping[str, Any], key: str, where: str, *, default: list[Any] | None = None
) -> list[Any]:
    """Return the list under a key.

    Raises:
        DatasetError: If there is none.
    """
    value = data.get(key, default) if isinstance(data, Mapping) else None
    if not isinstance(value, list):
        raise DatasetError(f"{where} is damaged: {key!r} is no list.")
    return value
