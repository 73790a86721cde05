"""Spans as the journal tells of them, before they are given the names of any convention."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from agent_runtime.ports.trace_context import TraceContext
from agent_runtime.values.event import EPOCH
from llm_client.json_text import JsonValue

Family = Literal["job", "run", "model", "tool", "step", "action", "child", "timer", "message"]
MAX_EVENTS: Final = 64
"""Of one span; what happens more often is counted."""
_MICROSECOND: Final = timedelta(microseconds=1)


class SpanEvent(NamedTuple):
    """Something that happened while a span was open."""

    name: str
    at: datetime
    facts: dict[str, JsonValue]


@dataclass(slots=True)
class Span:
    """Something that takes time, in a job."""

    family: Family
    context: TraceContext
    above: TraceContext | None
    start: datetime
    job_id: str
    operation_id: str | None = None
    above_is_elsewhere: bool = False
    """Whether the span above is of another process, or another job."""
    end: datetime | None = None
    """`None` while it is open."""
    facts: dict[str, JsonValue] = field(default_factory=dict)
    """What the entries say of it."""
    events: list[SpanEvent] = field(default_factory=list)
    events_left_out: int = 0
    links: list[tuple[TraceContext, str]] = field(default_factory=list)
    """Other spans, and what they are to this one."""
    error: str | None = None
    """The kind of error it ended with."""
    error_text: str | None = None

    def note(self, name: str, at: datetime, facts: dict[str, JsonValue] | None = None) -> None:
        """Add an event."""
        if len(self.events) >= MAX_EVENTS:
            self.events_left_out += 1
            return
        self.events.append(SpanEvent(name, at, facts or {}))

    def ended(self, at: datetime) -> Span:
        """End it, no earlier than it began."""
        self.end = max(at, self.start)
        return self

    @property
    def seconds(self) -> float:
        """How long it took; 0 while it is open."""
        return 0.0 if self.end is None else (self.end - self.start) / timedelta(seconds=1)


def nanoseconds(at: datetime) -> int:
    """Return a time as OpenTelemetry counts it."""
    return (at - EPOCH) // _MICROSECOND * 1000
