"""Putting a vendor's own blocks back where they stood in the model's turn.

Vendors want reasoning blocks back exactly where they were between text and tool calls. A `Message` keeps text, tool
calls and reasoning apart, so each carried block remembers its position in the answer it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm_client.messages import Message, ReasoningPart


def own_parts(message: Message, provider: str) -> list[ReasoningPart]:
    """Return the reasoning parts of a message that came from this vendor."""
    if isinstance(message.content, str):
        return []
    return [part for part in message.content if isinstance(part, ReasoningPart) and part.provider == provider]


def carried(provider: str, text: str, name: str, block: dict[str, Any], position: int) -> ReasoningPart:
    """Return a reasoning part that carries a vendor's block, found at this position of its answer."""
    return ReasoningPart(provider=provider, text=text, data={name: block, "position": position})


def in_order(blocks: list[dict[str, Any]], parts: Sequence[ReasoningPart], name: str) -> list[dict[str, Any]]:
    """Insert the carried blocks of `parts`, kept under `name`, at their positions among the other blocks."""
    for part in parts:
        position = part.data.get("position")
        blocks.insert(position if isinstance(position, int) else len(blocks), part.data[name])
    return blocks
