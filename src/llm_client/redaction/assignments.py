"""Secrets that only their name gives away, inside a text: `password=…`, `"api_key": "…"`, `Cookie: …`.

Texts are JSON that was encoded twice, header dumps, environment listings, query strings, source code and prose, so a
name is not enough: what follows must be an assignment, and its value must be able to be a secret. `The token: a unit
of text` and `api_key = settings.api_key` stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

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
        start = _start_of_name(text, match.start())
        close = match["close"] or ""
        name_end = match.start("close") if close else match.start("sign")
        kind = kind_of_name(text[start:name_end].rstrip())
        span = _value_span(text, start, match.end(), close, match["sign"], kind) if kind else None
        if span is not None and kind is not None:
            done = span[1]
            yield *span, kind


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


def _value_span(text: str, start: int, end: int, close: str, sign: str, kind: str) -> tuple[int, int] | None:
    opening = _OPENING.match(text, end)
    if opening is None:
        return None
    quote = opening["mark"]
    if quote and (close or not text.endswith(quote, 0, start)):
        return _quoted(text, opening.end(), quote, kind)
    # A name right after a quote that it does not close stands inside that string, and so must its value.
    position = opening.end("space")
    if kind in {"authorization", "cookie"}:
        return _header(text, position, kind)
    return _unquoted(text, start, position, sign, kind)


def _quoted(text: str, begin: int, quote: str, kind: str) -> tuple[int, int] | None:
    end = text.find(quote, begin)
    while end > begin and len(quote) == 1 and _is_escaped(text, end):
        end = text.find(quote, end + 1)
    if end < 0:
        end = next((at for at in (text.find("\n", begin),) if at >= 0), len(text))
    value = text[begin:end]
    if not value or value.startswith(_MARK) or _PLACEHOLDER.fullmatch(value):
        return None
    if kind == "token" and not (len(value) >= 16 or (len(value) >= 6 and _has_digit(value))):
        return None
    return begin, end


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


def _unquoted(text: str, start: int, begin: int, sign: str, kind: str) -> tuple[int, int] | None:
    match = _UNQUOTED.match(text, begin)
    if match is None:
        return None
    value = match[0].rstrip(".,:!?")
    calls = text[match.end() : match.end() + 1] in {"(", "["}
    if not value or calls or _PLACEHOLDER.fullmatch(value) or kind_of_name(value):
        return None
    if _NUMBER.fullmatch(value) and kind not in {"password", "secret", "card_number"}:
        return None
    telling = len(value) >= 6 and _has_digit(value)
    if kind == "token":
        credible = telling or len(value) >= 20
    elif text.endswith(sign, 0, begin):  # `name=value`, written without a space
        credible = len(value) >= 3
    else:
        credible = telling or _fills_line(text, start, match.end())
    return (begin, begin + len(value)) if credible else None


def _fills_line(text: str, start: int, end: int) -> bool:
    """Whether an assignment stands alone on its line, as in a configuration file."""
    before = text[max(0, start - 80) : start].rpartition("\n")
    alone = (bool(before[1]) or start <= 80) and not before[2].strip(" \t-\"'")
    return alone and text[end : end + 3].lstrip(" \t\r")[:1] in {"", "\n"}


def _has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)
