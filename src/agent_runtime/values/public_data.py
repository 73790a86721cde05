"""What everybody may read of an entry of the journal: the one door for data of events, signals and timers, and for errors.

Secrets are taken out where an entry is made, so that the run that makes it, its live readers, every later run and every sink see
the same. Nearly all strings that pass here pass often – names of steps, effects, types – so what is known to be harmless is
remembered, and only data that may hold a secret is looked at closely.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from llm_client.json_text import JsonObject
from llm_client.public_text import MAX_PUBLIC_CHARACTERS, public_text, without_halves
from llm_client.redaction import kind_of_name, redact
from llm_client.redaction.neighbours import is_program, pieces_of
from llm_client.redaction.redactor import MAX_DEPTH
from llm_client.redaction.survey import JSON_SCALARS, survey

MAX_REMEMBERED: Final = 256
"""Characters of a string that is worth remembering."""
MAX_PLAIN: Final = 6
"""Dicts and lists in each other that are looked through here."""
_HASH: Final = re.compile(r"[0-9a-f]+")
_LENGTHS_OF_HASHES: Final = (16, 32)


def public_data(type_: str, data: JsonObject) -> JsonObject:
    """Return the data of an event as everybody may read it; the same object when nothing had to change.

    Texts that the runtime writes are cut as well; an application's own are as long as it wants.
    """
    if not _may_hold_a_secret(data):
        return data
    is_ours = not type_.startswith(("custom.", "artifact."))
    shortened = {key: _cut(value) if is_ours else value for key, value in data.items()}
    return {key: _whole(value) for key, value in redact(shortened).items()}


def public_name(name: str) -> str:
    """Return a name as it stands in the journal."""
    return name if _is_harmless(name) else without_halves(redact(name))


def public_error(text: str | None) -> str | None:
    """Return the text of a failure for a job's row."""
    return None if text is None else public_text(text)


def _may_hold_a_secret(data: Mapping[str, Any]) -> bool:
    """Whether redaction must look at this closely: the redactor's own first look, with what is remembered of strings in place of a scan."""
    if type(data) is dict and _is_plain(data, MAX_PLAIN):
        return False
    found = survey(data if type(data) is dict else dict(data), MAX_DEPTH)
    return not (
        found.plain
        and all(map(_is_harmless, found.texts))
        and not any(type(name) is not str or _is_name_of_secret(name) for name in found.names)
    )


def _is_plain(data: dict[Any, Any], depth: int) -> bool:
    """Whether names tell nothing and values hold nothing, as in nearly all entries; `False` if that takes a closer look."""
    for name, value in data.items():
        if type(name) is not str or not _tells_nothing(name):
            return False
        kind = type(value)
        if kind is str:
            if not _is_harmless(value):
                return False
        elif kind not in JSON_SCALARS and not _is_plain_container(value, depth):
            return False
    return True


def _is_plain_container(value: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if type(value) is dict:
        return _is_plain(value, depth - 1)
    return type(value) is list and _is_plain_list(value, depth - 1)


def _is_plain_list(items: list[Any], depth: int) -> bool:
    """The same for a list, whose first word may say what the others are."""
    first = items[0] if items else None
    if type(first) is str and len(items) > 1:
        if not _tells_nothing(first) or is_program(first):
            return False
        if any(type(item) is str and item.startswith("-") for item in items):  # options
            return False
    elif type(first) is dict and pieces_of(items) is not None:
        return False
    return all(
        _is_harmless(item)
        if type(item) is str
        else type(item) in JSON_SCALARS or _is_plain_container(item, depth)
        for item in items
    )


@lru_cache(maxsize=2048)
def _tells_nothing(name: str) -> bool:
    """Whether a name says nothing of what stands beside it, whatever that is."""
    return (
        name != "kind"  # which may say that all the rest is a secret
        and survey({name: None}, MAX_DEPTH).plain
        and not _is_name_of_secret(name)
        and _is_harmless(name)
    )


def _is_harmless(text: str) -> bool:
    if len(text) > MAX_REMEMBERED:
        return False
    is_hash = len(text) in _LENGTHS_OF_HASHES and _HASH.fullmatch(text) is not None
    return is_hash or _is_harmless_text(text)


@lru_cache(maxsize=8192)
def _is_harmless_text(text: str) -> bool:
    return redact(text) == text and without_halves(text) == text


@lru_cache(maxsize=2048)
def _is_name_of_secret(name: str) -> bool:
    return kind_of_name(name) is not None


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_PUBLIC_CHARACTERS:
        return public_text(value)
    return value


def _whole(value: Any) -> Any:
    """Replace halves of surrogate pairs, which no storage can hold, wherever they are."""
    if isinstance(value, str):
        return without_halves(value)
    if type(value) is dict:
        return {_whole(key): _whole(item) for key, item in value.items()}
    if type(value) is list or type(value) is tuple:
        return [_whole(item) for item in value]
    return value
