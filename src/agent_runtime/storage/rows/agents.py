"""The statements and rows of resident agents, the same for both databases but for their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from agent_runtime.ports.agents import (
    BROADCAST,
    AgentEvent,
    AgentMessage,
    AgentState,
    MailStatus,
    MessageKind,
    MessageStatus,
    NewAgentEvent,
    Priority,
    StoredAgent,
)
from agent_runtime.storage.rows import Columns

AGENT: Final[Columns] = {
    "scope_id": "plain",
    "agent_id": "plain",
    "revision": "plain",
    "definition": "plain",
    "config": "json",
    "principal_id": "plain",
    "state": "plain",
    "reason": "plain",
    "sleep": "json",
    "wake_load": "plain",
    "listens_to": "json",
    "look_at": "time",
    "holder": "plain",
    "queued": "plain",
    "running": "plain",
    "turns": "plain",
    "errors": "plain",
    "failures": "plain",
    "broken_until": "time",
    "woken": "plain",
    "woken_on": "plain",
    "last_active": "time",
    "created_at": "time",
    "created_by": "plain",
    "updated_at": "time",
}
SHORT_MESSAGE: Final[Columns] = {
    "message_id": "plain",
    "scope_id": "plain",
    "mailbox": "plain",
    "position": "plain",
    "kind": "plain",
    "status": "plain",
    "priority": "plain",
    "sender": "plain",
    "name": "plain",
    "dedupe_key": "plain",
    "thread_id": "plain",
    "reply_to": "plain",
    "mail_status": "plain",
    "sent_at": "time",
    "not_before": "time",
    "expires_at": "time",
    "attempts": "plain",
    "job_id": "plain",
    "claimed_at": "time",
    "ended_at": "time",
    "error": "plain",
}
MESSAGE: Final[Columns] = {**SHORT_MESSAGE, "content": "plain", "result": "plain"}
CHANGED: Final = (
    *("status", "mail_status", "not_before", "expires_at", "attempts"),
    *("job_id", "claimed_at", "ended_at", "error"),
)
"""What changes about a message, besides its result."""
EVENT: Final[Columns] = {
    "scope_id": "plain",
    "seq": "plain",
    "at": "time",
    "type": "plain",
    "agent_id": "plain",
    "priority": "plain",
    "data": "json",
    "content": "plain",
    "delivered": "plain",
}
_AGENTS: Final = f"SELECT {', '.join(AGENT)} FROM runtime_agents"  # noqa: S608 -- names of our own
_SHORT: Final = f"SELECT {', '.join(SHORT_MESSAGE)} FROM runtime_agent_messages"  # noqa: S608
_EVENTS: Final = f"SELECT {', '.join(EVENT)} FROM runtime_agent_events"  # noqa: S608
_OF_AGENT: Final = "WHERE scope_id = {scope} AND agent_id = {agent}"
_IN_MAILBOX: Final = "WHERE scope_id = {scope} AND mailbox = {agent}"
_WAITS: Final = f"{_IN_MAILBOX} AND status = 'waiting'"

ONE: Final = f"{_AGENTS} {_OF_AGENT}"
ALL: Final = f"{_AGENTS} WHERE (scope_id, agent_id) > ({{scope}}, {{agent}}) ORDER BY scope_id, agent_id LIMIT {{limit}}"
OF_SCOPE: Final = (
    f"{_AGENTS} WHERE scope_id = {{scope}} AND agent_id > {{agent}} ORDER BY agent_id LIMIT {{limit}}"
)
COUNT: Final = (
    "SELECT count(*) FROM (SELECT 1 FROM runtime_agents WHERE scope_id = {scope} LIMIT {limit}) AS found"
)
DUE: Final = f"{_AGENTS} WHERE look_at <= {{now}} ORDER BY look_at LIMIT {{limit}}"
NEXT: Final = "SELECT look_at FROM runtime_agents WHERE look_at IS NOT NULL ORDER BY look_at LIMIT 1"
FOR_LOAD: Final = f"{_AGENTS} WHERE wake_load > {{load}} ORDER BY wake_load LIMIT {{limit}}"
SUBSCRIBERS: Final = """
SELECT DISTINCT agent_id FROM runtime_agent_subscriptions
WHERE scope_id = {scope} AND pattern {among} AND agent_id > {agent} ORDER BY agent_id LIMIT {limit}
"""
MEMORY: Final = f"SELECT content FROM runtime_agent_memory {_OF_AGENT}"  # noqa: S608
FORGET: Final = (
    f"DELETE FROM runtime_agents {_OF_AGENT}",  # noqa: S608
    f"DELETE FROM runtime_agent_memory {_OF_AGENT}",  # noqa: S608
    f"DELETE FROM runtime_agent_subscriptions {_OF_AGENT}",  # noqa: S608
    f"DELETE FROM runtime_agent_messages {_IN_MAILBOX}",  # noqa: S608
)
"""Take an agent away with all that is its own."""
UNSUBSCRIBE: Final = FORGET[2]

KNOWN: Final = f"{_SHORT} {_IN_MAILBOX} AND dedupe_key = {{key}}"
BY_ID: Final = f"{_SHORT} {_IN_MAILBOX} AND message_id {{among}}"
READY: Final = (
    f"{_SHORT} {_WAITS} AND not_before <= {{now}} AND (expires_at IS NULL OR expires_at > {{now}}) "
    "ORDER BY priority DESC, position LIMIT {limit}"
)
NEXT_READY: Final = f"""
SELECT min(not_before), NULL FROM runtime_agent_messages {_WAITS} AND not_before > {{now}}
"""  # noqa: S608
NEXT_EXPIRY: Final = f"""
SELECT min(expires_at), NULL FROM runtime_agent_messages {_WAITS} AND expires_at > {{now}}
"""  # noqa: S608
CLAIMED: Final = f"{_SHORT} {_IN_MAILBOX} AND status = 'claimed' ORDER BY position"
EXPIRED: Final = f"{_SHORT} {_WAITS} AND expires_at <= {{now}} ORDER BY expires_at LIMIT {{limit}}"
LAST_POSITION: Final = f"SELECT coalesce(max(position), 0) FROM runtime_agent_messages {_IN_MAILBOX}"  # noqa: S608
WHOLE: Final = (
    f"SELECT {', '.join(MESSAGE)} FROM runtime_agent_messages "  # noqa: S608
    "WHERE scope_id = {scope} AND message_id = {message}"
)
CONTENTS: Final = """
SELECT message_id, content FROM runtime_agent_messages WHERE scope_id = {scope} AND message_id {among}
"""
ENTRIES: Final = f"{_EVENTS} WHERE scope_id = {{scope}} AND seq {{among}} ORDER BY seq"
UNDELIVERED: Final = f"{_EVENTS} WHERE type = '{BROADCAST}' AND delivered IS NULL AND at < {{now}} ORDER BY at, scope_id, seq LIMIT {{limit}}"
DELIVERED: Final = (
    "UPDATE runtime_agent_events SET delivered = {count} WHERE scope_id = {scope} AND seq = {seq}"
)
LAST_SEQ: Final = "SELECT last_seq FROM runtime_agent_scopes WHERE scope_id = {scope}"
NEXT_SEQ: Final = """
INSERT INTO runtime_agent_scopes (scope_id, last_seq) VALUES ({scope}, {count})
ON CONFLICT (scope_id) DO UPDATE SET last_seq = runtime_agent_scopes.last_seq + excluded.last_seq RETURNING last_seq
"""


@dataclass(slots=True)
class Listed:
    """A statement whose conditions depend on what is asked.

    Args:
        mark: Gives the parameter of a number, from 1.
        among: Gives the comparison with any of a list, for such a parameter.
        as_list: Makes of a list what the driver takes.
    """

    mark: Callable[[int], str]
    among: Callable[[str], str]
    as_list: Callable[[Sequence[str]], object]
    conditions: list[str] = field(default_factory=list)
    parameters: list[object] = field(default_factory=list)

    def add(self, value: object) -> str:
        """Return the parameter of a value."""
        self.parameters.append(value)
        return self.mark(len(self.parameters))

    def equals(self, column: str, value: object) -> None:
        """Ask for a value, if there is one."""
        if value is not None:
            self.conditions.append(f"{column} = {self.add(value)}")

    def one_of(self, column: str, values: Sequence[str]) -> None:
        """Ask for one of some values, if there are any."""
        if values:
            self.conditions.append(f"{column} {self.among(self.add(self.as_list(values)))}")

    @property
    def where(self) -> str:
        """All conditions."""
        return " AND ".join(self.conditions)


def messages_asked(
    listed: Listed,
    scope_id: object,
    mailbox: object | None,
    *,
    kinds: Sequence[MessageKind],
    statuses: Sequence[MessageStatus],
    thread_id: object | None,
    before: tuple[object, object] | None,
    limit: int,
) -> str:
    """Return the statement that gives messages without their content, with the length of that behind."""
    listed.equals("scope_id", scope_id)
    listed.equals("mailbox", mailbox)
    listed.equals("thread_id", thread_id)
    listed.one_of("kind", [kind.value for kind in kinds])
    if len(statuses) == 1:  # so that a partial index serves
        listed.conditions.append(f"status = '{MessageStatus(statuses[0]).value}'")
    else:
        listed.one_of("status", [status.value for status in statuses])
    if before is not None:
        listed.conditions.append(
            f"(sent_at, message_id) < ({listed.add(before[0])}, {listed.add(before[1])})"
        )
    return (
        f"SELECT {', '.join(SHORT_MESSAGE)}, coalesce(length(content), 0) FROM runtime_agent_messages "  # noqa: S608
        f"WHERE {listed.where} ORDER BY sent_at DESC, message_id DESC LIMIT {listed.add(limit)}"
    )


def events_asked(
    listed: Listed,
    scope_id: object,
    *,
    after: int,
    agent_id: object | None,
    types: Sequence[str],
    dead: bool,
    limit: int,
) -> str:
    """Return the statement that gives places of a history, with the length of what stands there."""
    listed.equals("scope_id", scope_id)
    listed.conditions.append(f"seq > {listed.add(after)}")
    if agent_id is not None:
        listed.conditions.append(f"(agent_id IS NULL OR agent_id = {listed.add(agent_id)})")
    listed.one_of("type", types)
    if dead:
        listed.conditions.append(f"type = '{BROADCAST}' AND delivered = 0")
    return (
        "SELECT seq, coalesce(length(content), 0) FROM runtime_agent_events "  # noqa: S608
        f"WHERE {listed.where} ORDER BY seq LIMIT {listed.add(limit)}"
    )


def fitting(lengths: Iterable[int], max_bytes: int | None) -> int:
    """Return how many of these lengths fit together; the first does in any case."""
    count = size = 0
    for length in lengths:
        size += length
        if count and max_bytes is not None and size > max_bytes:
            break
        count += 1
    return count


def agent_row(agent: StoredAgent) -> list[object]:
    """Return an agent's column values, in the order of `AGENT`."""
    values = {name: getattr(agent, name) for name in AGENT}
    return list({**values, "state": agent.state.value, "listens_to": list(agent.listens_to)}.values())


