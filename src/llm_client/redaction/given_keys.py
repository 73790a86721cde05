"""Keys that were given to reach somebody, in every form in which the other side may repeat one.

A server repeats what it was sent, or what it made of that: a token without the word before it, a password out of `Basic`, a part of the
address. So whatever may come back is looked for by itself.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, urlsplit

from llm_client.redaction.key_names import kind_of_name
from llm_client.redaction.redactor import redact

_MARK: Final = re.compile(r"<REDACTED:\w+>")
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s'\"]+")
_BETWEEN_PAIRS: Final = re.compile(r"[;,&\s]+")
_BETWEEN_WORDS: Final = re.compile(r"[-._~]+")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LEAST: Final = 4
"""Characters that a key has; what is shorter would be taken out of every other word."""
_LEAST_IN_QUERY, _LEAST_IN_PATH = 8, 12
"""Characters that something has which is taken for a key by its looks alone, in a query and in a path, where words stand too."""
_MIXED, _LONG = 7, 24
"""Characters of a piece without separators that is no word: one of letters and digits, and one of anything."""


def keys_given(
    named: Mapping[str, str] | None = None, *, address: str = "", command: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return what may be a key among what somebody was told to send, each in all its forms, the longest first.

    Args:
        named: Headers, or variables of a program's environment.
        address: A URL: of it the user's password, and what is a key by its name or its looks in path and query.
        command: A program's arguments.
    """
    found = {
        form
        for key in (*_in_named(named or {}), *_in_address(address), *_in_command(command))
        for form in forms_of(key)
        if len(form) >= _LEAST
    }
    return tuple(sorted(found, key=lambda key: (-len(key), key)))


def forms_of(key: str) -> Iterator[str]:
    """Yield a key as it is, and what of it somebody may repeat who has read it: without `Bearer`, decoded, its parts."""
    for form in (key.strip(), unquote(key).strip()):
        yield form
        scheme, _, rest = form.partition(" ")
        yield form.rpartition(" ")[2]
        if scheme.lower() == "basic":
            yield from _user_and_password(rest)
        for pair in _BETWEEN_PAIRS.split(form):
            name, mark, value = pair.partition("=")
            value = value.strip("\"'")
            if mark and (kind_of_name(name) or looks_like_key(value, _LEAST_IN_QUERY)):
                yield value


def looks_like_key(text: str, least: int) -> bool:
    """Whether a text of a path or a query is no word, no version and no date."""
    if len(text) < least:
        return False
    return _UUID.fullmatch(text) is not None or any(map(_is_no_word, _BETWEEN_WORDS.split(text)))


def _is_no_word(piece: str) -> bool:
    is_mixed = any(map(str.isdigit, piece)) and any(map(str.isalpha, piece))
    return len(piece) >= (_MIXED if is_mixed else _LONG)


def _user_and_password(encoded: str) -> Iterator[str]:
    with suppress(ValueError):
        both = b64decode(encoded.strip(), validate=True).decode()
        yield both
        yield both.partition(":")[2]


def _in_named(named: Mapping[str, str]) -> Iterator[str]:
    for name, value in named.items():
        if kind_of_name(name):
            yield value
        else:
            yield from _in_text(value)


def _in_address(address: str) -> Iterator[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    yield password or user
    if looks_like_key(user, _LEAST_IN_QUERY):
        yield user
    for pair in _BETWEEN_PAIRS.split(f"{parts.query}&{parts.fragment}"):
        name, _, value = pair.partition("=")
        if kind_of_name(unquote(name)) or looks_like_key(unquote(value), _LEAST_IN_QUERY):
            yield value
    before = ""
    for segment in parts.path.split("/"):
        if (segment and kind_of_name(before)) or looks_like_key(unquote(segment), _LEAST_IN_PATH):
            yield segment
        before = segment
    yield from _taken_out(address, redact(address))


def _in_command(command: Sequence[str]) -> Iterator[str]:
    for given, cleaned in zip(command, redact(list(command)), strict=True):
        yield from _taken_out(given, cleaned)
        yield from _in_text(given)


def _in_text(text: str) -> Iterator[str]:
    """Yield the keys in a text that may hold an address, or a known form of one."""
    yield from _taken_out(text, redact(text))
    for found in _ADDRESS.finditer(text):
        yield from _in_address(found[0])


def _taken_out(text: str, cleaned: str) -> Iterable[str]:
    """Return what redaction has taken out of a text."""
    left = _MARK.split(cleaned)
    found, at = [], len(left[0])
    for piece in left[1:]:
        end = text.find(piece, at) if piece else len(text)
        if end < 0:
            return [text]
        found.append(text[at:end])
        at = end + len(piece)
    return found
