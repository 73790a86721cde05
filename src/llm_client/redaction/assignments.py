"""Secrets that only their name gives away, inside a text: `password=…`, `"api_key": "…"`, `Cookie: …`.

Texts are JSON that was encoded twice, header dumps, environment listings, query strings, source code and prose, so a
name is not enough: what follows must be an assignment, and its value must be able to be a secret. `The token: a unit
of text` and `api_key = settings.api_key` stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from llm_client.redaction.key_names import MAX_NAME_LENGTH, kind_of_name
from llm_client.redaction.rules import Span

_REST = r"[\w.-]{0,24}+(?P<close>\\{0,3}[\"'`])?[ \t]{0,3}(?P<sign>=>|:=|[:=])"
_ASSIGNMENTS = {
    word: word + _REST for word in ("pass", "pwd", "secret", "token", "key", "cred", "auth", "cookie", "jwt")
}
"""What to look for in lower-case text, by the word that must occur: one search each is faster than one for all."""

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_OPENING = re.compile(r"(?P<space>[ \t]{0,3}+)(?P<quote>[rbfu]{0,2}(?P<mark>\\{0,3}[\"'`]))?")
_UNQUOTED = re.compile(r"[^\s\"'`,;&<>{}()\[\]|\\]+")
_REST_OF_LINE = re.compile(r"[^\r\n\"'`<>\\]+")
_SCHEME = re.compile(
    r"(?:Bearer|Basic|Token|Digest|Negotiate|Api-?Key|AWS4-HMAC-SHA256)[ \t]+", re.IGNORECASE
)
_NUMBER = re.compile(r"[-+]?[\d.,_]+%?")
_PLACEHOLDER = re.compile(
    r"(?:none|null|nil|true|false|undefined|required|optional|string|str|bytes|secretstr|redacted|hidden)[.,]?|[*.x•-]+"
    r"|\$\{?[a-z_]\w*\}?|\$\(.*|%\(?\w*\)?[sd]?|\{\{?[^{}]*\}?\}|<[^<>]*>"
    r"|(?:os|self|cls|config|settings|env|environ|process|args|secrets)\..*",
    re.IGNORECASE,
)
_MARK = "<REDACTED:"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Name:
    """A name that something is assigned to."""

    start: int
    kind: str
    close: str
    """The quote right after the name, if it has one."""
    sign: str
    vague: bool
    """Whether the name alone could just as well be about units of text."""


def assignment_spans(text: str) -> Iterator[Span]:
    """Yield the values that a text assigns to names of secrets."""
    lowered = _lower(text)
    found = [
        match
        for word, pattern in _ASSIGNMENTS.items()
        if word in lowered
        for match in re.finditer(pattern, lowered)
    ]
    done = 0
    for match in sorted(found, key=re.Match.start):
        if match.start() < done:
            continue
        name = _name(text, match)
        span = _value_span(text, name, match.end()) if name else None
        if span is not None and name is not None:
            done = span[1]
            yield *span, name.kind


def _name(text: str, match: re.Match[str]) -> _Name | None:
    """Read the whole name around the word that was found, or `None` if it announces no secret."""
    close, sign = match["close"] or "", match["sign"]
    end = match.start("close") if close else match.start("sign")
    start = _start_of_name(text, match.start())
    kind = kind_of_name(text[start:end].rstrip())
    if kind is None and text[start - 1 : start] == " ":  # `API key: …`
        start = _start_of_name(text, start - 1)
        kind = kind_of_name(text[start:end].rstrip())
    if kind is None:
        return None
    vague = text[start:end].strip().lower() in {"token", "jwt"}
    return _Name(start=start, kind=kind, close=close, sign=sign, vague=vague)


def _lower(text: str) -> str:
    """Return the text in lower case with every position kept."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text.replace("\u0130", "I").lower()


def _start_of_name(text: str, position: int) -> int:
    floor = max(0, position - MAX_NAME_LENGTH)
    while position > floor and text[position - 1] in _NAME_CHARACTERS:
        position -= 1
    after_escape = position > 0 and text[position - 1] == "\\" and text[position] in "nrt"
    return position + 1 if after_escape else position


