"""What a reader has been told of an answer while it came: recorded, so that a resume tells him the same in the same pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llm_client.codec import dump_event, load_event
from llm_client.json_text import JsonObject, JsonValue
from llm_client.messages import CompletionResult, ReasoningPart, StreamEvent, StreamEventType, ToolCall
from llm_client.middleware import Emit
from llm_client.usage import Usage

_BESIDE: Final = frozenset({"usage", "meta"})
"""Events that are no piece of an answer."""
_KINDS: Final[Mapping[str, int]] = {"token": -1, "reasoning": -2}
_OF_KIND: Final[Mapping[int, StreamEventType]] = {-1: "token", -2: "reasoning"}
_MOST_USAGES: Final = 100
"""Events that say what was used which are kept one by one."""
_LEFT_OUT: Final = StreamEvent(type="meta")
"""Stands in the place of an event that is not kept."""


@dataclass(slots=True, eq=False)
class Heard:
    """The events of one call so far, passed on to whoever asked for them."""

    emit: Emit
    now: Callable[[], float]
    """Tells seconds that only grow."""
    events: list[StreamEvent] = field(default_factory=list)
    first_after: float | None = None
    """Seconds from the beginning of the attempt to the first piece of its answer."""
    _began: float = 0.0
    _usages: list[int] = field(default_factory=list)
    """Where the events stand that say what was used."""

    def __call__(self, event: StreamEvent) -> None:
        """Take one event and pass it on. Of very many that say what was used, which some servers do with every piece, only the last are kept."""
        if event.type == "usage":
            if len(self._usages) == _MOST_USAGES:
                for number in self._usages:
                    self.events[number] = _LEFT_OUT
                self._usages.clear()
            self._usages.append(len(self.events))
        elif self.first_after is None and event.type not in _BESIDE:
            self.first_after = self.now() - self._began
        self.events.append(event)
        self.emit(event)

    def start_over(self) -> None:
        """Listen to a new attempt; one that failed before has said nothing."""
        self.events.clear()
        self._usages.clear()
        self._began, self.first_after = self.now(), None

    def said_usage(self) -> Usage | None:
        """Return what the vendor said the answer has cost, if that was after the last piece of it.

        What is said before the first piece is only what was read: a model may have thought for long, which nobody is told.
        """
        last = self.events[-1] if self.events else None
        has_begun = any(event.type not in _BESIDE for event in self.events)
        return last.usage if last is not None and last.type == "usage" and has_begun else None

    def partial(self, *, model: str, provider: str) -> CompletionResult:
        """Return as much of the answer as has come."""
        reasoning = "".join(event.text for event in self.events if event.type == "reasoning")
        calls = [event.tool_call for event in self.events if event.type == "tool_call_end"]
        return CompletionResult(
            content="".join(event.text for event in self.events if event.type == "token"),
            reasoning=(ReasoningPart(provider=provider, text=reasoning),) if reasoning else (),
            tool_calls=tuple(call for call in calls if call is not None),
            finish_reason="error",
            model=model,
            provider=provider,
        )

    def dump(self, result: CompletionResult) -> list[JsonValue]:
        """Return the events as JSON values; what comes by the hundred thousand in little room.

        Pieces of the answer's text and reasoning are their lengths, below 0 for reasoning. Where that does not tell them, they are texts that begin
        with their kind, as further pieces of a call's arguments are, with the number of the call as their kind.
        """
        is_all = _text(self.events, "token") == result.content
        is_all = is_all and _text(self.events, "reasoning") == _thoughts(result)
        numbers: dict[int, int] = {}
        written: list[JsonValue] = []
        for event in self.events:
            if event is _LEFT_OUT:
                continue
            is_text = bool(event.text) and event.type in _KINDS
            if is_text and is_all:
                written.append(len(event.text) if event.type == "token" else -len(event.text))
            elif is_text:
                written.append(f"{_KINDS[event.type]} {event.text}")
            elif event.type == "tool_call_delta" and id(event.tool_call) in numbers:
                written.append(f"{numbers[id(event.tool_call)]} {event.text}")
            else:
                if event.type == "tool_call_delta":
                    numbers[id(event.tool_call)] = len(numbers)
                written.append(dump_event(event))
        return written


def recorded_events(body: JsonObject, result: CompletionResult) -> Iterator[StreamEvent]:
    """Yield the events of a recorded answer, as they came; none if nobody listened."""
    text, thoughts = result.content, _thoughts(result)
    said = thought = 0
    calls: list[ToolCall | None] = []
    events: Any = body.get("events", ())
    for event in events:
        if isinstance(event, str):
            kind, _, piece = event.partition(" ")
            yield (
                StreamEvent(type=_OF_KIND[int(kind)], text=piece)
                if kind.startswith("-")
                else StreamEvent(type="tool_call_delta", text=piece, tool_call=calls[int(kind)])
            )
        elif not isinstance(event, int):
            told = load_event(event)
            if told.type == "tool_call_delta":
                calls.append(told.tool_call)
            yield told
        elif event > 0:
            yield StreamEvent(type="token", text=text[said : said + event])
            said += event
        else:
            yield StreamEvent(type="reasoning", text=thoughts[thought : thought - event])
            thought -= event


def _text(events: list[StreamEvent], type_: str) -> str:
    return "".join(event.text for event in events if event.type == type_)


def _thoughts(result: CompletionResult) -> str:
    return "".join(part.text for part in result.reasoning)
