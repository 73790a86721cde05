"""Schemas and texts that a foreign server gives for its tools: checked with, and shown, without trusting them.

A schema is a program that its author chose. One with a slow regular expression, with references that multiply, or with
`uniqueItems` over a long list stops the event loop, which no time-out can interrupt; one that refers to an address has
it fetched. So arguments are checked without regular expressions and without any reference out of the schema, in a bounded
number of steps. The server checks the rest itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from llm_client.errors import ToolError
from llm_client.json_text import JsonObject, JsonValue, dumps
from llm_client.logs import logger_of
from llm_client.public_text import kind_of
from llm_client.unseen import without_unseen

MAX_SCHEMA_BYTES: Final = 64 * 1024
"""Of one tool's schema as JSON."""
MAX_DESCRIPTION: Final = 4_096
"""Characters of a tool's description that the model is shown."""
MAX_STEPS: Final = 25_000
"""Keywords of a schema that are applied to the arguments of one call. One that is long, that looks at much, or whose complaint quotes much
counts for several."""
MAX_UNIQUE_ITEMS: Final = 200
"""Longest list that is looked through for duplicates: that takes time with the square of its length."""
MAX_UNIQUE_VALUES: Final = 2_000
"""Values in such a list, which are compared one by one."""

_SHOWN: Final = frozenset({"description", "title", "$comment"})
_UNCHECKED: Final = frozenset({"pattern", "patternProperties", "unevaluatedProperties", "unevaluatedItems"})
"""Keywords that run regular expressions or look through everything once more."""
_DEEP: Final = frozenset({"const", "enum", "dependentRequired", "dependencies"})
"""Keywords that are gone through value by value, and not only entry by entry."""
_WALKING: Final = frozenset(
    {"items", "prefixItems", "additionalItems", "contains", "additionalProperties", "propertyNames"}
)
"""Keywords that look at each entry of what they are applied to."""
_ENTRIES_A_STEP: Final = 4
_QUOTED_A_STEP: Final = 8
_TEXT_A_VALUE: Final = 64
"""Characters of a text that are quoted about as quickly as one value."""

logger = logger_of(__name__)

_BOUNDS: Final = frozenset({"exclusiveMinimum", "exclusiveMaximum"})

Validate = Callable[[Mapping[str, object]], dict[str, object]]


class _TooManySteps(Exception):
    """The schema asks for more work than arguments can be worth."""


def plain_text(text: str) -> str:
    """Return a foreign text without characters that nobody sees: controls, directions, zero widths, tags."""
    return without_unseen(text, keep="\n\t")


def shown_schema(schema: JsonObject) -> dict[str, JsonValue]:
    """Return a schema whose texts are plain. Raises `ToolError` when it is too large."""
    size = len(dumps(schema))
    if size > MAX_SCHEMA_BYTES:
        raise ToolError(f"its schema has {size} bytes; at most {MAX_SCHEMA_BYTES} are accepted")
    cleaned: dict[str, Any] = _cleaned(schema)
    return cleaned


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            plain_text(key): plain_text(entry)[:MAX_DESCRIPTION]
            if key in _SHOWN and isinstance(entry, str)
            else _cleaned(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_cleaned(entry) for entry in value]
    return plain_text(value) if isinstance(value, str) else value


def bounded_validator(schema: JsonObject) -> Validate:
    """Return a check of arguments against a foreign schema; they reach the handler as one argument.

    A server's argument may have any name, so passing them on as keywords could clash. A schema that cannot be applied – of an unknown type, with
    a reference to nothing – checks nothing, which is logged once: the server knows what it takes.
    """
    steps = _Steps()
    validator = _counting_validator(schema, steps)
    told: list[bool] = []
    is_hostile = _refers_elsewhere(schema)

    def validate(arguments: Mapping[str, Any]) -> dict[str, Any]:
        steps.left = MAX_STEPS
        problems: list[str] = []
        try:
            for problem in validator().iter_errors(dict(arguments)):
                place = ".".join(map(str, problem.absolute_path)) or "arguments"
                problems.append(f"- {place}: {problem.message[:500]}")
                if len(problems) == 10:
                    break
        except Exception as error:  # noqa: BLE001 -- what a foreign schema makes of its own checking
            # One that refers to elsewhere, or takes too many steps, may be meant to harm; others are no schemas.
            if is_hostile or isinstance(error, _TooManySteps | RecursionError | MemoryError):
                raise ToolError(f"the tool's schema cannot be checked: {type(error).__name__}") from None
            if not told:
                told.append(True)
                logger.warning(
                    "a tool's arguments are not checked, as its schema cannot be: %s", kind_of(error)
                )
            return {"arguments": dict(arguments)}
        if problems:
            raise ToolError("\n".join(problems))
        return {"arguments": dict(arguments)}

    return validate