def _value_span(text: str, name: _Name, end: int) -> tuple[int, int] | None:
    opening = _OPENING.match(text, end)
    if opening is None:
        return None
    quote = opening["mark"]
    if quote and (name.close or not text.endswith(quote, 0, name.start)):
        return _quoted(text, opening.end(), quote, name)
    # A name right after a quote that it does not close stands inside that string, and so must its value.
    position = opening.end("space")
    if name.kind in {"authorization", "cookie"}:
        return _header(text, position, name.kind)
    return _unquoted(text, name, position)


def _quoted(text: str, begin: int, quote: str, name: _Name) -> tuple[int, int] | None:
    end = text.find(quote, begin)
    while end > begin and len(quote) == 1 and _is_escaped(text, end):
        end = text.find(quote, end + 1)
    if end < 0:
        end = next((at for at in (text.find("\n", begin),) if at >= 0), len(text))
    value = text[begin:end]
    if not value or value.startswith(_MARK) or _PLACEHOLDER.fullmatch(value):
        return None
    credible = not name.vague or len(value) >= 16 or _is_telling(value)
    return (begin, end) if credible else None


def _is_escaped(text: str, position: int) -> bool:
    backslashes = 0
    while text[position - 1 - backslashes : position - backslashes] == "\\" and backslashes < 64:
        backslashes += 1
    return backslashes % 2 == 1


def _header(text: str, begin: int, kind: str) -> tuple[int, int] | None:
    line = _REST_OF_LINE.match(text, begin)
    if line is None:
        return None
    value = line[0].rstrip()
    if kind == "cookie":
        credible = "=" in value
    else:
        scheme = _SCHEME.match(value)
        words = value[scheme.end() if scheme else 0 :].split(maxsplit=1)
        credible = bool(words) and (scheme is not None or len(words) == 1) and _is_credential(words[0])
    return (begin, begin + len(value)) if credible else None


def _is_credential(word: str) -> bool:
    plain = word.strip(".,;:!?").isalpha() and word.islower()
    return (
        not _PLACEHOLDER.fullmatch(word)
        and len(word) >= 6
        and (_has_digit(word) or not plain or len(word) >= 20)
    )


def _unquoted(text: str, name: _Name, begin: int) -> tuple[int, int] | None:
    match = _UNQUOTED.match(text, begin)
    if match is None:
        return None
    value = match[0].rstrip(".,:!?")
    calls = text[match.end() : match.end() + 1] in {"(", "["}
    if not value or calls or _PLACEHOLDER.fullmatch(value) or (kind_of_name(value) and not _has_digit(value)):
        return None
    if _NUMBER.fullmatch(value) and name.kind not in {"password", "secret", "card_number"}:
        return None
    return (begin, begin + len(value)) if _is_credible(text, name, value, begin) else None


def _is_credible(text: str, name: _Name, value: str, begin: int) -> bool:
    if _is_telling(value) or len(value) >= 20:
        return True
    tight = text.endswith(name.sign, 0, begin)  # `name=value`, written without a space
    if tight and text[name.start - 1 : name.start] in {"?", "&"}:
        return len(value) >= 3
    if name.kind == "token":  # also what models read and programs parse
        return tight and not name.vague and len(value) >= 8
    return len(value) >= 3 if tight else _fills_line(text, name.start, begin + len(value))


def _fills_line(text: str, start: int, end: int) -> bool:
    """Whether an assignment stands alone on its line, as in a configuration file."""
    before = text[max(0, start - 80) : start].rpartition("\n")
    alone = (bool(before[1]) or start <= 80) and not before[2].strip(" \t-\"'")
    return alone and text[end : end + 3].lstrip(" \t\r")[:1] in {"", "\n"}


def _is_telling(value: str) -> bool:
    return len(value) >= 6 and _has_digit(value)


def _has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)
