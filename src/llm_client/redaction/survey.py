"""A first look at a value: every text in it, and whether names or types call for a closer one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

from llm_client.redaction.neighbours import is_program, pieces_of

_TELLING = frozenset({"value", "Value", "values", "Values", "val", "ParameterValue", "v", "kty", "code"})
"""Keys that make what stands beside them a secret, or the other way round."""

_CONTAINERS = frozenset({dict, list, tuple})
JSON_SCALARS = frozenset({bool, int, float, type(None)})
HARMLESS = (bool, int, float, complex, Decimal, date, time, timedelta, UUID, Enum, type(None), type)
"""Types whose values are never looked into."""


@dataclass(slots=True, kw_only=True)
class Survey:
    """What a value is made of."""

    texts: list[str] = field(default_factory=list)
    """Every text that could be found, keys included; a walk must scan what is missing here."""
    names: set[object] = field(default_factory=set)
    """What gives its name to another part of the value: keys of every type, and first words of lists."""
    plain: bool = True
    """Whether the value is a tree of dicts, lists, tuples and scalars, so that texts and names tell all about it."""


def survey(value: object, max_depth: int) -> Survey:
    """Look at a value level by level, each container once, down to a depth."""
    found = Survey()
    seen: set[int] = set()
    level: Iterable[object] = (value,)
    for depth in range(max_depth + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, str):
                found.texts.append(item)
            elif type(item) not in _CONTAINERS and (type(item) in JSON_SCALARS or isinstance(item, HARMLESS)):
                continue
            elif id(item) in seen or depth == max_depth:
                found.plain = False
            else:
                seen.add(id(item))
                below += _look_into(item, found)
        if not below:
            break
        level = below
    found.plain = found.plain and not any(isinstance(name, bytes) for name in found.names)
    return found


def _look_into(item: object, found: Survey) -> Iterable[object]:
    if type(item) is dict:
        found.names.update(item)
        found.plain = found.plain and _TELLING.isdisjoint(item) and item.get("kind") != "Secret"
        return (*item, *item.values())
    if type(item) is list or type(item) is tuple:
        if len(item) >= 2 and isinstance(item[0], str):
            found.names.add(item[0])
            found.plain = found.plain and not is_program(item[0])
            found.plain = found.plain and not any(
                isinstance(word, str) and word.startswith("-") for word in item
            )
        elif item and type(item[0]) is dict and found.plain:
            found.plain = pieces_of(item) is None
        return item
    found.plain = False
    with suppress(Exception):  # what cannot be read is the walk's to replace
        return _parts(item)
    return ()


def _parts(item: object) -> Iterable[object]:
    if isinstance(item, Mapping):
        return (*item, *item.values())
    if isinstance(item, (list, tuple, set, frozenset)):
        return item
    if is_dataclass(item) and not isinstance(item, type):
        return [getattr(item, part.name, None) for part in fields(item)]
    return ()
