"""Providers for tests and examples: a script of replies, or a function that writes them."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm_client.errors import ScriptExhausted
from llm_client.json_text import dumps
from llm_client.messages import (
    CompletionResult,
    Embeddings,
    Message,
    ReasoningPart,
    StreamEvent,
    TextPart,
    ToolCall,
)
from llm_client.spec import RequestContext, RequestSpec
from llm_client.usage import Usage

_UNSTATED = Usage()
Chunk = str | ToolCall | ReasoningPart | BaseException
"""One piece of a streamed reply; an exception is raised where it stands."""


@dataclass(frozen=True, slots=True)
class Delay:
    """A reply that comes late.

    Args:
        seconds: How long the model takes.
        item: The reply.
    """

    seconds: float
    item: Reply


@dataclass(frozen=True, slots=True)
class Chunks:
    """A reply that is streamed in exactly these pieces; an exception among them breaks the stream there."""

    items: Sequence[Chunk]


Reply = str | ToolCall | Sequence[ToolCall] | CompletionResult | BaseException | Delay | Chunks
"""What a scripted model may answer."""


def _chunks(reply: str | ToolCall | Sequence[ToolCall] | CompletionResult | Chunks) -> Iterator[Chunk]:
    """Cut a reply into the pieces a vendor would stream: words, and whole tool calls."""
    if isinstance(reply, Chunks):
        yield from reply.items
    elif isinstance(reply, str):
        yield from re.findall(r"\s*\S+\s*$|\s*\S+|\s+", reply)
    elif isinstance(reply, ToolCall):
        yield reply
    elif isinstance(reply, CompletionResult):
        yield from reply.reasoning
        yield from _chunks(reply.content)
        yield from reply.tool_calls
    else:
        yield from reply


def _result(pieces: Sequence[Chunk]) -> CompletionResult:
    calls = tuple(piece for piece in pieces if isinstance(piece, ToolCall))
    return CompletionResult(
        content="".join(piece for piece in pieces if isinstance(piece, str)),
        tool_calls=calls,
        reasoning=tuple(piece for piece in pieces if isinstance(piece, ReasoningPart)),
        finish_reason="tool_calls" if calls else "stop",
    )


def _events(piece: Chunk) -> Iterator[StreamEvent]:
    if isinstance(piece, str):
        yield StreamEvent(type="token", text=piece)
    elif isinstance(piece, ReasoningPart):
        yield StreamEvent(type="reasoning", text=piece.text)
    elif isinstance(piece, ToolCall):
        opened = replace(piece, arguments={}, malformed=None)
        yield StreamEvent(type="tool_call_start", tool_call=opened)
        text = piece.malformed if piece.malformed is not None else dumps(piece.arguments).decode()
        yield StreamEvent(type="tool_call_delta", text=text, tool_call=opened)
        yield StreamEvent(type="tool_call_end", tool_call=piece)
    else:
        raise piece


def _tokens(characters: int) -> int:
    return (characters + 3) // 4


def _length(message: Message) -> int:
    if isinstance(message.content, str):
        return len(message.content)
    return sum(len(part.text) for part in message.content if isinstance(part, TextPart))


class _DoubleProvider:
    """What both doubles share: how a reply becomes a result or a stream, and its made-up usage.

    Every four characters of text count as one token, so that budgets and costs can be tested without a tokenizer.
    """

    def __init__(self, *, name: str, model: str, usage: Usage | None) -> None:
        self._name = name
        self._model = model
        self._usage = usage
        self.requests: list[RequestSpec] = []
        """Every request received, in order."""
        self.closed = False

    @property
    def name(self) -> str:
        """Vendor name as price tables know it."""
        return self._name

    @property
    def model(self) -> str:
        """Model asked when a request names none."""
        return self._model

    async def _reply(self, spec: RequestSpec) -> Reply | AsyncIterator[str]:
        raise NotImplementedError

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        """Answer with the next reply."""
        self.requests.append(spec)
        reply = await self._awaited(spec)
        if isinstance(reply, CompletionResult):
            return self._finished(spec, reply)
        if isinstance(reply, str):
            return self._finished(spec, CompletionResult(content=reply))
        pieces: list[Chunk] = []
        async for piece in self._pieces(reply):
            if isinstance(piece, BaseException):
                raise piece
            pieces.append(piece)
        return self._finished(spec, _result(pieces))

    async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
        """Stream the next reply, word by word unless it is `Chunks`."""
        self.requests.append(spec)
        reply = await self._awaited(spec)
        pieces: list[Chunk] = []
        async for piece in self._pieces(reply):
            for event in _events(piece):
                yield event
            pieces.append(piece)
        whole = reply if isinstance(reply, CompletionResult) else _result(pieces)
        result = self._finished(spec, whole)
        yield StreamEvent(type="usage", usage=result.usage)
        yield StreamEvent(type="done", usage=result.usage, result=result)

    @property
    def embedding_model(self) -> str:
        """The model, for embeddings too."""
        return self.model

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
        """Return a vector of eight numbers per text, always the same for the same text."""
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        usage = Usage(input_tokens=_tokens(sum(map(len, texts))), requests=1)
        vectors = ([byte / 127.5 - 1.0 for byte in digest[:8]] for digest in digests)
        return Embeddings(vectors, model=model or self.embedding_model, usage=usage)

    async def aclose(self) -> None:
        """Remember that the provider was closed."""
        self.closed = True

    async def _awaited(
        self, spec: RequestSpec
    ) -> str | ToolCall | Sequence[ToolCall] | CompletionResult | Chunks | AsyncIterator[str]:
        reply = await self._reply(spec)
        while isinstance(reply, Delay):
            await asyncio.sleep(reply.seconds)
            reply = reply.item
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def _pieces(
        self, reply: str | ToolCall | Sequence[ToolCall] | CompletionResult | Chunks | AsyncIterator[str]
    ) -> AsyncIterator[Chunk]:
        if isinstance(reply, AsyncIterator):
            async for text in reply:
                yield text
        else:
            for piece in _chunks(reply):
                yield piece

    def _finished(self, spec: RequestSpec, result: CompletionResult) -> CompletionResult:
        usage = result.usage
        if usage == _UNSTATED:
            usage = self._usage or self._count(spec, result)
        return replace(
            result,
            usage=usage if usage.requests else replace(usage, requests=1),
            model=result.model or spec.model or self._model,
            provider=result.provider or self._name,
        )

    @staticmethod
    def _count(spec: RequestSpec, result: CompletionResult) -> Usage:
        written = len(result.content)
        if result.tool_calls:
            written += sum(len(call.name) + len(dumps(call.arguments)) for call in result.tool_calls)
        return Usage(
            input_tokens=_tokens(sum(map(_length, spec.messages))), output_tokens=_tokens(written), requests=1
        )


class ScriptedProvider(_DoubleProvider):
    """A model that gives prepared replies, one per request, in order.

    Args:
        replies: Texts, tool calls, lists of tool calls, whole results, exceptions to raise, `Delay`s and `Chunks`.
        model: Name of the model it plays.
        name: Name of the provider it plays; `openai` makes its usage priced like OpenAI's.
        usage: Usage of each reply that brings none; by default a count of characters.
    """

    def __init__(
        self,
        replies: Iterable[Reply],
        *,
        model: str = "scripted",
        name: str = "scripted",
        usage: Usage | None = None,
    ) -> None:
        super().__init__(name=name, model=model, usage=usage)
        self._replies = deque(replies)

    @property
    def remaining(self) -> int:
        """How many replies have not been asked for."""
        return len(self._replies)

    def assert_complete(self) -> None:
        """Fail unless every reply was used.

        Raises:
            AssertionError: Replies are left.
        """
        if self._replies:
            message = (
                f"{len(self._replies)} scripted replies were never asked for; next: {self._replies[0]!r}"
            )
            raise AssertionError(message)

    async def _reply(self, spec: RequestSpec) -> Reply:
        if not self._replies:
            raise ScriptExhausted(f"the script ended before request {len(self.requests)}")
        return self._replies.popleft()


class FunctionProvider(_DoubleProvider):
    """A model whose replies a function writes.

    Args:
        fn: Takes the request; returns a reply, or is a coroutine function or an asynchronous generator of text. What
            it raises is the provider's failure. It runs on the event loop, so it must not block.
        model: Name of the model it plays.
        name: Name of the provider it plays.
        usage: Usage of each reply that brings none; by default a count of characters.
    """

    def __init__(
        self,
        fn: Callable[[RequestSpec], Any],
        model: str = "function",
        *,
        name: str = "function",
        usage: Usage | None = None,
    ) -> None:
        super().__init__(name=name, model=model, usage=usage)
        self._fn = fn

    async def _reply(self, spec: RequestSpec) -> Reply | AsyncIterator[str]:
        answer: Reply | Awaitable[Reply] | AsyncIterator[str] = self._fn(spec)
        return await answer if inspect.isawaitable(answer) else answer
