"""A model's turn as a vendor wants it back: its blocks in their order, with what belongs to them.

What is opaque goes back to the vendor it came from alone; of another vendor's turn, text, media and tool calls are left.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from llm_client.messages import CallPart, MediaPart, Message, ReasoningPart, RefusalPart, TextPart, ToolCall

_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A tool call where it stood, with what its vendor wants back."""

    call: ToolCall
    data: dict[str, Any]


Block = TextPart | MediaPart | ReasoningPart | RefusalPart | PlacedCall


def blocks_of(message: Message, provider: str) -> list[Block]:
    """Return the blocks of a turn in order, without what another vendor's blocks hold for themselves.

    A tool call that has no place among the parts stands behind them.
    """
    if isinstance(message.content, str):
        blocks: list[Block] = [TextPart(text=message.content)] if message.content else []
        return [*blocks, *(PlacedCall(call, {}) for call in message.tool_calls)]
    waiting: dict[str, deque[int]] = {}
    for index, call in enumerate(message.tool_calls):
        waiting.setdefault(call.id, deque()).append(index)
    placed: set[int] = set()
    blocks = []
    for part in message.content:
        if isinstance(part, CallPart):
            if same := waiting.get(part.call_id):
                placed.add(index := same.popleft())
                data = part.data if part.provider == provider else {}
                blocks.append(PlacedCall(message.tool_calls[index], data))
        elif isinstance(part, ReasoningPart):
            if part.provider == provider:
                blocks.append(part)
        elif isinstance(part, MediaPart):
            blocks.append(part if part.provider == provider else replace(part, vendor_data={}))
        elif part.provider == provider or not part.data:
            blocks.append(part)
        elif part.text:
            blocks.append(replace(part, provider="", data={}))
    left = (call for index, call in enumerate(message.tool_calls) if index not in placed)
    return [*blocks, *(PlacedCall(call, {}) for call in left)]


def tool_name(name: str) -> str:
    """Return a tool's name as every vendor takes it: a model may have called what nobody has offered it."""
    return _NO_NAME.sub("_", name)[:_MAX_NAME] or "_"


def without_last(blocks: Sequence[dict[str, Any]], kinds: frozenset[str]) -> list[dict[str, Any]]:
    """Return blocks without those of some types at their end, where nothing follows that they belong to."""
    left = list(blocks)
    while left and left[-1].get("type") in kinds:
        left.pop()
    return left
