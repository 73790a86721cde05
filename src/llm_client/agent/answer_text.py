"""The JSON of an answer that was asked for JSON alone: between thoughts, fences, greetings and explanations.

With a bound on what is looked at: an answer is text from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any, Final

import orjson

from llm_client.json_text import JsonValue, TooDeep, check_depth, check_parts, decoder_of, loads, whole_value

_FENCE: Final = "```"
_FENCE_COSTS: Final = 100
"""Characters that are read while a fence is looked at."""
_LANGUAGE: Final = re.compile(r"(?:[^\W_]|\s){0,1000}")
"""What stands behind a fence before the object that it holds."""
_THOUGHTS: Final = (
    *((f"<{name}>", f"</{name}>") for tag in ("think", "thinking", "thought", "reasoning")
      for name in (tag, tag.capitalize(), tag.upper())),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
)  # fmt: skip
"""How thoughts begin and end where no server has taken them out: of most models, Magistral, Kimi-VL and Seed-OSS, each as its chat template has it."""
_CHANNELS: Final = ("<|channel|>", "<|start|>")
"""How a raw answer of gpt-oss begins (OpenAI's page on its format, harmony): all but its last channel, `final`, are thoughts and calls."""
_FINAL: Final = "<|channel|>final"
_MESSAGE: Final = "<|message|>"
_BYTE_ORDER_MARK: Final = "\ufeff"
MAX_OBJECTS: Final = 64
"""Places of an answer at which an object may begin that are tried."""
_LOOKED_AT: Final = 4_000_000
"""Characters that are read, in all, to find the object of an answer."""


def json_of(text: str) -> Iterator[JsonValue]:
    """Yield the values that an answer can mean, the likeliest one first.

    An answer that is JSON as a whole means that. Otherwise it means one of its objects: those in fences come first, and nothing in its
    thoughts counts.

    Raises:
        orjson.JSONDecodeError: There is none.
    """
    bare = _bare(text)
    try:
        yield loads(bare)
    except orjson.JSONDecodeError as error:
        why = error
    else:
        return
    found = False
    check_parts(bare)
    for value in _objects(bare):
        found = True
        yield whole_value(value)
    if not found:
        raise why


def _bare(text: str) -> str:
    return text.strip().removeprefix(_BYTE_ORDER_MARK).strip()


def _end_of_thoughts(text: str) -> int:
    """Return where the model's thoughts end: at the last mark of their end; never, where they begin and do not end."""
    end = 0
    for opening, closing in _THOUGHTS:
        last = text.rfind(closing)
        if last >= 0:
            end = max(end, last + len(closing))
        elif text.startswith(opening):
            return len(text)
    if not text.startswith(_CHANNELS):
        return end
    final = text.rfind(_FINAL)
    message = text.find(_MESSAGE, final) if final >= 0 else -1
    return len(text) if message < 0 else max(end, message + len(_MESSAGE))


def _objects(text: str) -> Iterator[Any]:
    """Yield the objects of a text that do not end in its thoughts, those right behind a fence first."""
    thoughts = _end_of_thoughts(text)
    looked_at = 0
    tried: set[int] = set()
    decoder = decoder_of(text)
    for start, fenced in ((thoughts, True), (thoughts, False), (0, True), (0, False)):
        at = start
        while len(tried) < MAX_OBJECTS and looked_at < _LOOKED_AT:
            at = _after_fence(text, at) if fenced else text.find("{", at)
            looked_at += _FENCE_COSTS if fenced else 0
            if at < 0:
                break
            if at in tried or not text.startswith("{", at):
                at += 1
                continue
            tried.add(at)
            try:
                value, end = decoder.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                looked_at += _read_until(error, text) - at
                at += 1
                continue
            looked_at += end - at
            read, at = text[at:end], end
            if end > thoughts and not _is_too_deep(value, read):
                yield value


def _is_too_deep(value: Any, text: str) -> bool:
    try:
        check_depth(value, text)
    except TooDeep:
        return True
    return False


def _read_until(error: Exception, text: str) -> int:
    """Return how far an object was read that is none."""
    if not isinstance(error, JSONDecodeError) or error.msg.startswith("Unterminated"):
        return len(text)  # for a text without an end it says where that begins
    return error.pos


def _after_fence(text: str, at: int) -> int:
    """Return where the first fence from here on holds something; its first line may name a language."""
    fence = text.find(_FENCE, at)
    return -1 if fence < 0 else _LANGUAGE.match(text, fence + len(_FENCE)).end()  # type: ignore[union-attr]  # it matches nothing as well
