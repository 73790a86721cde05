"""What is said of resident agents, their messages and schedules, on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AwareDatetime, Field, JsonValue

from agent_runtime.kernel.schedules import Schedule
from agent_runtime.ports.agents import AgentMessage
from agent_runtime.residents.resident import ResidentAgent
from agent_runtime.server.rpc.methods import Model
from agent_runtime.values.content import decode

Level = Literal["low", "normal", "high", "urgent"]
Json = dict[str, JsonValue]


class AgentTold(Model):
    """A resident agent."""

    agent_id: str
    scope_id: str
    state: str = Field(description="`idle`, `active`, `sleeping`, `waiting` or `stopped`.")
    reason: str | None = Field(description="Why it is in this state.")
    health: str = Field(
        description="`healthy`, `failing`, or `broken` while no turn begins because so many have failed."
    )
    definition: str
    config: Json
    queue_depth: int = Field(description="Messages that wait.")
    running: int = Field(description="Turns that go on.")
    turns: int
    errors: int
    sleep_until: AwareDatetime | None
    wake_events: tuple[str, ...]
    broken_until: AwareDatetime | None
    last_active: AwareDatetime
    created_at: AwareDatetime

    @classmethod
    def of(cls, agent: ResidentAgent) -> AgentTold:
        """Tell of an agent."""
        same = ("agent_id", "scope_id", "reason", "definition", "queue_depth", "running", "turns", "errors",
                "sleep_until", "wake_events", "broken_until", "last_active", "created_at")  # fmt: skip
        config: Any = {_camel(name): value for name, value in agent.settings.to_json().items()}
        return cls(
            state=str(agent.state),
            health=str(agent.health),
            config=config,
            **{name: getattr(agent, name) for name in same},
        )


class MessageTold(Model):
    """A message to an agent, or an answer to a person."""

    message_id: str
    agent_id: str = Field(description="Whose mailbox it is in.")
    kind: str = Field(description="`task`, `mail`, `event` or `timer`.")
    status: str = Field(description="`waiting`, `claimed`, `done`, `dead`, `expired` or `cancelled`.")
    priority: Level
    from_: str | None = Field(alias="from")
    name: str | None
    sent_at: AwareDatetime
    expires_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    attempts: int
    job_id: str | None
    error: str | None
    content: JsonValue = Field(description="What it says.")
    result: JsonValue = Field(default=None, description="What its turn has answered.")


class MailTold(MessageTold):
    """A mail."""

    thread_id: str | None
    reply_to: str | None
    mail_status: str | None = Field(description="`unread`, `read`, `replied` or `archived`.")


class ScheduleTold(Model):
    """A schedule that gives tasks to an agent."""

    schedule_id: str
    agent_id: str
    schedule: str | None = Field(description="The cron expression; null for an interval or a single time.")
    every: float | None
    at: AwareDatetime | None
    timezone: str
    task: str
    next_due: AwareDatetime | None
    paused: bool
    catch_up: str
    overlap: str

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleTold:
        """Tell of a schedule."""
        starts: Any = schedule.starts
        timing, rules = schedule.timing, schedule.rules
        return cls(
            schedule_id=schedule.schedule_id,
            agent_id=starts.agent_id,
            schedule=timing.cron,
            every=timing.every,
            at=timing.at,
            timezone=timing.timezone,
            task=starts.task,
            next_due=schedule.next_due,
            paused=schedule.paused_at is not None,
            catch_up=rules.catch_up,
            overlap=rules.overlap,
        )


def message_of(message: AgentMessage) -> MessageTold:
    """Tell of a message."""
    return MessageTold(**_of(message))


def mail_of(message: AgentMessage) -> MailTold:
    """Tell of a mail."""
    status = None if message.mail_status is None else str(message.mail_status)
    more: Any = {"thread_id": message.thread_id, "reply_to": message.reply_to, "mail_status": status}
    return MailTold(**_of(message), **more)


def _of(message: AgentMessage) -> Mapping[str, Any]:
    same = ("message_id", "name", "sent_at", "expires_at", "ended_at", "attempts", "job_id", "error")
    return {
        **{name: getattr(message, name) for name in same},
        "agent_id": message.mailbox,
        "kind": str(message.kind),
        "status": str(message.status),
        "priority": message.priority.name.lower(),
        "from_": message.sender,
        "content": None if message.content is None else decode(message.content),
        "result": None if message.result is None else decode(message.result),
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
