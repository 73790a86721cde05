"""What an agent remembers from one turn to the next: the newest of what was said, as far as its bounds allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import orjson

from agent_runtime.errors import InvalidInput
from agent_runtime.residents.settings import AgentSettings
from llm_client.codec import dump_message, load_message
from llm_client.json_text import dumps, exact
from llm_client.messages import Message
from llm_client.tokens import TokenEstimator

FORMAT: Final = 1
MAX_MEMORY_BYTES: Final = 256 * 1024
"""JSON of what one agent remembers."""
_OF_A_LIST: Final = 64
"""Bytes around the messages."""
_SHORTENED: Final = " […]"


def recalled(memory: bytes | None) -> list[Message]:
    """Return the messages that an agent remembers, the oldest first.

    Raises:
        InvalidInput: It is no memory that this version can read.
    """
    if memory is None:
        return []
    try:
        data = exact(orjson.loads(memory), memory)
        if data["format"] > FORMAT:
            raise InvalidInput(f"the agent's memory has format {data['format']}; this version reads {FORMAT}")
        return [load_message(message) for message in data["messages"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("what the agent remembers cannot be read") from error


def remembered(memory: bytes | None, added: Sequence[Message], settings: AgentSettings) -> bytes:
    """Return what an agent remembers from now on.

    Whole exchanges are forgotten, the oldest first: what somebody has said, and all that followed until somebody has said the next thing; so
    a tool call never loses its result. Of a newest one that is too long by itself, the question and the answer are left, shortened.

    Args:
        memory: What it remembers so far.
        added: The messages of the turn that has ended.
        settings: How many messages and tokens there may be.
    """
    exchanges = list(_exchanges([*recalled(memory), *added]))
    room = _Room(settings)
    kept: list[list[bytes]] = []
    for place, exchange in enumerate(reversed(exchanges)):
        written = room.take(exchange)
        if written is None and place == 0:
            written = room.take(_essence(exchange, room.letters))
        if written is None:
            break
        kept.append(written)
    messages = [message for exchange in reversed(kept) for message in exchange]
    return b'{"format":%d,"messages":[%b]}' % (FORMAT, b",".join(messages))


class _Room:
    """How much more may be remembered."""

    def __init__(self, settings: AgentSettings) -> None:
        self._messages = settings.memory_messages
        self._tokens = settings.memory_tokens
        self._bytes = MAX_MEMORY_BYTES - _OF_A_LIST
        self._estimator = TokenEstimator()

    @property
    def letters(self) -> int:
        """Characters that one of two messages may have which are to fit in any case."""
        by_bytes = self._bytes // 16  # a character takes six bytes of JSON at most
        if self._tokens is None:
            return by_bytes
        return min(by_bytes, max(0, self._tokens // 3 - 8))  # and less than one and a half tokens

    def take(self, exchange: Sequence[Message]) -> list[bytes] | None:
        """Return an exchange as JSON and count it, or `None` if it does not fit."""
        if len(exchange) > self._messages:
            return None
        tokens = (
            0 if self._tokens is None else self._estimator.estimate(exchange) + 1
        )  # what rounding has taken
        if self._tokens is not None and tokens > self._tokens:
            return None
        written = [dumps(dump_message(message), default=str) for message in exchange]
        size = sum(len(one) + 1 for one in written)
        if size > self._bytes:
            return None
        self._messages -= len(exchange)
        self._bytes -= size
        if self._tokens is not None:
            self._tokens -= tokens
        return written


def _exchanges(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yield messages by what somebody has said and what followed. What stands before anything was said belongs to nothing, and is left out."""
    exchange: list[Message] = []
    for message in messages:
        if message.role == "user":
            if exchange:
                yield exchange
            exchange = [message]
        elif exchange and message.role != "system":
            exchange.append(message)
    if exchange:
        yield exchange


def _essence(exchange: Sequence[Message], letters: int) -> list[Message]:
    """Return the question and the last answer of an exchange, shortened."""
    answer = next(
        (one for one in reversed(exchange[1:]) if one.role == "assistant" and one.text.strip()), None
    )
    kept = [exchange[0]] if answer is None else [exchange[0], answer]
    return [Message(one.role, _short(one.text, letters)) for one in kept]


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: max(0, letters - len(_SHORTENED))] + _SHORTENED