def _counting_validator(schema: Mapping[str, Any], steps: _Steps) -> Callable[[], Any]:
    """Return what gives jsonschema's validator of a schema, whose keywords take steps, or raises what the schema makes of that."""
    validators = importlib.import_module("jsonschema.validators")
    known = _of_its_draft(schema)
    counted = {
        name: _ignored if name in _UNCHECKED else steps.counting(name, check)
        for name, check in known.VALIDATORS.items()
    }
    build = validators.extend(known, counted)
    registry = _registry(schema, known)
    return cache(lambda: build(dict(schema), registry=registry))


def _refers_elsewhere(schema: Any) -> bool:
    """Whether a schema refers to a place outside of itself."""
    if isinstance(schema, Mapping):
        reference = schema.get("$ref", "#")
        if isinstance(reference, str) and not reference.startswith("#"):
            return True
        return any(map(_refers_elsewhere, schema.values()))
    return isinstance(schema, list) and any(map(_refers_elsewhere, schema))


def _of_its_draft(schema: Mapping[str, Any]) -> Any:
    """Return jsonschema's validator for the draft that a schema names; the newest one without."""
    validators = importlib.import_module("jsonschema.validators")
    newest = validators.Draft202012Validator
    try:
        return validators.validator_for(schema, default=newest)
    except (TypeError, ValueError, AttributeError):  # it names something else
        return newest


def _registry(schema: Mapping[str, Any], known: Any) -> Any:
    """Return a registry that holds nothing but the schema and knows all names in it, which are else looked for at each reference."""
    registry = importlib.import_module("referencing").Registry()
    drafts = importlib.import_module("referencing.jsonschema")
    try:
        resource = drafts.specification_with(known.META_SCHEMA["$schema"]).create_resource(dict(schema))
        return registry.with_resource(resource.id() or "", resource).crawl()
    except Exception:  # noqa: BLE001 -- what a foreign schema makes of being read; whoever checks with it sees it again
        return registry


class _Steps:
    """How many keywords may still be applied."""

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def counting(self, name: str, check: Callable[..., Any]) -> Callable[..., Any]:
        """Return a keyword's check that counts how often it is applied, and how much it has to do."""

        def apply(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            entries = _values_in(value) if name in _DEEP else _length(value)
            if name in _WALKING and not isinstance(instance, str):
                entries += _length(instance)
            self._take(1 + entries // _ENTRIES_A_STEP)
            if name == "additionalProperties" and "patternProperties" in schema:
                return  # what those allow is not looked at
            if name in _BOUNDS and isinstance(value, bool):  # as the fourth draft writes it
                return
            if name == "uniqueItems" and not _is_quickly_compared(instance):
                return
            for problem in check(validator, value, instance, schema) or ():
                self._take(1 + (_values_in(instance) + _values_in(value)) // _QUOTED_A_STEP)
                yield problem

        return apply

    def _take(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _TooManySteps


def _length(value: Any) -> int:
    """Return how many entries a list or an object has, or characters a text."""
    return len(value) if isinstance(value, list | dict | str) else 0


def _is_quickly_compared(instance: Any) -> bool:
    """Whether each entry of a list may be compared with each other one."""
    if not isinstance(instance, list):
        return True
    return len(instance) <= MAX_UNIQUE_ITEMS and _values_in(instance) <= MAX_UNIQUE_VALUES


def _values_in(value: Any) -> int:
    """Return how many values there are in one, and itself; long texts count for several. It stops where they are too many in any case."""
    count, below = 0, [value]
    while below and count <= MAX_STEPS * _QUOTED_A_STEP:
        item = below.pop()
        count += 1
        if isinstance(item, str):
            count += len(item) // _TEXT_A_VALUE
        elif isinstance(item, dict):
            count += len(item)
            below += item.values()
        elif isinstance(item, list):
            below += item
    return count


def _ignored(*_keyword: Any) -> Iterator[Any]:
    return iter(())
