"""What wakes an agent that sleeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from agent_runtime.errors import InvalidInput
from agent_runtime.ports.agents import AgentMessage, MessageKind, Priority
from agent_runtime.residents.settings import as_priority, check_patterns
from agent_runtime.values.checks import check_time
from agent_runtime.values.public_data import public_error
from llm_client.json_text import JsonObject, JsonValue

MAX_LOAD: Final = 1e6
MAIL_EVENTS: Final = {
    "mail_received": Priority.LOW,
    "high_priority_mail": Priority.HIGH,
    "urgent_mail": Priority.URGENT,
}
"""Events that happen by themselves when mail of a priority comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Conditions of which any one wakes an agent. Without any, it sleeps until somebody wakes it.

    Raises:
        InvalidInput: A condition cannot be kept; it says which.
    """

    until: datetime | None = None
    """The time has come."""
    events: tuple[str, ...] = ()
    """An event of one of these types happens; `*` at the end stands for any rest. An urgent event wakes in any case."""
    priority: Priority | None = None
    """A mail or a task comes that matters at least as much."""
    load_below: float | None = None
    """The load of the machine over the last minute (`os.getloadavg`) is below this."""
    by_anything: bool = False
    """Any message wakes it: it sleeps because nothing has come for long."""
    mail_at: datetime | None = None
    """Mail waits that has not woken it, and is looked at then at the latest."""
    reason: str | None = None
    """Why it sleeps, in words that everybody may read."""

    def __post_init__(self) -> None:
        check_time("until", self.until)
        check_time("mail_at", self.mail_at)
        object.__setattr__(self, "reason", public_error(self.reason))
        object.__setattr__(self, "events", check_patterns("wake_events", self.events))
        if self.load_below is not None:
            _check_load(self.load_below)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The types of events that have to be brought to the agent."""
        return tuple(event for event in self.events if event not in MAIL_EVENTS)

    def looks_at(self) -> datetime | None:
        """Return when it has to be looked after, whatever comes."""
        return min((time for time in (self.until, self.mail_at) if time is not None), default=None)

    def woken_by(self, message: AgentMessage) -> str | None:
        """Return why a message wakes the agent, or `None` when it does not."""
        if message.kind is MessageKind.TIMER:
            return f"schedule {message.name!r}" if message.name else "a timer"
        if message.kind is MessageKind.EVENT:
            if message.priority >= Priority.URGENT or matches(message.name or "", self.events):
                return f"event {message.name!r}"
            return "an event came" if self.by_anything else None
        if message.kind is MessageKind.MAIL:
            for event in self.events:
                if event in MAIL_EVENTS and message.priority >= MAIL_EVENTS[event]:
                    return f"event {event!r}"
        if self.priority is not None and message.priority >= self.priority:
            return f"{message.priority.name.lower()} {message.kind}"
        return f"a {message.kind} came" if self.by_anything else None

    def with_mail_by(self, moment: datetime) -> Sleep:
        """Return it with mail looked at by a moment."""
        return replace(self, mail_at=moment if self.mail_at is None else min(self.mail_at, moment))

    def to_json(self) -> dict[str, JsonValue]:
        """Return the conditions that are set, as JSON values that everybody may read."""
        told: dict[str, JsonValue] = {
            "until": _text(self.until),
            "events": list(self.events),
            "priority": None if self.priority is None else self.priority.name.lower(),
            "load_below": self.load_below,
            "by_anything": self.by_anything,
            "mail_at": _text(self.mail_at),
            "reason": self.reason,
        }
        return {name: value for name, value in told.items() if value}

    @classmethod
    def from_json(cls, data: JsonObject) -> Sleep:
        """Build from what `to_json` gave."""
        given: dict[str, Any] = dict(data)
        for name in ("until", "mail_at"):
            if name in given:
                given[name] = datetime.fromisoformat(given[name])
        if "priority" in given:
            given["priority"] = as_priority("priority", given["priority"])
        given["events"] = tuple(given.get("events", ()))
        return cls(**given)


def _check_load(value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < float(str(value)) <= MAX_LOAD:
        raise InvalidInput(f"wake_when_load_below is a number above 0, up to {MAX_LOAD:g}")


def matches(event: str, patterns: Iterable[str]) -> bool:
    """Whether an event is of one of these types."""
    return not patterns_of(event).isdisjoint(patterns)


def patterns_of(event: str) -> frozenset[str]:
    """Return all patterns that an event's type matches: its own, `*`, and one for each of its dots."""
    parts = event.split(".")
    return frozenset({event, "*", *(".".join([*parts[:count], "*"]) for count in range(1, len(parts)))})


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
