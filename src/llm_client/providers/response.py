"""A model's answer while it is being put together from a vendor's pieces."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from llm_client.messages import (
    CompletionResult,
    FinishReason,
    ReasoningPart,
    StreamEvent,
    ToolCall,
)
from llm_client.spec import new_id
from llm_client.usage import Usage

_MOST: Final = 2**50
"""More tokens than anybody has; a few of such numbers together are still exact everywhere."""


def make_tool_call(call_id: str, name: str, arguments: str, signature: str | None = None) -> ToolCall:
    """Build a tool call from the JSON text a model wrote; text that is no JSON object is kept as `malformed`.

    An empty text means no arguments: several vendors send it for tools without parameters. A vendor that gives no
    id gets a fresh one, since results are matched by id.
    """
    call_id = call_id or new_id("call")
    if not arguments.strip():
        return ToolCall(call_id, name, {}, signature=signature)
    try:
        decoded = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        return ToolCall(call_id, name, {}, malformed=arguments, signature=signature)
    return ToolCall(call_id, name, decoded, signature=signature)


@dataclass(slots=True)
class _OpenCall:
    stub: ToolCall
    fragments: list[str] = field(default_factory=list)
    closed: ToolCall | None = None

    def finish(self) -> ToolCall:
        if self.closed is None:
            stub = self.stub
            self.closed = make_tool_call(stub.id, stub.name, "".join(self.fragments), stub.signature)
        return self.closed


@dataclass(slots=True, kw_only=True)
class ResponseDraft:
    """Collects a streamed answer, and says each step of it as a `StreamEvent`."""

    provider: str
    model: str
    request_id: str | None = None
    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    reasoning: list[ReasoningPart] = field(default_factory=list)
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    _calls: dict[Hashable, _OpenCall] = field(default_factory=dict)

    def add_text(self, text: str) -> StreamEvent:
        """Take a piece of text."""
        self.text.append(text)
        return StreamEvent(type="token", text=text)

    def open_call(self, key: Hashable, call_id: str, name: str, signature: str | None = None) -> StreamEvent:
        """Begin a tool call; `key` tells it from the others of this answer."""
        check_text(name)
        check_text(call_id or "")
        stub = ToolCall(call_id or new_id("call"), name, signature=signature)
        self._calls[key] = _OpenCall(stub)
        return StreamEvent(type="tool_call_start", tool_call=stub)

    def add_arguments(self, key: Hashable, fragment: str) -> StreamEvent:
        """Take a piece of a tool call's JSON arguments."""
        call = self._calls[key]
        call.fragments.append(fragment)
        return StreamEvent(type="tool_call_delta", text=fragment, tool_call=call.stub)

    def set_arguments(self, key: Hashable, arguments: str | None) -> None:
        """Replace the pieces of a tool call's arguments by the whole of them, where the vendor repeats it."""
        if arguments is not None:
            self._calls[key].fragments[:] = [arguments]

    def close_call(self, key: Hashable) -> StreamEvent:
        """End a tool call, whose arguments are now complete."""
        return StreamEvent(type="tool_call_end", tool_call=self._calls[key].finish())

    def has_call(self, key: Hashable) -> bool:
        """Whether a tool call with this key has begun."""
        return key in self._calls

    def stub(self, key: Hashable) -> ToolCall:
        """The tool call with this key as far as it was known when it began."""
        return self._calls[key].stub

    def close_open_calls(self) -> list[StreamEvent]:
        """End every tool call that has not ended yet."""
        return [
            StreamEvent(type="tool_call_end", tool_call=call.finish())
            for call in self._calls.values()
            if call.closed is None
        ]

    def result(self, *, partial: bool = False) -> CompletionResult:
        """Return what has been collected. A partial answer leaves out tool calls that are still being written."""
        calls = tuple(
            call.finish() for call in self._calls.values() if not partial or call.closed is not None
        )
        return CompletionResult(
            content="".join(self.text),
            tool_calls=calls,
            usage=self.usage or Usage(requests=1),
            reasoning=tuple(self.reasoning),
            finish_reason=finish_reason(self.finish_reason, calls, partial=partial),
            model=self.model,
            provider=self.provider,
            request_id=self.request_id,
            refusal="".join(self.refusal) or None,
        )


def finish_reason(
    stated: FinishReason | None, calls: tuple[ToolCall, ...], *, partial: bool = False
) -> FinishReason:
    """Return why an answer ended; several servers say `stop` when they mean tool calls."""
    if partial:
        return stated or "error"
    if calls and stated in (None, "stop"):
        return "tool_calls"
    return stated or "stop"


def events_of(result: CompletionResult) -> list[StreamEvent]:
    """Return a whole answer as the events of a stream, for vendors that answered a stream request at once."""
    events = [StreamEvent(type="reasoning", text=part.text) for part in result.reasoning if part.text]
    if result.content:
        events.append(StreamEvent(type="token", text=result.content))
    for call in result.tool_calls:
        events.append(StreamEvent(type="tool_call_start", tool_call=ToolCall(call.id, call.name)))
        events.append(StreamEvent(type="tool_call_end", tool_call=call))
    events.append(StreamEvent(type="usage", usage=result.usage))
    return events


def merge_extra(body: dict[str, Any], extra: Any) -> dict[str, Any]:
    """Put a request's `extra` fields into a vendor's body; objects are merged, everything else is replaced."""
    for key, value in extra.items():
        present = body.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merge_extra(present, value)
        else:
            body[key] = value
    return body


def whole_number(value: Any) -> int:
    """Return a token count, 0 where a vendor left it out; one that cannot be meant is cut to what every storage holds."""
    return min(int(value), _MOST) if isinstance(value, int | float) and value > 0 else 0


def check_text(value: object) -> None:
    """Refuse what is no text where a vendor's format has one. Raises `TypeError`."""
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {type(value).__name__}")


def well_formed(result: CompletionResult, asked: str) -> CompletionResult:
    """Return an answer whose fields are what they say they are: a vendor may have written anything anywhere.

    An id or a model's name that is no text says nothing, and is left out; of what the answer itself is made, all must be right.

    Args:
        result: What was read.
        asked: The model that was asked.

    Raises:
        TypeError: Something is no text that has to be one.
    """
    texts = [result.content, *(part.text for part in result.reasoning)]
    texts += [text for call in result.tool_calls for text in (call.id, call.name)]
    perhaps = [result.refusal, *(call.signature for call in result.tool_calls)]
    for text in (*texts, *(text for text in perhaps if text is not None)):
        check_text(text)
    model: object = result.model
    request_id: object = result.request_id
    if not isinstance(model, str):
        result = replace(result, model=asked)
    if not isinstance(request_id, str | None):
        result = replace(result, request_id=None)
    return result
