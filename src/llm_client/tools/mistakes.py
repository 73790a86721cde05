"""How many mistakes values can have: whoever checks them against a type tells of every one, in one go, with the interpreter to himself.

`{}` in the place of an object with sixty fields is sixty mistakes, and a text in the place of one of six types is six. A million of them
take a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm_client.json_text import JsonObject, holds_more, referred

MAX_MISTAKES: Final = 400_000
MOST_MISTAKES: Final = f"{MAX_MISTAKES:,} mistakes could be made in"
"""That, to be told."""
_FEW: Final = 2_000
"""Values that are not worth a look at the schema."""
_MAX_FORMS: Final = 200
"""Forms of one part of a schema that are told apart."""


def has_room_for_mistakes(value: object, schema: JsonObject) -> bool:
    """Whether more mistakes can be made in values than are told in a moment.

    Each value is one for every form that a schema tries it in, and every field that an object must have is another one.
    """
    if not holds_more(value, _FEW):
        return False
    forms = _Forms(schema)
    below: list[tuple[Any, Any]] = [(value, schema)]
    mistakes = 0
    while below:
        item, part = below.pop()
        for form in forms.of(part):
            mistakes += 1
            if isinstance(item, dict):
                mistakes += len(form.required)
                below += [(inner, form.field(name)) for name, inner in item.items()]
            elif isinstance(item, list | tuple):
                below += [(inner, form.items) for inner in item]
        if mistakes + len(below) > MAX_MISTAKES:
            return True
    return False


class _Form:
    """One form that a value may have."""

    __slots__ = ("_fields", "_others", "items", "required")

    def __init__(self, part: Any) -> None:
        said = part if isinstance(part, Mapping) else {}
        fields, required = said.get("properties"), said.get("required")
        self._fields: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}
        self._others = said.get("additionalProperties")
        self.items = said.get("items")
        self.required: list[Any] = required if isinstance(required, list) else []

    def field(self, name: str) -> Any:
        """Return the part of the schema for a field."""
        return self._fields.get(name, self._others)


class _Forms:
    """The forms of each part of a schema, worked out once."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._known: dict[int, list[_Form]] = {}

    def of(self, part: Any) -> list[_Form]:
        """Return the forms of a part, of which `anyOf` and `oneOf` name several."""
        if id(part) not in self._known:
            self._known[id(part)] = [_Form(one) for one in self._told_apart(part)]
        return self._known[id(part)]

    def _told_apart(self, part: Any) -> Iterator[Any]:
        below, found, followed = [part], 0, set[str]()
        while below and found < _MAX_FORMS:
            one = below.pop()
            reference = one.get("$ref") if isinstance(one, Mapping) else None
            if isinstance(reference, str) and reference not in followed:
                followed.add(reference)
                below.append(referred(self._schema, reference))
                continue
            tried = (one.get("anyOf") or one.get("oneOf")) if isinstance(one, Mapping) else None
            if isinstance(tried, list):
                below += tried
            else:
                found += 1
                yield one
