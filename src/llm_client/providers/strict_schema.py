"""JSON Schemas in the dialects that vendors enforce.

OpenAI's and Anthropic's strict modes accept a subset of JSON Schema: every object is closed (`additionalProperties: false`), OpenAI wants
every property required, Anthropic refuses recursion. What the subset has no word for is said otherwise where that means the same
(`oneOf` by a tag is `anyOf`), moves into the description where leaving it out only allows more (a limit, a default, the order of a tuple), and
else the schema is not one for the strict mode: it is then sent as it is, or told in the prompt, and the answer is checked here either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm_client.json_text import JsonObject, JsonValue, dumps, referred
from llm_client.messages import Message
from llm_client.spec import OutputSchema

_TYPES: Final = frozenset(("string", "number", "integer", "boolean", "null", "object", "array"))
_FORMATS: Final = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
)
_COMMON: Final = frozenset(
    ("type", "enum", "const", "anyOf", "$ref", "$defs", "definitions", "description", "title", "properties",
     "required", "additionalProperties", "items")
)  # fmt: skip
_SILENT: Final = frozenset(("$schema", "$id", "$comment", "discriminator"))
"""Keywords that say nothing to a model."""
_OPENING: Final = frozenset(
    ("patternProperties", "if", "then", "else", "dependentSchemas", "dependencies", "unevaluatedProperties", "$dynamicRef", "$anchor")
)  # fmt: skip
"""Keywords without which a closed object would refuse what the schema allows, or that name other places."""
_TYPE_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
_LOOKAROUND: Final = ("(?=", "(?!", "(?<")
_DEFINITIONS: Final = ("$defs", "definitions")
_MAX_NODES: Final = 20_000
"""Schemas inside a schema that are rewritten: references may multiply."""
_MAX_PROPERTIES: Final = 5_000
_MAX_VALUES: Final = 1_000
_MAX_DEPTH: Final = 10
_MAX_LETTERS: Final = 120_000
_MANY_VALUES: Final = 250
_MAX_LETTERS_OF_MANY: Final = 15_000
"""OpenAI's bounds on a strict schema: its properties, values of enumerations and nested objects, the characters of all names and values, and those
of the values of one enumeration that has many (its guide on structured outputs, "Supported schemas", November 2026)."""
_MAX_STRICT_TOOLS: Final = 20
_MAX_OPTIONAL: Final = 24
_MAX_UNIONS: Final = 16
"""Anthropic's bounds on all strict schemas of a request together: tools, parameters that may be left out, and those of several types (its page on
structured outputs, "Schema complexity limits", September 2026)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    """What a strict mode accepts."""

    keywords: frozenset[str]
    formats: frozenset[str]
    needs_all: bool = False
    """Every property is required, and a reference has no siblings."""
    is_recursive: bool = False
    is_bounded: bool = False


_OPENAI: Final = _Dialect(
    keywords=_COMMON
    | {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}
    | {"pattern", "format"},
    formats=_FORMATS,
    needs_all=True,
    is_recursive=True,
    is_bounded=True,
)
_ANTHROPIC: Final = _Dialect(keywords=_COMMON | {"allOf", "format", "minItems"}, formats=_FORMATS | {"uri"})


def close_objects(schema: JsonObject) -> dict[str, JsonValue] | None:
    """Return a schema in OpenAI's strict subset, or `None` if there is none that allows all it allows.

    Every property becomes required, as the vendor demands. A `$ref` with siblings is replaced by what it points to,
    as the vendor allows no siblings; where that would never end, the siblings go instead.
    """
    closed = _rewritten(schema, _OPENAI)
    return closed if closed is not None and closed.get("type") == "object" else None


def strict_or_free(schema: JsonObject, *, strict: bool) -> tuple[JsonObject, bool]:
    """Return a schema the vendor can enforce and `True`, or the schema as it is and `False`."""
    closed = close_objects(schema) if strict else None
    return (schema, False) if closed is None else (closed, True)


