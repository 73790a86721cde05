"""What a reader has been told of an answer while it came: recorded, so that a resume tells him the same in the same pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from llm_client.codec import dump_event, load_event
from llm_client.json_text import JsonObject, JsonValue
from llm_client.messages import CompletionResult, ReasoningPart, StreamEvent
from llm_client.middleware import Emit
from llm_client.usage import Usage

_BESIDE: Final = frozenset({"usage", "meta"})
"""Events that are no piece of an answer."""


@dataclass(slots=True, eq=False)
class Heard:
    """The events of one call so far, passed on to whoever asked for them."""

    emit: Emit
    events: list[StreamEvent] = field(default_factory=list)

    def __call__(self, event: StreamEvent) -> None:
        """Take one event and pass it on."""
        self.events.append(event)
        self.emit(event)

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
        """Return the events as JSON values: pieces of the answer's text and reasoning as their lengths, below 0 for reasoning."""
        is_all = _text(self.events, "token") == result.content
        is_all = is_all and _text(self.events, "reasoning") == _thoughts(result)
        return [
            (len(event.text) if event.type == "token" else -len(event.text))
            if is_all and event.text and event.type in ("token", "reasoning")
            else dump_event(event)
            for event in self.events
        ]


def recorded_events(body: JsonObject, result: CompletionResult) -> Iterator[StreamEvent]:
    """Yield the events of a recorded answer, as they came; none if nobody listened."""
    text, thoughts = result.content, _thoughts(result)
    said = thought = 0
    events: Any = body.get("events", ())
    for event in events:
        if not isinstance(event, int):
            yield load_event(event)
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
