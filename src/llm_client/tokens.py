"""Estimates of token counts, calibrated by what responses report.

No vendor but OpenAI publishes a tokenizer, so letters per token are learned per model from each response's usage. A letter is what a
Latin one takes: a Cyrillic, Greek, Arabic or Hebrew one takes two to three times as much, a Chinese, Japanese, Korean or Indian one
about a token of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llm_client.extra_fields import words_of_thoughts
from llm_client.json_text import dumps
from llm_client.messages import CallPart, MediaPart, Message, Part, ReasoningPart, foreign_data
from llm_client.tools.tool import Tool

DEFAULT_LETTERS_PER_TOKEN = 4.0
MESSAGE_OVERHEAD = 12
"""Letters counted for the role and the separators of a message."""
MEDIA_TOKENS = 1_000
"""Tokens counted for an image of unknown size, for a file that is named by its id, and for any other medium."""
PIXELS_PER_TOKEN = 750
"""As Anthropic documents for images; others are of the same order."""
LEARNING_RATE = 0.3
SLOWEST, FASTEST = 1.0, 8.0
MAX_MODELS = 1_000


def letters(text: str) -> int:
    """Return how many Latin letters take as many tokens as a text: 2.5 for a character of two bytes in UTF-8, 4 for one of three."""
    if text.isascii():
        return len(text)
    return (3 * len(text.encode("utf-8", "surrogatepass")) - len(text)) // 2


def message_letters(message: Message) -> int:
    """Return the letters of a message that a model reads as text."""
    size = MESSAGE_OVERHEAD
    if isinstance(message.content, str):
        size += letters(message.content)
    else:
        size += sum(map(_part_letters, message.content))
    for call in message.tool_calls:
        size += len(call.name) + _letters_of_json(call.arguments)
    return size


def _part_letters(part: Part) -> int:
    """Return the letters of a part, with what it carries that is none of a vendor's signatures, ids and sources."""
    if isinstance(part, MediaPart):
        return 0
    others = foreign_data(part)
    if isinstance(part, ReasoningPart) and not others:
        return max(letters(part.text), sum(map(letters, words_of_thoughts(part.data))))
    return (0 if isinstance(part, CallPart) else letters(part.text)) + (
        _letters_of_json(others) if others else 0
    )


def media_tokens(message: Message) -> int:
    """Return a guess of the tokens that the images and files of a message take."""
    if isinstance(message.content, str):
        return 0
    total = 0
    for part in message.content:
        if isinstance(part, MediaPart):
            size = None if part.file_id else part.size
            total += MEDIA_TOKENS if size is None else size[0] * size[1] // PIXELS_PER_TOKEN
    return total


def tool_letters(tool: Tool) -> int:
    """Return the letters of a tool's description."""
    return len(tool.name) + letters(tool.description) + _letters_of_json(tool.parameters)


def _letters_of_json(value: object) -> int:
    return letters(dumps(value, default=str).decode("utf-8"))


def checked_ratio(value: float) -> float:
    """Return a stored number of letters per token, within bounds. Raises `TypeError` for what is no number."""
    return min(max(value, SLOWEST), FASTEST)


class TokenEstimator:
    """Letters per token, by model, learned from usage.

    Args:
        known: What has been learned before.
    """

    def __init__(self, known: Mapping[str, float] | None = None) -> None:
        self._ratios = dict(known or {})

    def ratio(self, model: str) -> float:
        """Return how many letters of text make one token of a model."""
        return self._ratios.get(model, DEFAULT_LETTERS_PER_TOKEN)

    def estimate(self, messages: Iterable[Message], tools: Iterable[Tool] = (), *, model: str = "") -> int:
        """Return roughly how many tokens a request's input takes."""
        size, media = _measure(messages, tools)
        return round(size / self.ratio(model)) + media

    def learn(
        self, messages: Iterable[Message], tools: Iterable[Tool], *, model: str, input_tokens: int
    ) -> None:
        """Correct the estimate of a model with what a response reported."""
        size, media = _measure(messages, tools)
        text_tokens = input_tokens - media
        if size < 1 or text_tokens < 1:
            return
        seen = checked_ratio(size / text_tokens)
        known = self._ratios.get(model)
        if known is None and len(self._ratios) >= MAX_MODELS:
            return
        self._ratios[model] = seen if known is None else known + LEARNING_RATE * (seen - known)


def _measure(messages: Iterable[Message], tools: Iterable[Tool]) -> tuple[int, int]:
    size = media = 0
    for message in messages:
        size += message_letters(message)
        media += media_tokens(message)
    return size + sum(tool_letters(tool) for tool in tools), media
