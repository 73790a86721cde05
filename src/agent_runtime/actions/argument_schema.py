"""Checking arguments that a person has edited against a tool's JSON Schema, where the tool itself is not at hand.

Whoever answers may be another process than the one that knows the tool. What is understood here is what says that an
edit cannot be meant: types, names, required fields, fixed values, bounds. Patterns, formats and references that lead
elsewhere are left to the tool's own check, which follows before the call: a foreign pattern can take for ever, and a
foreign address is nothing to be fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from agent_runtime.values.digest import digest
from llm_client.json_text import JsonObject, referred

MAX_PROBLEMS: Final = 5
"""Problems that are told; the first ones lead to the others."""
MAX_STEPS: Final = 20_000
"""Values that are compared with a schema: one that refers to itself, or forks at every level, ends here."""
MAX_DEPTH: Final = 100
"""Levels, likewise."""
_NAMES_A_STEP: Final = 8

_SCALARS = str | int | float | bool | None
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool)
        and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}
_BOUNDS: Final[Mapping[str, tuple[Callable[[float, float], bool], str]]] = {
    "minimum": (lambda value, bound: value >= bound, "below"),
    "maximum": (lambda value, bound: value <= bound, "above"),
    "exclusiveMinimum": (lambda value, bound: value > bound, "not above"),
    "exclusiveMaximum": (lambda value, bound: value < bound, "not below"),
}


def problems_of(arguments: JsonObject, schema: JsonObject) -> list[str]:
    """Return what is wrong with arguments, a few sentences at most; nothing where nothing can be told."""
    return list(islice(_Check(schema).problems(arguments, schema), MAX_PROBLEMS))


class _Check:
    """One comparison with one schema, bounded as a whole."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0
        self._digests: dict[int, str] = {}
        self._allowed: dict[int, frozenset[str]] = {}
        self._targets: dict[str, Any] = {}
        """What was worked out once, of values and parts of the schema, which live as long as this."""

    def problems(self, value: Any, schema: Any, place: str = "", depth: int = 0) -> Iterator[str]:
        """Yield what is wrong with a value at a place."""
        self._steps += 1 + _work(schema)
        if self._steps > MAX_STEPS or depth > MAX_DEPTH:
            return
        if schema is False:
            yield f"{_said(place)}: nothing may stand here"
        if not isinstance(schema, Mapping):
            return
        if (target := self._target(schema.get("$ref"))) is not None:
            yield from self.problems(value, target, place, depth + 1)
        if (kinds := _kinds(schema)) and not any(_TYPES[kind](value) for kind in kinds):
            yield f"{_said(place)}: not of type {' or '.join(kinds)}"
            return
        yield from self._combined(value, schema, place, depth)
        if isinstance(value, Mapping):
            yield from self._of_object(value, schema, place, depth)
            return
        if isinstance(value, _SCALARS):
            yield from self._not_allowed(value, schema, place)
        yield from _out_of_bounds(value, schema, place)
        if isinstance(value, list | tuple):
            first, rest = _listed(schema.get("prefixItems")), schema.get("items", True)
            for number, inner in enumerate(value):
                if self._steps > MAX_STEPS:
                    return
                wanted = first[number] if number < len(first) else rest
                yield from self.problems(inner, wanted, _below(place, str(number)), depth + 1)

    def _target(self, reference: Any) -> Any:
        """Return what a reference inside the schema leads to."""
        if not isinstance(reference, str):
            return None
        if reference not in self._targets:
            found = referred(self._root, reference)
            self._targets[reference] = found if isinstance(found, Mapping | bool) else None
        return self._targets[reference]

    def _not_allowed(self, value: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
        allowed = schema.get("enum")
        if isinstance(allowed, list) and self._digest(value) not in self._digests_of(allowed):
            yield f"{_said(place)}: none of the values that are allowed"
        if "const" in schema and self._digest(value) != self._digest(schema["const"]):
            yield f"{_said(place)}: not the one value that is allowed"

    def _digests_of(self, allowed: list[Any]) -> frozenset[str]:
        if id(allowed) not in self._allowed:
            self._allowed[id(allowed)] = frozenset(map(digest, allowed))
        return self._allowed[id(allowed)]

    def _digest(self, value: Any) -> str:
        if id(value) not in self._digests:
            self._digests[id(value)] = digest(value)
        return self._digests[id(value)]

    def _combined(self, value: Any, schema: Mapping[str, Any], place: str, depth: int) -> Iterator[str]:
        for part in _listed(schema.get("allOf")):
            yield from self.problems(value, part, place, depth + 1)
        for name in ("anyOf", "oneOf"):
            parts = _listed(schema.get(name))
            if parts and all(any(self.problems(value, part, place, depth + 1)) for part in parts):
                yield f"{_said(place)}: fits none of the forms that are allowed"

    def _of_object(
        self, value: Mapping[str, Any], schema: Mapping[str, Any], place: str, depth: int
    ) -> Iterator[str]:
        known = schema.get("properties")
        known = known if isinstance(known, Mapping) else {}
        others = schema.get("additionalProperties", True)
        for name in _listed(schema.get("required")):
            if name not in value:
                yield f"{_below(place, str(name))}: is missing"
        for name, inner in value.items():
            if self._steps > MAX_STEPS:
                return
            below = _below(place, name)
            if name in known:
                yield from self.problems(inner, known[name], below, depth + 1)
            elif others is not False:
                yield from self.problems(inner, others, below, depth + 1)
            elif not schema.get("patternProperties"):
                yield f"{below}: there is no such argument"


def _work(schema: Any) -> int:
    """Return how many values a schema has that are looked at one by one, beside its parts."""
    if not isinstance(schema, Mapping):
        return 0
    return (len(_listed(schema.get("type"))) + len(_listed(schema.get("required")))) // _NAMES_A_STEP


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """Return the types that are allowed; none where one is named that is not known here."""
    wanted = schema.get("type")
    kinds = [wanted] if isinstance(wanted, str) else _listed(wanted)
    return kinds if all(isinstance(kind, str) and kind in _TYPES for kind in kinds) else []


def _out_of_bounds(value: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    if _TYPES["number"](value):
        for name, (holds, words) in _BOUNDS.items():
            bound = schema.get(name)
            if isinstance(bound, int | float) and not isinstance(bound, bool) and not holds(value, bound):
                yield f"{_said(place)}: {words} {bound}"
    elif isinstance(value, str | list | tuple):
        least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
        if isinstance(schema.get(least), int) and len(value) < schema[least]:
            yield f"{_said(place)}: shorter than {schema[least]}"
        if isinstance(schema.get(most), int) and len(value) > schema[most]:
            yield f"{_said(place)}: longer than {schema[most]}"


def _listed(parts: Any) -> list[Any]:
    return parts if isinstance(parts, list) else []


def _said(place: str) -> str:
    return place or "the arguments"


def _below(place: str, name: str) -> str:
    """Return a place for a sentence: a name may be long, or not printable."""
    shown = name if name.isprintable() and len(name) <= 60 else f"{name[:60]!r}…"
    return f"{place}.{shown}" if place else shown
