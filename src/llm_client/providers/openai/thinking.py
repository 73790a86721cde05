"""Thoughts among the texts of an answer: Mistral's models answer with a list of both, and want the thoughts back in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm_client.messages import ReasoningPart, StreamEvent
from llm_client.providers.response import ResponseDraft
from llm_client.providers.turn_order import Block

_CHUNK: Final = "thinking_chunk"
"""Under which a thought keeps the fields of its chunk."""


class ThinkingChunks:
    """Puts the chunks of an answer's thoughts together, from pieces in a stream: each is a block of its own, with its signature.

    Args:
        draft: The answer.
    """

    def __init__(self, draft: ResponseDraft) -> None:
        self._draft = draft
        self._key: object = None
        """That of the chunk which grows."""
        self._fields: dict[str, Any] = {}
        self._entries: list[object] = []
        """What the thought is made of besides text, such as references to what a tool gave, and the texts before them."""
        self._text: list[str] = []
        """Pieces of the text behind them."""

    def take(self, chunk: Mapping[str, Any], *, is_next: bool) -> list[StreamEvent]:
        """Take a chunk, or a piece of the one that grows: pieces do not say which they belong to.

        Args:
            chunk: Of the type `thinking`.
            is_next: Whether it is surely another one than the last.
        """
        if self._key is None or is_next or not self._draft.is_last(self._key):
            self.end()
            self._draft.end_block()
            self._key = object()
            self._draft.begin("reasoning", self._key)
        fields = {
            name: value
            for name, value in chunk.items()
            if name not in ("type", "thinking") and value is not None
        }
        self._draft.kept.update(self._fields, fields)
        events: list[StreamEvent] = []
        for entry in chunk.get("thinking") or ():
            if entry.get("type", "text") == "text":
                self._text.append(entry.get("text") or "")
                events += self._draft.add_thought(self._text[-1], self._key)
            else:
                self._end_text()
                self._entries.append(self._draft.kept.take(entry))
        return events

    def end(self) -> None:
        """Keep with the last chunk what the server wants back."""
        if self._key is None:
            return
        fields = dict(self._fields)
        if self._entries or not self._text:
            self._end_text()
            fields["thinking"] = self._entries
        self._draft.note({_CHUNK: fields}, self._key, "reasoning")
        self._key, self._fields, self._entries, self._text = None, {}, [], []

    def _end_text(self) -> None:
        if self._text:
            self._entries.append(_text("".join(self._text)))
            self._text = []


def chunk_of(block: Block) -> dict[str, Any] | None:
    """Return the chunk that a thought came in; `None` for any other block."""
    fields = block.data.get(_CHUNK) if isinstance(block, ReasoningPart) else None
    if not isinstance(block, ReasoningPart) or not isinstance(fields, Mapping):
        return None
    return {"thinking": [_text(block.text)], **fields, "type": "thinking"}


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
