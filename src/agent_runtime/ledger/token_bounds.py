"""The most tokens a request's input can take, where a bound exists; what has none is named.

No tokenizer gives more tokens than the text has bytes of UTF-8 – a token stands for at least one byte – but some
normalise the text first, which can lengthen it. So text is counted by its longest normal form, and what vendors add
around messages and tools by overheads that are declared here, generously.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from unicodedata import normalize

import orjson

from llm_client.json_text import JsonObject, dumps
from llm_client.messages import (
    CallPart,
    MediaPart,
    Message,
    ReasoningPart,
    RefusalPart,
    TextPart,
    foreign_data,
)
from llm_client.spec import RequestSpec
from llm_client.tools.tool import Tool

PER_REQUEST: Final = 64
"""Tokens a vendor may add to a request."""
PER_MESSAGE: Final = 32
"""Role, name and separators of one message, and as much for each tool call in it."""
WITH_TOOLS: Final = 1024
"""A vendor's own instructions when a request offers tools (Anthropic documents up to some 700)."""
PER_TOOL: Final = 128
"""Around a tool's name, description and schema."""

_AT_ONCE: Final = 256 * 1024
"""Characters that are counted in one go, which no other thread interrupts."""
_ASCII: Final = re.compile(r"[\x00-\x7f]+")
_SPACED: Final = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
_HARMLESS_EXTRAS: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "metadata",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "serviceTier",
        "service_tier",
        "speed",
        "store",
        "top_k",
        "top_logprobs",
        "user",
        "verbosity",
    }
)
"""Fields of a vendor's request body that bring no further input and no second answer."""


@dataclass(frozen=True, slots=True)
class Unbounded:
    """Why no bound exists."""

    reason: str


def bound_input(spec: RequestSpec, model: str) -> int | Unbounded:
    """Return the most tokens that the input of a request to a model can take."""
    if foreign := foreign_extras(spec.extra):
        return Unbounded(f"extra field {foreign[0]!r} may bring input of any size")
    if spec.server_tools:
        return Unbounded(
            f"{spec.server_tools[0].name} reads at the vendor, and what it reads is input of any size"
        )
    total = PER_REQUEST
    for message in spec.messages:
        tokens = _message(message, model)
        if isinstance(tokens, Unbounded):
            return tokens
        total += tokens
    if spec.tools:
        total += WITH_TOOLS + sum(_tool(tool) for tool in spec.tools)
    if spec.output_schema is not None:
        total += PER_TOOL + _json_bytes(spec.output_schema.schema)
    return total


def foreign_extras(extra: JsonObject) -> list[str]:
    """Return the extra fields of a request that may bring input of any size and kind."""
    return sorted(extra.keys() - _HARMLESS_EXTRAS)


def has_bound(part: MediaPart) -> bool:
    """Whether there is a bound on what a medium can cost."""
    return not isinstance(_image(part, ""), Unbounded)


def has_media(messages: Iterable[Message]) -> bool:
    """Whether anything but text goes in."""
    return any(
        isinstance(part, MediaPart)
        for message in messages
        if not isinstance(message.content, str)
        for part in message.content
    )


def text_bytes(text: str) -> int:
    """Return the bytes of a text's longest normal form."""
    if text.isascii():
        return len(text)
    counts: Counter[str] = Counter()
    for start in range(0, len(text), _AT_ONCE):
        counts.update(_ASCII.sub("", text[start : start + _AT_ONCE]))  # ASCII stays as it is in every form
    # What is composed is never longer than what it is composed of. Each character is taken apart by itself, and its pieces are only put
    # in another order: their lengths add up.
    widths = [(number, *_widths(letter)) for letter, number in counts.items()]
    longest = max((sum(row[0] * row[form] for row in widths) for form in (1, 2, 3)), default=0)
    return len(text) - counts.total() + longest


@lru_cache(maxsize=4096)
def _widths(letter: str) -> tuple[int, int, int]:
    """Return the bytes of a character as it is, and in its longest normal forms."""
    return _bytes(letter), _bytes(normalize("NFD", letter)), _bytes(normalize("NFKD", letter))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _json_bytes(value: Any) -> int:
    """Return the length of a value's JSON at its longest: with blanks, and escaped or in its longest normal form."""
    text = dumps(_plain(value), default=str, option=_SPACED).decode()
    exponents = 2 * sum(text.count(f"{digit}e") for digit in range(10))  # others write 1e5 as 1e+05
    others = len(text) - len(text.encode("ascii", "ignore"))
    if not others:
        return len(text) + exponents
    surrogates = len(text.encode("utf-16-le")) // 2 - len(text)
    escaped = len(text) - others + 6 * (others + surrogates)
    return max(escaped, text_bytes(text)) + exponents


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _message(message: Message, model: str) -> int | Unbounded:
    total = PER_MESSAGE * (1 + len(message.tool_calls))
    total += text_bytes(message.name or "") + text_bytes(message.tool_call_id or "")
    total += sum(
        text_bytes(call.id)
        + text_bytes(call.name)
        + _json_bytes(call.arguments)
        + text_bytes(call.malformed or "")
        + text_bytes(call.signature or "")
        for call in message.tool_calls
    )
    if isinstance(message.content, str):
        return total + text_bytes(message.content)
    for part in message.content:
        tokens = _image(part, model) if isinstance(part, MediaPart) else _said(part)
        if isinstance(tokens, Unbounded):
            return tokens
        total += tokens
    return total


def _said(part: TextPart | ReasoningPart | RefusalPart | CallPart) -> int | Unbounded:
    """Bound a part that is text, and what its vendor wants back with it, which may name what is read besides."""
    if foreign_data(part):
        return Unbounded("what a vendor wants back with an answer may bring input of any size")
    text = "" if isinstance(part, CallPart) else part.text
    return text_bytes(text) + (_json_bytes(part.data) if part.data else 0)


def _image(part: MediaPart, model: str) -> int | Unbounded:
    """Bound an image of declared size by the dearest of the vendors' published formulas."""
    if part.vendor_data:
        return Unbounded("what a vendor wants back with an image may bring input of any size")
    if part.file_id is not None:
        return Unbounded(
            "a file that is named by its id has no bound on its tokens, whatever is declared of it"
        )
    if not part.media_type.startswith("image/"):
        return Unbounded(f"{part.media_type} has no bound on its tokens")
    if part.size is None:
        return Unbounded("an image without a declared width and height has no bound on its tokens")
    width, height = part.size
    tokens = 2833 + 5667 * _tiles(width, 512) * _tiles(height, 512) if "4o-mini" in model else 0
    patches = (5 * _tiles(width, 32) * _tiles(height, 32) + 1) // 2
    tiles = 258 * _tiles(width, 256) * _tiles(height, 256)
    return max(tokens, 1000 + max(patches, tiles))


def _tiles(pixels: int, size: int) -> int:
    return -(-pixels // size)


def _tool(tool: Tool) -> int:
    return PER_TOOL + text_bytes(tool.name) + text_bytes(tool.description) + _json_bytes(tool.parameters)
