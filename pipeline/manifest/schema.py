"""The JSON Schema of manifests, for editors that complete and check YAML while it is typed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

from pipeline.manifest.check import manifest_adapter
from pipeline.manifest.names import with_plug_ins

__all__ = ["SCHEMA_ID", "json_schema", "schema_text"]

SCHEMA_ID = "urn:noisemill:manifest:1"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXPRESSION = {
    "title": "Environment expression",
    "description": "A value from the environment: ${NAME} or ${NAME:-default}.",
    "type": "string",
    "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[\s\S]*)?\}$",
}


def json_schema(*, plug_ins: bool = False) -> dict[str, Any]:
    """Return the schema of all kinds of manifest, JSON Schema draft 2020-12.

    It describes the file before expansion, so numbers, truth values and choices may also be
    environment expressions, except under keys that tell kinds of mapping apart.

    Args:
        plug_ins: Whether to list what other distributions add on this machine, too.

    Raises:
        ValueError: If two distributions give one name, or a plug-in source cannot be imported.
    """
    with with_plug_ins() if plug_ins else nullcontext():
        schema = manifest_adapter().json_schema()
    definitions = schema.pop("$defs")
    for definition in definitions.values():
        _allow_expressions(definition["properties"])
    return {
        "$schema": _DIALECT,
        "$id": SCHEMA_ID,
        "title": "noisemill manifest",
        "description": "One job for noisemill, told apart by `kind`.",
        **schema,
        "$defs": {**definitions, "EnvironmentExpression": _EXPRESSION},
    }


def schema_text(*, plug_ins: bool = False) -> str:
    """Return the schema as the text of a file, ending with a line break."""
    return json.dumps(json_schema(plug_ins=plug_ins), indent=2, ensure_ascii=False) + "\n"


def _allow_expressions(properties: dict[str, Any]) -> None:
    for name, value in properties.items():
        properties[name] = value if "const" in value else _or_expression(value)


def _or_expression(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that takes what ``schema`` takes, or an environment expression."""
    about = {k: v for k, v in schema.items() if k in ("title", "description", "default")}
    rest = {k: v for k, v in schema.items() if k not in about}
    if isinstance(rest.get("items"), dict) and "$ref" not in rest["items"]:
        rest["items"] = _or_expression(rest["items"])
    if "prefixItems" in rest:
        rest["prefixItems"] = [_or_expression(item) for item in rest["prefixItems"]]
    choices = rest.get("anyOf", [rest])
    is_text = any(c.get("type") == "string" and "enum" not in c for c in choices)
    if is_text or "oneOf" in rest or "$ref" in rest or rest.get("type") == "object":
        return {**about, **rest}
    return {**about, "anyOf": [*choices, {"$ref": "#/$defs/EnvironmentExpression"}]}