def without_constraints(schema: JsonObject) -> dict[str, JsonValue] | None:
    """Return a schema in Anthropic's subset, or `None` if there is none that allows all it allows."""
    return _rewritten(schema, _ANTHROPIC)


class StrictRoom:
    """What is left of the bounds that Anthropic sets on all strict schemas of a request: what finds no room in it is not sent as one."""

    def __init__(self) -> None:
        self._tools, self._optional, self._unions = _MAX_STRICT_TOOLS, _MAX_OPTIONAL, _MAX_UNIONS

    def output(self, schema: JsonObject) -> dict[str, JsonValue] | None:
        """Return the schema of the answer in Anthropic's subset; `None` if it has none, or there is no room for it."""
        return self._taken(without_constraints(schema))

    def tool(self, schema: JsonObject) -> dict[str, JsonValue] | None:
        """Return the schema of a tool likewise."""
        taken = self._taken(without_constraints(schema)) if self._tools else None
        self._tools -= taken is not None
        return taken

    def _taken(self, schema: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if schema is None:
            return None
        optional, unions = _complexity(schema)
        if optional > self._optional or unions > self._unions:
            return None
        self._optional -= optional
        self._unions -= unions
        return schema


def _complexity(schema: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many properties of a schema may be left out, and how many of its places take several types."""
    optional = unions = 0
    below: list[Mapping[str, Any]] = [schema]
    while below:
        each = below.pop()
        kind, properties = each.get("type"), each.get("properties") or {}
        unions += "anyOf" in each or (isinstance(kind, list) and len(kind) > 1)
        optional += len(properties.keys() - set(each.get("required") or ()))
        below += _children(each)
        for name in _DEFINITIONS:
            below += (each.get(name) or {}).values()
    return optional, unions


def told_in_prompt(messages: Sequence[Message], output: OutputSchema) -> Sequence[Message]:
    """Return messages that tell the model the schema of its answer, for vendors that cannot enforce it."""
    instruction = output.instruction
    if any(message.role == "system" and instruction in message.text for message in messages):
        return messages
    return [Message.system(instruction), *messages]


def _rewritten(schema: Mapping[str, Any], dialect: _Dialect) -> dict[str, Any] | None:
    rewriter = _Rewriter(schema, dialect)
    try:
        result = rewriter.schema(schema, frozenset())
        if not dialect.is_recursive:
            rewriter.check_ends()
    except (_NotStrictError, RecursionError):
        return None
    return result


class _NotStrictError(Exception):
    """A schema has no form in this dialect."""


class _Rewriter:
    """One pass over one schema, which anybody may have written: nothing in it has to be what it should be."""

    def __init__(self, root: Mapping[str, Any], dialect: _Dialect) -> None:
        self._root = root
        self._dialect = dialect
        self._nodes = 0
        self._properties = 0
        self._values = 0
        self._letters = 0

    def schema(self, schema: Any, inlined: frozenset[str], depth: int = 0) -> dict[str, Any]:
        """Return a schema in the dialect. Raises `_NotStrictError` where it has none."""
        self._nodes += 1
        if not isinstance(schema, Mapping) or self._nodes > _MAX_NODES or schema.keys() & _OPENING:
            raise _NotStrictError
        reference = schema.get("$ref")
        if reference is not None:
            target = self._resolved(reference)
            siblings = {key: value for key, value in schema.items() if key != "$ref"}
            if not siblings or (reference in inlined and self._dialect.needs_all):
                return {"$ref": reference}
            if self._dialect.needs_all:
                return self.schema({**target, **siblings}, inlined | {reference}, depth)
        only = schema.get("allOf")
        if isinstance(only, list) and len(only) == 1 and isinstance(only[0], Mapping):
            rest = {key: value for key, value in schema.items() if key != "allOf"}
            return self.schema({**rest, **only[0]}, inlined, depth)
        return self._translated(self._untupled(schema), inlined, depth)

    def check_ends(self) -> None:
        """Raise `_NotStrictError` if the schema refers to itself."""
        self._check_ends(self._root, ())

    def _check_ends(self, schema: Any, above: tuple[str, ...]) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _NotStrictError
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in above or reference == "#":
                raise _NotStrictError
            self._check_ends(self._resolved(reference), (*above, reference))
        for child in _children(schema):
            self._check_ends(child, above)

    def _translated(self, schema: Mapping[str, Any], inlined: frozenset[str], depth: int) -> dict[str, Any]:
        is_object = self._is_object(schema)
        deeper = depth + is_object
        if self._dialect.is_bounded and deeper > _MAX_DEPTH:
            raise _NotStrictError
        result: dict[str, Any] = {}
        moved: list[str] = []
        for key, value in schema.items():
            if key == "oneOf" and "anyOf" not in schema:
                key = "anyOf"  # noqa: PLW2901 -- in both dialects the word for a choice
            is_needless = key == "default" and value is None and self._dialect.needs_all
            if key in _SILENT or is_needless or (key == "required" and not is_object):
                continue
            if not self._takes(key, value):
                moved.append(f"{key}: {_said(value)}")
            elif key != "required" or not self._dialect.needs_all:
                result[key] = self._value(key, value, inlined, deeper)
        self._finish(result, is_object=is_object)
        if moved:
            notes = "{" + ", ".join(moved) + "}"
            told = result.get("description")
            result["description"] = f"{told}\n\n{notes}" if told else notes
        return result

    def _value(self, key: str, value: Any, inlined: frozenset[str], depth: int) -> Any:
        if key in ("properties", *_DEFINITIONS):
            if not isinstance(value, Mapping):
                raise _NotStrictError
            self._count_letters(sum(map(len, value)))
            # A definition is not below the place that defines it.
            below = 0 if key in _DEFINITIONS else depth
            return {name: self.schema(child, inlined, below) for name, child in value.items()}
        if key in ("anyOf", "allOf"):
            if not isinstance(value, list) or not value:
                raise _NotStrictError
            if key == "allOf" and any(isinstance(child, Mapping) and "$ref" in child for child in value):
                raise _NotStrictError
            return [self.schema(child, inlined, depth) for child in value]
        if key == "items":
            return self.schema(value, inlined, depth)
        if key in ("description", "title") and not isinstance(value, str):
            raise _NotStrictError
        return value

    def _finish(self, result: dict[str, Any], *, is_object: bool) -> None:
        """Close an object, and name the type where a value tells it."""
        named = result.get("type", [])
        kinds = named if isinstance(named, list) else [named]
        if any(not isinstance(kind, str) or kind not in _TYPES for kind in kinds):
            raise _NotStrictError
        values = result.get("enum", [])
        if not isinstance(values, list):
            raise _NotStrictError
        self._count(len(result.get("properties") or ()), len(values))
        letters = sum(len(str(value)) for value in values)
        if self._dialect.is_bounded and len(values) > _MANY_VALUES and letters > _MAX_LETTERS_OF_MANY:
            raise _NotStrictError
        self._count_letters(letters + (len(str(result["const"])) if "const" in result else 0))
        if is_object:
            result["additionalProperties"] = False
            result.setdefault("properties", {})
            if self._dialect.needs_all:
                result["required"] = list(result["properties"])
        if "enum" in result or "const" in result:
            self._finish_values(result, kinds)
        if "array" in kinds and "items" not in result and self._dialect.needs_all:
            raise _NotStrictError

    def _finish_values(self, result: dict[str, Any], kinds: Sequence[str]) -> None:
        """Name the type of values where it is wanted. Raises `_NotStrictError` where they are no plain ones, or not of the type that is stated."""
        named = _types_of(result["enum"] if "enum" in result else [result["const"]])
        if not self._dialect.needs_all:
            result.pop("type", None)
        elif "type" in result:
            allowed = {*kinds, *(("integer",) if "number" in kinds else ())}
            if not allowed.issuperset(named):
                raise _NotStrictError
        elif not result.keys() & {"anyOf", "$ref"}:
            result["type"] = named[0] if len(named) == 1 else named

    def _count(self, properties: int, values: int) -> None:
        self._properties += properties
        self._values += values
        if self._dialect.is_bounded and (self._properties > _MAX_PROPERTIES or self._values > _MAX_VALUES):
            raise _NotStrictError

    def _count_letters(self, letters: int) -> None:
        self._letters += letters
        if self._dialect.is_bounded and self._letters > _MAX_LETTERS:
            raise _NotStrictError

    def _is_object(self, schema: Mapping[str, Any]) -> bool:
        """Whether a schema describes objects. Raises `_NotStrictError` when they, or anything, may be anything."""
        kind = schema.get("type")
        may_be = kind == "object" or (isinstance(kind, list) and "object" in kind)
        if not may_be and "properties" not in schema:
            if not schema.keys() & {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}:
                raise _NotStrictError
            return False
        required = schema.get("required", [])
        if (
            schema.get("additionalProperties", False) is not False
            or "properties" not in schema
            or not isinstance(required, list)
            or kind is None
        ):
            raise _NotStrictError
        return True

    def _takes(self, key: str, value: Any) -> bool:
        if key in ("allOf", "oneOf") and key not in self._dialect.keywords:
            raise _NotStrictError
        if key == "minItems" and not self._dialect.needs_all:
            return value in (0, 1)
        if key == "format":
            return value in self._dialect.formats
        if key == "pattern" and isinstance(value, str) and any(mark in value for mark in _LOOKAROUND):
            return False
        return key in self._dialect.keywords

    def _untupled(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a tuple as a list of as many items, each of one of its kinds; what stands where is told in words."""
        items = schema.get("prefixItems", schema.get("items"))
        if not isinstance(items, list):
            return schema
        rest = {
            key: value
            for key, value in schema.items()
            if key not in ("prefixItems", "items", "additionalItems")
        }
        more = schema.get("items", True) if "prefixItems" in schema else schema.get("additionalItems", True)
        is_closed = more is False or schema.get("maxItems") == len(items)
        kinds = [kind for number, kind in enumerate(items) if kind not in items[:number]]
        if not kinds or not (is_closed or isinstance(more, Mapping)):
            raise _NotStrictError
        if not is_closed and more not in kinds:
            kinds.append(more)
        length = {"maxItems": len(items)} if is_closed else {}
        note = f"{{its items, in this order: {_said(items)}}}"
        told = schema.get("description")
        return {
            **rest,
            **length,
            "description": f"{told}\n\n{note}" if told else note,
            "items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds},
        }

    def _resolved(self, reference: Any) -> Mapping[str, Any]:
        """Return what a reference within the schema points to. Raises `_NotStrictError` where that is nothing."""
        target = referred(self._root, reference)
        if not isinstance(target, Mapping):
            raise _NotStrictError
        return target


def _children(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas right inside a schema, definitions left out: they count where something refers to them."""
    for key, value in schema.items():
        below: Any = ()
        if key == "properties" and isinstance(value, Mapping):
            below = value.values()
        elif isinstance(value, list):
            below = value
        elif key not in _DEFINITIONS:
            below = (value,)
        yield from (child for child in below if isinstance(child, Mapping))


def _types_of(values: Any) -> list[str]:
    """Return the types of an enumeration's values. Raises `_NotStrictError` for objects and lists, and where there is none."""
    names = sorted({_TYPE_NAMES.get(type(value), "") for value in values})
    if not names or "" in names:
        raise _NotStrictError
    return names


def _said(value: Any) -> str:
    """Return a keyword's value as a model reads it."""
    if isinstance(value, Mapping | list):
        try:
            return dumps(value).decode()
        except TypeError:
            raise _NotStrictError from None
    return str(value)
