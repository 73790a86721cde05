"""JSON Schemas in the dialect that vendors enforce.

OpenAI's and Anthropic's strict modes accept a subset of JSON Schema: every object is closed
(`additionalProperties: false`), and OpenAI wants every property required. Pydantic's schemas are neither, so they
are rewritten here; a schema that says something the subset cannot say is left to the model's good will.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ANTHROPIC_KEYWORDS = frozenset(
    ("type", "enum", "const", "anyOf", "allOf", "oneOf", "$ref", "$defs", "definitions", "default", "description", "title",
     "properties", "required", "additionalProperties", "items", "minItems", "format", "prefixItems", "nullable")
)  # fmt: skip
_ANTHROPIC_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
)
_SUBSCHEMAS = ("items", "additionalItems", "not", "if", "then", "else")
_SUBSCHEMA_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_SUBSCHEMA_MAPS = ("properties", "$defs", "definitions")


def close_objects(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema in OpenAI's strict subset, or `None` if it has objects with free keys.

    Every property becomes required: a default has no meaning to a model that must always answer it. A `$ref` with
    siblings is replaced by what it points to, as the vendor allows no siblings.
    """
    try:
        return _closed(schema, schema)
    except _FreeKeysError:
        return None


def without_constraints(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in Anthropic's subset: closed objects, and limits moved into descriptions.

    The vendor refuses `minimum`, `maxLength`, `pattern` and the like; the model still reads them in the description.
    """
    return _described(schema)


class _FreeKeysError(Exception):
    """An object accepts keys that are not listed."""


def _closed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str) and len(schema) > 1:
        target = _resolve(reference, root)
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return _closed({**target, **siblings}, root)
    result = {key: _closed_value(key, value, root) for key, value in schema.items() if key != "default"}
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties", False) is not False:
            raise _FreeKeysError
        result["additionalProperties"] = False
        properties = schema.get("properties")
        result["required"] = list(properties) if isinstance(properties, Mapping) else []
        result.setdefault("properties", {})
    return result


def _closed_value(key: str, value: Any, root: Mapping[str, Any]) -> Any:
    if key in _SUBSCHEMA_MAPS and isinstance(value, Mapping):
        return {name: _closed(child, root) for name, child in value.items()}
    if key in _SUBSCHEMA_LISTS and isinstance(value, list):
        return [_closed(child, root) if isinstance(child, Mapping) else child for child in value]
    if key in _SUBSCHEMAS and isinstance(value, Mapping):
        return _closed(value, root)
    return value


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    target: Any = root
    for step in reference.removeprefix("#/").split("/"):
        target = target[step.replace("~1", "/").replace("~0", "~")]
    return target if isinstance(target, Mapping) else {}


def _described(schema: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    moved: list[str] = []
    for key, value in schema.items():
        if not _is_supported(key, value):
            moved.append(f"{key}: {value}")
        elif key in _SUBSCHEMA_MAPS and isinstance(value, Mapping):
            result[key] = {name: _described(child) for name, child in value.items()}
        elif key in _SUBSCHEMA_LISTS and isinstance(value, list):
            result["anyOf" if key == "oneOf" else key] = [
                _described(child) if isinstance(child, Mapping) else child for child in value
            ]
        elif key in _SUBSCHEMAS and isinstance(value, Mapping):
            result[key] = _described(value)
        else:
            result[key] = value
    if schema.get("type") == "object" or "properties" in schema:
        result["additionalProperties"] = False
    if moved:
        notes = "{" + ", ".join(moved) + "}"
        result["description"] = f"{result['description']}\n\n{notes}" if result.get("description") else notes
    return result


def _is_supported(key: str, value: Any) -> bool:
    if key == "minItems":
        return value in (0, 1)
    if key == "format":
        return value in _ANTHROPIC_FORMATS
    return key in _ANTHROPIC_KEYWORDS
