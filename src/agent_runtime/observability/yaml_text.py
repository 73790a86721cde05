"""JSON values as YAML that people read: a text of several lines stands there as it is.

Written for records of calls, of which there may be many: PyYAML's emitter in C takes ten times as long. What is written is read as the
same values by readers of YAML 1.1 and of 1.2, so every text that one of them could take for something else is quoted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from llm_client.json_text import whole_text

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,120}", re.ASCII)
"""What needs no quotes, if it is no word that means something."""
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""What YAML wants to be escaped, and what some of its readers take for the end of a line."""
_LINE: Final = re.compile(r"\n(?=[^\n])")
_LONGEST_KEY: Final = 1000
"""Characters; a longer one needs a mark in front."""


def yaml_text(value: Mapping[str, object]) -> str:
    """Return JSON values as a YAML document; halves of surrogate pairs, which no file holds, are replaced."""
    parts: list[str] = []
    _mapping(parts, value, "")
    return "".join(parts) or "{}\n"


def _mapping(parts: list[str], value: Mapping[Any, object], pad: str) -> None:
    for key, item in value.items():
        name = _key(key)
        head = f"{pad}{name}:" if len(name) <= _LONGEST_KEY else f"{pad}? {name}\n{pad}:"
        _entry(parts, head, item, pad)


def _sequence(parts: list[str], value: list[object] | tuple[object, ...], pad: str) -> None:
    below = f"{pad}  "
    for item in value:
        begin = len(parts)
        if isinstance(item, Mapping) and item:
            _mapping(parts, item, below)
        elif isinstance(item, list | tuple) and item:
            _sequence(parts, item, below)
        else:
            _entry(parts, f"{pad}-", item, pad)
            continue
        parts[begin] = f"{pad}- {parts[begin][len(below) :]}"


def _entry(parts: list[str], head: str, item: object, pad: str) -> None:
    """Write what stands behind a key or a dash."""
    if isinstance(item, str):
        parts.append(f"{head} {_text(item, pad)}")
    elif isinstance(item, Mapping) and item:
        parts.append(f"{head}\n")
        _mapping(parts, item, f"{pad}  ")
    elif isinstance(item, list | tuple) and item:
        parts.append(f"{head}\n")
        _sequence(parts, item, f"{pad}  ")
    else:
        parts.append(f"{head} {_scalar(item)}\n")


def _scalar(item: object) -> str:
    if item is None:
        return "null"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int):
        return str(item)
    if isinstance(item, float):
        return _number(item)
    if isinstance(item, Mapping):
        return "{}"
    if isinstance(item, list | tuple):
        return "[]"
    return _quoted(str(item))


def _number(item: float) -> str:
    if math.isnan(item):
        return ".nan"
    if math.isinf(item):
        return ".inf" if item > 0 else "-.inf"
    text = repr(float(item))
    mantissa, mark, exponent = text.partition("e")  # a number without a point is a text to YAML 1.1
    return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else text


def _key(key: object) -> str:
    text = key if isinstance(key, str) else str(key)
    return text if _is_plain(text) else _quoted(text)


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


def _text(text: str, pad: str) -> str:
    """Return a text with the line's end behind it: plain, as a block, or quoted."""
    if "\n" not in text:
        return f"{text}\n" if _is_plain(text) else f"{_quoted(text)}\n"
    if _UNPRINTABLE.search(text) or not text.strip():
        return f"{_quoted(text)}\n"
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    indent = "2" if text[0] in " \t\n" else ""  # else the first line says it
    keep = "-" if not ends else "" if ends == 1 else "+"
    below = f"\n{pad}  "
    first = "\n" if text[0] == "\n" else below
    end = "\n" * max(ends, 1)
    return f"|{indent}{keep}{first}{_LINE.sub(below, body)}{end}"


def _quoted(text: str) -> str:
    written = orjson.dumps(whole_text(text)).decode()
    return written if written.isascii() and written.isprintable() else _UNPRINTABLE.sub(_escaped, written)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
