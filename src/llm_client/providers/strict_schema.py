"""JSON Schemas in the dialect that vendors enforce.

OpenAI's and Anthropic's strict modes accept a subset of JSON Schema: every object is closed
(`additionalProperties: false`), and OpenAI wants every property required. Pydantic's schemas are neither, so they
are rewritten here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_ANTHROPIC_KEYWORDS = frozenset(
    ("type", "enum", "const", "anyOf", "allOf", "oneOf", "$ref", "$defs", "definitions", "description", "title",
     "properties", "required", "additionalProperties", "items")
)  # fmt: skip
_ANTHROPIC_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
)
_SUBSCHEMAS = ("items", "additionalItems", "not", "if", "then", "else")
_SUBSCHEMA_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_SUBSCHEMA_MAPS = ("properties", "$defs", "definitions")


def close_objects(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema in OpenAI's strict subset, or `None` if it has objects with free keys.

    Every property becomes required, as the vendor demands. A `$ref` with siblings is replaced by what it points to,
    as the vendor allows no siblings; where that would never end, the siblings go instead.
    """
    try:
        return _closed(schema, schema, frozenset())
    except _FreeKeysError:
        return None


def strict_or_free(schema: Mapping[str, Any], *, strict: bool) -> tuple[Mapping[str, Any], bool]:
    """Return a schema the vendor can enforce and `True`, or the schema as it is and `False`."""
    closed = close_objects(schema) if strict else None
    return (schema, False) if closed is None else (closed, True)


def without_constraints(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema in Anthropic's subset, or `None` if it has objects with free keys.

    The vendor refuses `minimum`, `maxLength`, `pattern`, defaults and the like; they move into the description, where
    the model still reads them.
    """
    try:
        return _described(schema)
    except _FreeKeysError:
        return None


class _FreeKeysError(Exception):
    """An object accepts keys that are not listed."""


def _closed(schema: Mapping[str, Any], root: Mapping[str, Any], inlined: frozenset[str]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str) and len(schema) > 1:
        if reference in inlined:
            return {"$ref": reference}
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return _closed({**_resolve(reference, root), **siblings}, root, inlined | {reference})
    only = schema.get("allOf")
    if isinstance(only, list) and len(only) == 1 and isinstance(only[0], Mapping):
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        return _closed({**rest, **only[0]}, root, inlined)
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key != "default" or value is not None:
            result[key] = _map_subschemas(key, value, lambda child: _closed(child, root, inlined))
    if _is_object(schema):
        result["additionalProperties"] = False
        result["required"] = list(schema.get("properties") or ())
    return result


def _is_object(schema: Mapping[str, Any]) -> bool:
    """Whether a schema describes objects. Raises `_FreeKeysError` when they may have keys that are not listed."""
    if schema.get("type") != "object" and "properties" not in schema:
        return False
    if schema.get("additionalProperties", False) is not False:
        raise _FreeKeysError
    return True


def _map_subschemas(key: str, value: Any, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    """Return a keyword's value with every schema inside it changed."""
    if key in _SUBSCHEMA_MAPS and isinstance(value, Mapping):
        return {name: change(child) for name, child in value.items()}
    if key in _SUBSCHEMA_LISTS and isinstance(value, list):
        return [change(child) if isinstance(child, Mapping) else child for child in value]
    return change(value) if key in _SUBSCHEMAS and isinstance(value, Mapping) else value


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
        elif key != "type" or ("enum" not in schema and "const" not in schema):
            result["anyOf" if key == "oneOf" else key] = _map_subschemas(key, value, _described)
    if _is_object(schema):
        result["additionalProperties"] = False
        result.setdefault("properties", {})
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