def agent_record(row: Iterable[object]) -> StoredAgent:
    """Build an agent from its column values."""
    values: dict[str, Any] = dict(zip(AGENT, row, strict=True))
    return StoredAgent(
        **{**values, "state": AgentState(values["state"]), "listens_to": tuple(values["listens_to"])}
    )


def message_row(message: AgentMessage) -> list[object]:
    """Return a message's column values, in the order of `MESSAGE`."""
    values = {name: getattr(message, name) for name in MESSAGE}
    mail = message.mail_status
    plain = {
        "kind": message.kind.value,
        "status": message.status.value,
        "priority": int(message.priority),
        "mail_status": None if mail is None else mail.value,
    }
    return list({**values, **plain}.values())


def changed_row(message: AgentMessage) -> list[object]:
    """Return what may have changed about a message, in the order of `CHANGED`."""
    values = dict(zip(MESSAGE, message_row(message), strict=True))
    return [values[name] for name in CHANGED]


def message_record(row: Iterable[object], columns: Columns = SHORT_MESSAGE) -> AgentMessage:
    """Build a message from its column values."""
    values: dict[str, Any] = dict(zip(columns, row, strict=True))
    mail = values["mail_status"]
    made = {
        "kind": MessageKind(values["kind"]),
        "status": MessageStatus(values["status"]),
        "priority": Priority(values["priority"]),
        "mail_status": None if mail is None else MailStatus(mail),
    }
    return AgentMessage(**{**values, **made})


def placed(scope_id: str, event: NewAgentEvent, seq: int, at: datetime) -> AgentEvent:
    """Return an entry at its place."""
    return AgentEvent(
        scope_id=scope_id,
        seq=seq,
        at=at,
        type=event.type,
        agent_id=event.agent_id,
        priority=event.priority,
        data=event.data,
        content=event.content,
        delivered=event.delivered,
    )


def event_row(event: AgentEvent) -> list[object]:
    """Return an entry's column values, in the order of `EVENT`."""
    values = {name: getattr(event, name) for name in EVENT}
    return list({**values, "priority": int(event.priority)}.values())


def event_record(row: Iterable[object]) -> AgentEvent:
    """Build an entry from its column values."""
    values: dict[str, Any] = dict(zip(EVENT, row, strict=True))
    return AgentEvent(**{**values, "priority": Priority(values["priority"])})
