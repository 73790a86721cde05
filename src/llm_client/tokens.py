"""Estimates of token counts, calibrated by what responses report.

No vendor but OpenAI publishes a tokenizer, so characters per token are learned per model from each response's usage.
"""

from __future__ import annotations

from collections.abc import Iterable

from llm_client.json_text import dumps
from llm_client.messages import CallPart, MediaPart, Message
from llm_client.tools.tool import Tool

DEFAULT_CHARACTERS_PER_TOKEN = 4.0
MESSAGE_OVERHEAD = 12
"""Characters counted for the role and the separators of a message."""
MEDIA_TOKENS = 1_000
"""Tokens counted for an image of unknown size, and for any other medium."""
PIXELS_PER_TOKEN = 750
"""As Anthropic documents for images; others are of the same order."""
LEARNING_RATE = 0.3
SLOWEST, FASTEST = 1.0, 8.0
MAX_MODELS = 1_000


def message_characters(message: Message) -> int:
    """Return the characters of a message that a model reads as text."""
    size = MESSAGE_OVERHEAD
    if isinstance(message.content, str):
        size += len(message.content)
    else:
        size += sum(len(part.text) for part in message.content if not isinstance(part, MediaPart | CallPart))
    for call in message.tool_calls:
        size += len(call.name) + len(dumps(call.arguments, default=str))
    return size


def media_tokens(message: Message) -> int:
    """Return a guess of the tokens that the images and files of a message take."""
    if isinstance(message.content, str):
        return 0
    total = 0
    for part in message.content:
        if isinstance(part, MediaPart):
            size = part.size
            total += MEDIA_TOKENS if size is None else size[0] * size[1] // PIXELS_PER_TOKEN
    return total


def tool_characters(tool: Tool) -> int:
    """Return the characters of a tool's description."""
    return len(tool.name) + len(tool.description) + len(dumps(tool.parameters, default=str))


class TokenEstimator:
    """Characters per token, by model, learned from usage."""

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}

    def ratio(self, model: str) -> float:
        """Return how many characters of text make one token of a model."""
        return self._ratios.get(model, DEFAULT_CHARACTERS_PER_TOKEN)

    def estimate(self, messages: Iterable[Message], tools: Iterable[Tool] = (), *, model: str = "") -> int:
        """Return roughly how many tokens a request's input takes."""
        characters, media = _measure(messages, tools)
        return round(characters / self.ratio(model)) + media

    def learn(
        self, messages: Iterable[Message], tools: Iterable[Tool], *, model: str, input_tokens: int
    ) -> None:
        """Correct the estimate of a model with what a response reported."""
        characters, media = _measure(messages, tools)
        text_tokens = input_tokens - media
        if characters < 1 or text_tokens < 1:
            return
        seen = min(max(characters / text_tokens, SLOWEST), FASTEST)
        known = self._ratios.get(model)
        if known is None and len(self._ratios) >= MAX_MODELS:
            return
        self._ratios[model] = seen if known is None else known + LEARNING_RATE * (seen - known)


def _measure(messages: Iterable[Message], tools: Iterable[Tool]) -> tuple[int, int]:
    characters = media = 0
    for message in messages:
        characters += message_characters(message)
        media += media_tokens(message)
    return characters + sum(tool_characters(tool) for tool in tools), media
