"""Texts of strangers on their way out: the one path from an exception, or any text, to what everybody may read.

Cut first, so that five megabytes cost nothing; then redact; then replace what storages and terminals cannot hold.
Nothing here raises, whatever the text or the exception is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from llm_client.json_text import whole_text
from llm_client.redaction import redact

MAX_PUBLIC_CHARACTERS: Final = 4000
CUT_MARGIN: Final = 4096
"""Characters behind the cut that are redacted too and then dropped: a secret that the cut goes through has no shape there,
and the marks in place of others make room for it."""
_CUT_RUN: Final = re.compile(r"[\w.+/=~%-]*+", re.ASCII)
"""Characters that keys and tokens are written with."""
_CUT: Final = "<REDACTED:cut>"
"""What stands for a run of such characters that neither begins behind the cut nor ends in what was looked at: nobody knows what it is."""
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_INPUT: Final = re.compile(r"input_value=.*?(?=, input_type=|$)", re.MULTILINE)
"""How pydantic repeats a value that it refuses: abbreviated, so that a secret in it has no shape any more."""
_PLACEHOLDER: Final = "\ufffd"
_TOLD_ONE_BY_ONE: Final = 100
_SHORTEST_KEY: Final = 4
_KEY: Final = "<REDACTED:api_key>"


def public_text(text: str, limit: int = MAX_PUBLIC_CHARACTERS) -> str:
    """Return a text as everybody may read it.

    Args:
        text: From anywhere.
        limit: Characters that are kept.
    """
    head = str.__getitem__(text, slice(limit + CUT_MARGIN))
    is_cut = limit + CUT_MARGIN < len(text)
    if "input_value=" in head:
        head = _INPUT.sub("input_value=…", head)
    return printable(_redacted(head, is_cut=is_cut)[:limit])


def beginning(text: str, limit: int) -> str:
    """Return the first characters of a text without secrets, nor any part of one that the cut goes through."""
    return _redacted(text[: limit + CUT_MARGIN], is_cut=limit + CUT_MARGIN < len(text))[:limit]


def _redacted(head: str, *, is_cut: bool) -> str:
    if not is_cut:
        return redact(head)
    whole = without_cut_run(head)
    if whole is not head:
        return redact(whole[: -len(_CUT)]) + _CUT
    cleaned = redact(head)
    return cleaned[: max(0, len(cleaned) - CUT_MARGIN)]


def without_cut_run(head: str) -> str:
    """Return the head of a text that was cut with a mark in place of what may be the beginning of a long secret; the same one where nothing is."""
    run = _CUT_RUN.match(head[::-1])
    if run is None or run.end() <= CUT_MARGIN or not any(map(str.isdigit, run[0])):
        return head
    return head[: -run.end()] + _CUT


def printable(text: str) -> str:
    """Return a text with a sign in place of NUL, other control characters, and halves of surrogate pairs."""
    if text.isprintable() and text.isascii():
        return text
    return _UNPRINTABLE.sub(_PLACEHOLDER, text)


def without_halves(text: str) -> str:
    """Return a text with a sign in place of each half of a surrogate pair, which UTF-8 cannot hold."""
    return whole_text(text)


def text_of(error: BaseException) -> str:
    """Return what an exception says, as everybody may read it; its class where it says nothing."""
    return public_text(raw_text_of(error))


def raw_text_of(error: BaseException) -> str:
    """Return what an exception says, unredacted; its class where it says nothing, or fails to."""
    if isinstance(error, SystemExit):
        return f"it tried to end the process, with status {error.code!r}"
    count = attribute_of(error, "error_count")
    try:
        if (
            callable(count) and (mistakes := count()) > _TOLD_ONE_BY_ONE
        ):  # pydantic's, whose text tells of each
            return f"{mistakes} mistakes"
        return str(error) or type(error).__name__
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 -- a text that cannot be read is no reason to lose the error
        return f"{type(error).__name__}, whose text cannot be read"


def kind_of(error: BaseException) -> str:
    """Return the name of an exception's class, as everybody may read it."""
    return public_text(type(error).__name__, 200)


def attribute_of(error: BaseException, name: str) -> object:
    """Return an attribute of somebody's exception, which may be a property that raises; `None` where there is none."""
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 -- what cannot be read is not there
        return None


def without_keys(text: str, keys: Iterable[str]) -> str:
    """Return a text without keys, of whatever form, that whoever was sent them may have repeated, in capital or small letters.

    Shorter ones than four characters are none.
    """
    lowered = ""
    for key in keys:
        if len(key) < _SHORTEST_KEY:
            continue
        lowered = lowered or text.lower()
        if key.lower() in lowered:
            text = re.sub(re.escape(key), _KEY, text, flags=re.IGNORECASE)
            lowered = ""
    return text


def without_keys_in(value: Any, keys: Sequence[str]) -> Any:
    """Return JSON values without keys that are repeated in their texts and names."""
    if not keys or not isinstance(value, str | list | dict):
        return value
    if isinstance(value, str):
        return without_keys(value, keys)
    if isinstance(value, list):
        return [without_keys_in(entry, keys) for entry in value]
    return {without_keys(name, keys): without_keys_in(entry, keys) for name, entry in value.items()}
