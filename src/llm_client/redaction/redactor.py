"""Redacting values of any shape: a walk that keeps types, shares what did not change, and never raises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from operator import is_
from typing import Any, TypeVar, cast

from llm_client.redaction.key_names import is_harmless, kind_of_name
from llm_client.redaction.neighbours import (
    VALUES_OF_A_SCHEMA,
    arguments_of,
    is_schema,
    kinds_around,
    pieces_of,
    program_of,
    with_piece,
)
from llm_client.redaction.rules import CROWDED, RedactionRule
from llm_client.redaction.scanner import MARK, Overview, Scanner
from llm_client.redaction.survey import HARMLESS, JSON_SCALARS, survey

T = TypeVar("T")

MAX_DEPTH = 64
_TOO_DEEP = "<REDACTED:too_deep>"
_CYCLE = "<REDACTED:cycle>"
_UNREADABLE = "<REDACTED:unreadable>"

_NUMBERS_TOO = frozenset({"password", "secret", "card_number", "api_key", "custom"})
"""Kinds whose numbers are secrets as well: `{"password": 123456}`, but not `{"token": 7}`."""


_PLAIN_CONTAINERS = frozenset({dict, list, tuple})


class Redactor:
    """Takes secrets out of values.

    Args:
        rules: Shapes to take out besides the known ones, such as `EMAIL` or your own.
        keys: Further names whose values are secret, in any spelling that `kind_of_name` would read.
        defaults: Whether the known names and shapes are taken out.
        max_depth: Containers nested deeper are replaced as a whole.
    """

    def __init__(
        self,
        rules: Iterable[RedactionRule] = (),
        *,
        keys: Iterable[str] = (),
        defaults: bool = True,
        max_depth: int = MAX_DEPTH,
    ) -> None:
        self._scanner = Scanner(tuple(rules), defaults=defaults)
        self._keys = frozenset(_letters(key) for key in keys)
        self._defaults = defaults
        self._max_depth = max_depth

    def redact(self, value: T) -> T:
        """Return the value without secrets.

        Mappings, lists, tuples, sets, dataclasses, bytes and texts keep their type; what did not change is shared with
        the input, which itself is never changed. A pydantic model becomes a dict, an exception its text, and an object
        of another type the text it prints as if that holds a secret. Never raises: what cannot be read is replaced.
        """
        try:
            if isinstance(value, str):
                return cast("T", self._scanner.clean(value))
            if type(value) in JSON_SCALARS:
                return value
            found = survey(value, self._max_depth)
            seen = self._scanner.look_over(found.texts)
            if (
                found.plain
                and seen.innocent.issuperset(found.texts)
                and not any(self.kind_of(name) for name in found.names if isinstance(name, str))
            ):
                return value
            return cast("T", _Walk(self.kind_of, self._scanner, seen).any(value, self._max_depth))
        except Exception:  # noqa: BLE001 - a sink must get something, and never the secret
            return cast("T", _UNREADABLE)

    def text(self, text: str) -> str:
        """Return one text without secrets."""
        return self.redact(text)

    def kind_of(self, name: str) -> str | None:
        """Return which kind of secret a value of this name is, or `None` for a harmless name."""
        if self._keys and _letters(name) in self._keys:
            return "custom"
        return kind_of_name(name) if self._defaults else None


class _Walk:
    """One pass over one value. `forced` is the kind that a name above has given to everything below it."""

    def __init__(self, kind_of: Callable[[str], str | None], scanner: Scanner, seen: Overview) -> None:
        self._kind_of = kind_of
        self._scanner = scanner
        self._innocent = seen.innocent
        self._crowded = seen.crowded
        self._seen: dict[tuple[int, str | None], tuple[object, object]] = {}

    def any(self, value: object, room: int, forced: str | None = None) -> object:
        if type(value) not in _PLAIN_CONTAINERS:
            if isinstance(value, str):
                return self._text(value, forced)
            if type(value) in JSON_SCALARS or isinstance(value, HARMLESS):
                return f"<REDACTED:{forced}>" if forced in _NUMBERS_TOO and _is_number(value) else value
        elif not value:
            return value
        if room <= 0:
            return _TOO_DEEP
        key = (id(value), forced)
        if key not in self._seen:
            self._seen[key] = (value, _CYCLE)  # holds the value, so that its id stays taken
            try:
                result = self._container(value, room - 1, forced)
            except Exception:  # noqa: BLE001 - one unreadable object must not cost the rest of a record
                result = _UNREADABLE
            self._seen[key] = (value, result)
        return self._seen[key][1]

    def _text(self, text: str, forced: str | None) -> str:
        if forced:
            return text if not text or MARK.fullmatch(text) else f"<REDACTED:{forced}>"
        if text in self._crowded:
            return f"<REDACTED:{CROWDED}>"
        return text if text in self._innocent else self._scanner.clean(text)

    def _container(self, value: object, room: int, forced: str | None) -> object:
        if isinstance(value, (list, tuple)):  # first: to be no `Mapping` takes longer to tell
            return self._sequence(value, room, forced)
        if isinstance(value, (dict, Mapping)):
            return self._mapping(value, room, forced)
        if isinstance(value, (set, frozenset)):
            items = [self.any(item, room, forced) for item in value]
            return value if all(map(is_, items, value)) else type(value)(items)
        if is_dataclass(value) and not isinstance(value, type):
            return self._dataclass(value, room, forced)
        return self._opaque(value, room, forced)

    def _opaque(self, value: object, room: int, forced: str | None) -> object:
        """Redact what is neither text nor container."""
        if isinstance(value, (bytes, bytearray)):
            text = value.decode("latin-1")
            cleaned = self._text(text, forced)
            return value if cleaned is text else type(value)(cleaned.encode("latin-1"))
        if isinstance(value, BaseException):
            return self._text(f"{type(value).__name__}: {value}", forced)
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return self.any(dump(), room, forced)
        text = str(value)
        cleaned = self._text(text, forced)
        return value if cleaned is text else cleaned

    def _mapping(self, value: Mapping[Any, object], room: int, forced: str | None) -> object:
        changed = False
        result: dict[object, object] = {}
        names = _FreeNames(value, result)
        around = kinds_around(value, self._kind)
        for key, item in value.items():
            kind = forced or (self._kind(key) if isinstance(key, (str, bytes)) else None)
            if kind or around:
                kind = self._kind_of_item(value, key, item, kind, around, forced)
            new_key = key
            if isinstance(key, str) and key not in self._innocent:
                cleaned = self._text(key, None)
                new_key = key if cleaned is key else names.free(cleaned)
            if kind is None and (
                type(item) in JSON_SCALARS or (type(item) is str and item in self._innocent)
            ):
                new = item  # the common case, without a call
            elif kind and kind != forced and isinstance(item, Mapping) and is_schema(item):
                new = self._schema(item, room, kind)
            else:
                new = self.any(item, room, kind)
            changed = changed or new is not item or new_key is not key
            result[new_key] = new
        return result if changed else value

    def _kind_of_item(
        self,
        mapping: Mapping[Any, object],
        key: object,
        item: object,
        kind: str | None,
        around: Mapping[object, str],
        forced: str | None,
    ) -> str | None:
        """Correct what a name says by what stands beside it."""
        if key in around:
            return around[key]
        if kind == "token" and "logprob" in mapping:  # a unit of text
            return forced
        return forced if isinstance(key, str) and is_harmless(key, item) else kind

    def _schema(self, schema: Mapping[Any, object], room: int, kind: str) -> object:
        """Redact what describes a secret, such as a JSON Schema: only the values that it gives are secret."""
        new = {
            key: self.any(item, room, kind if key in VALUES_OF_A_SCHEMA else None)
            for key, item in schema.items()
        }
        return schema if all(new[key] is item for key, item in schema.items()) else new

    def _sequence(self, value: list[object] | tuple[object, ...], room: int, forced: str | None) -> object:
        names = getattr(value, "_fields", None)
        if names is not None and not forced:  # a named tuple
            kinds = [
                None if is_harmless(name, item) else self._kind(name)
                for name, item in zip(names, value, strict=False)
            ]
            items = [self.any(item, room, kind) for item, kind in zip(value, kinds, strict=True)]
        elif not forced and _are_pairs(value):
            items = [self._pair(item, room) for item in value]
        elif not forced:
            innocent = self._innocent
            items = [
                item  # the common case, without a call
                if type(item) in JSON_SCALARS or (type(item) is str and item in innocent)
                else self.any(item, room)
                for item in value
            ]
        else:
            items = [self.any(item, room, forced) for item in value]
        if not forced and len(value) > 1:
            self._together(value, items)
        if all(map(is_, items, value)):
            return value
        if isinstance(value, list):
            return items
        return value._make(items) if hasattr(value, "_make") else tuple(items)

    def _together(self, value: Sequence[object], items: list[object]) -> None:
        """Redact what only neighbours tell together: an option and its value, a pair, the pieces of a stream."""
        for index, kind in arguments_of(value, self._kind):
            items[index] = self.any(value[index], 1, kind)
        program = program_of(value)
        if program is not None and len(value) > program + 1:
            self._command(value, items, program)
        texts = pieces_of(value)
        if texts is None:
            return
        for index, text in self._scanner.joined(texts):
            items[index] = with_piece(items[index], text)

    def _command(self, value: Sequence[object], items: list[object], first: int) -> None:
        """Redact what a list tells as a command line. What was changed already goes as a whole."""
        from llm_client.redaction.command_lists import secrets_of_command

        words = [word if isinstance(word, str) else str(word) for word in value[first:]]
        for place, start, end, kind in sorted(secrets_of_command(words), reverse=True):
            index, mark = first + place, f"<REDACTED:{kind}>"
            item = items[index]
            items[index] = (
                item[:start] + mark + item[end:] if item is value[index] and isinstance(item, str) else mark
            )

    def _pair(self, pair: Any, room: int) -> object:
        kind = self._kind(pair[0])
        if kind is None or (isinstance(pair[0], str) and is_harmless(pair[0], pair[1])):
            return self.any(pair, room)
        second = self.any(pair[1], room, kind)
        return pair if second is pair[1] else type(pair)((pair[0], second))

    def _kind(self, name: str | bytes) -> str | None:
        return self._kind_of(name if isinstance(name, str) else name.decode("latin-1"))

    def _dataclass(self, value: Any, room: int, forced: str | None) -> object:
        changes = {}
        for field in fields(value):
            old = getattr(value, field.name, None)
            kind = forced or self._kind_of(field.name)
            new = self.any(old, room, kind)
            if new is not old:
                changes[field.name] = new
        if not changes:
            return value
        result = copy(value)
        for name, new in changes.items():
            object.__setattr__(result, name, new)  # frozen ones too, and without their own checks
        return result


class _FreeNames:
    """Keeps secrets apart that were names of one mapping, however many there are."""

    def __init__(self, *taken: Mapping[Any, object]) -> None:
        self._taken = taken
        self._given: Counter[str] = Counter()

    def free(self, name: str) -> str:
        """Return a name that is not taken: as it is, with a `'`, or with that and a number."""
        while True:
            self._given[name] += 1
            number = self._given[name]
            found = name if number == 1 else f"{name}'" if number == 2 else f"{name}'{number}"
            if not any(found in mapping for mapping in self._taken):
                return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, (bool, Enum))


def _are_pairs(value: Sequence[object]) -> bool:
    """Whether a sequence is a list of names with values, as headers are."""
    if not value or not isinstance(value[0], (list, tuple)):  # most lists
        return False
    return all(
        isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], (str, bytes))
        for item in value
    )


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


@cache
def _default() -> Redactor:
    return Redactor()


def redact(value: T) -> T:
    """Return the value without secrets, by the default rules. See `Redactor.redact`."""
    return _default().redact(value)
