"""What clients are told without having asked: entries of the history of agents, with their places."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from pydantic.alias_generators import to_camel

from agent_runtime.ports import agents as port
from agent_runtime.ports.agents import AgentEvent
from agent_runtime.values.content import content_aside, decode
from llm_client.json_text import dumps

NAMES: Final[Mapping[str, str]] = {
    port.STATE_CHANGED: "async.agent.stateChanged",
    port.TASK_STARTED: "async.task.started",
    port.TASK_CONTINUED: "async.task.continuation",
    port.TASK_COMPLETED: "async.task.completed",
    port.TASK_FAILED: "async.task.error",
    port.MAIL_RECEIVED: "async.mail.received",
    port.BROADCAST: "async.event",
}
"""By the type of an entry. Any other is told as `async.` and its type, so that places have no gaps."""


async def notification_of(event: AgentEvent) -> bytes:
    """Return the notification that tells of an entry."""
    return await content_aside(event.content, lambda: dumps(_told(event)))


def name_of(kind: str) -> str:
    """Return the method of notifications about entries of a type."""
    return NAMES.get(kind) or "async." + ".".join(to_camel(part) for part in kind.split("."))


def entry_of(event: AgentEvent) -> dict[str, Any]:
    """Return an entry as it is on the wire: what everybody may read of it beside its place, and the rest as `content`."""
    told: dict[str, Any] = {to_camel(name): value for name, value in event.data.items()}
    told |= {
        "seq": event.seq,
        "at": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "type": event.type,
        "agentId": event.agent_id,
        "priority": event.priority.name.lower(),
    }
    if event.delivered is not None:
        told["delivered"] = event.delivered
    if event.content is not None:
        told["content"] = decode(event.content)
    return told


def _told(event: AgentEvent) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": name_of(event.type), "params": entry_of(event)}
