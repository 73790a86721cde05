"""Resident agents, their messages and what happened to them, as they are stored.

Everything that changes an agent goes through `Agents.change_agent`: it shows a pure function the agent and its messages under a lock, and
writes what the function answers, all of it or nothing. So of any number of senders, wakers and workers each sees what the others have done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final, Generic, Protocol, TypeVar

from agent_runtime.ports.audit import Note
from llm_client.json_text import JsonObject

CREATED: Final = "agent.created"
CHANGED: Final = "agent.changed"
STARTED: Final = "agent.started"
STOPPED: Final = "agent.stopped"
REMOVED: Final = "agent.removed"
"""What a trail is told of agents."""

STATE_CHANGED: Final = "agent.state_changed"
TASK_STARTED: Final = "task.started"
TASK_CONTINUED: Final = "task.continued"
TASK_COMPLETED: Final = "task.completed"
TASK_FAILED: Final = "task.failed"
MAIL_RECEIVED: Final = "mail.received"
BROADCAST: Final = "event"
"""Entries of a scope's history; a broadcast has its own type as `event` in its data."""


class AgentState(StrEnum):
    """What a resident agent does."""

    IDLE = "idle"
    """It handles the next message at once."""
    ACTIVE = "active"
    """At least one of its turns goes on."""
    SLEEPING = "sleeping"
    """Messages wait until something wakes it."""
    WAITING = "waiting"
    """Each of its turns waits: for a person, a child, a time, budget."""
    STOPPED = "stopped"
    """Messages wait until somebody starts it."""


class Priority(IntEnum):
    """How much a message matters. Higher ones are handled first; a threshold is met by what is at least as high."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class MessageKind(StrEnum):
    """What a message is."""

    TASK = "task"
    MAIL = "mail"
    EVENT = "event"
    TIMER = "timer"


class MessageStatus(StrEnum):
    """What has become of a message. It ends as exactly one of the last four."""

    WAITING = "waiting"
    CLAIMED = "claimed"
    """A turn handles it."""
    DONE = "done"
    DEAD = "dead"
    """Its turns have failed too often: a dead letter, which can be put back."""
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self in (MessageStatus.WAITING, MessageStatus.CLAIMED)


class MailStatus(StrEnum):
    """What has become of a mail, for its readers."""

    UNREAD = "unread"
    READ = "read"
    REPLIED = "replied"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentMessage:
    """A message in a mailbox: that of an agent, or that of a person whom an agent has answered."""

    message_id: str
    scope_id: str
    mailbox: str
    """The agent's name, or the person's."""
    position: int = 0
    """Place among all messages of the mailbox, from 1; the storage gives it."""
    kind: MessageKind
    status: MessageStatus = MessageStatus.WAITING
    priority: Priority = Priority.NORMAL
    sender: str | None = None
    """Who sent it: an agent, a person, or what a schedule is named."""
    name: str | None = None
    """An event's type, a timer's or schedule's name; everybody may read it."""
    dedupe_key: str | None = None
    """No two messages of a mailbox have the same."""
    thread_id: str | None = None
    """The mail that began the thread."""
    reply_to: str | None = None
    mail_status: MailStatus | None = None
    sent_at: datetime
    not_before: datetime
    """It is handled from then on: `sent_at`, or later after a failure."""
    expires_at: datetime | None = None
    attempts: int = 0
    """Turns that have begun to handle it."""
    job_id: str | None = None
    """The job of its newest turn."""
    claimed_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    """Why its last turn failed, in words that everybody may read."""
    content: bytes | None = field(default=None, repr=False)
    """What it says, as JSON; private. `None` where it was not asked for."""
    result: bytes | None = field(default=None, repr=False)
    """What its turn has answered, as JSON; private."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAgent:
    """A resident agent."""

    scope_id: str
    agent_id: str
    """Its name, among those of its scope."""
    revision: int = 1
    """Counts its changes; the storage takes any that a change gives."""
    definition: str
    """What it is made of, by the name under which processes know it."""
    config: JsonObject
    """How it is looked after; everybody may read it."""
    principal_id: str | None = None
    """On whose behalf its turns run."""
    state: AgentState
    reason: str | None = None
    """Why it is in this state, in words that everybody may read."""
    sleep: JsonObject | None = None
    """What wakes it, while it sleeps, or from when it will sleep because a turn goes on."""
    wake_load: float | None = None
    """It sleeps until the load of the machine is below this."""
    listens_to: tuple[str, ...] = ()
    """Types of events that are brought to it, each by itself or ending with `*`."""
    look_at: datetime | None = None
    """When somebody has to look after it; `None`: never."""
    holder: str | None = None
    """The process that has claimed messages for it last."""
    queued: int = 0
    """Messages that wait."""
    running: int = 0
    """Turns that go on."""
    turns: int = 0
    """Turns that have ended well."""
    errors: int = 0
    """Turns that have failed."""
    failures: int = 0
    """Turns that have failed since the last one that ended well."""
    broken_until: datetime | None = None
    """Its circuit breaker is open, and no turn begins before."""
    woken: int = 0
    """Wakes on `woken_on`."""
    woken_on: str | None = None
    """The day of its last wake, in UTC."""
    last_active: datetime
    created_at: datetime
    created_by: str | None = None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgentEvent:
    """Something that has happened to an agent, or was told to all; the storage gives it its place."""

    type: str
    agent_id: str | None = None
    priority: Priority = Priority.NORMAL
    data: JsonObject = field(default_factory=dict)
    """What everybody may read of it."""
    content: bytes | None = field(default=None, repr=False)
    """The rest, as JSON; private."""
    delivered: int | None = None
    """For a broadcast, to how many agents it was brought, once that is known; zero makes it a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """An entry of a scope's history of agents."""

    scope_id: str
    seq: int
    """Its place, from 1 without gaps; entries of a scope become visible in this order."""
    at: datetime
    type: str
    agent_id: str | None
    priority: Priority
    data: JsonObject
    content: bytes | None = field(repr=False)
    delivered: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a change of an agent has to see of its messages."""

    message_ids: Sequence[str] = ()
    dedupe_key: str | None = None
    ready: int = 0
    """How many messages at most that may be handled now: those of the highest priority, and of these the oldest first."""
    claimed: bool = False
    """Whether those that are claimed are wanted, the oldest first."""
    expired: int = 0
    """How many at most that wait and have expired."""
    memory: bool = False
    """Whether what the agent remembers is wanted."""


NOTHING: Final = Look()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """An agent and what was asked about its messages, none of which has its content here."""

    agent: StoredAgent | None
    messages: Mapping[str, AgentMessage] = field(default_factory=dict)
    """Those asked for by id that are in the mailbox."""
    known: AgentMessage | None = None
    """That which has the dedupe key."""
    ready: Sequence[AgentMessage] = ()
    claimed: Sequence[AgentMessage] = ()
    expired: Sequence[AgentMessage] = ()
    next_ready: datetime | None = None
    """When the next message may be handled that may not be now; told when `ready` was asked."""
    next_expiry: datetime | None = None
    """When the next one that waits expires; told when `ready` was asked."""
    memory: bytes | None = field(default=None, repr=False)


Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentChange(Generic[Answer]):
    """What a change makes of an agent. What it does not say stays as it is."""

    answer: Answer
    """What the caller is given."""
    agent: StoredAgent | None = None
    """As it is from now on; one that was not there is added."""
    remove: bool = False
    """Take the agent away, with its messages, its memory and its subscriptions. Its history stays."""
    messages: Sequence[AgentMessage] = ()
    """New ones, with their content, and changed ones: of these content stays, and so does the result where none is given."""
    memory: bytes | None = field(default=None, repr=False)
    """What the agent remembers from now on."""
    events: Sequence[NewAgentEvent] = ()
    note: Note | None = None
    """What the trail of the scope is told."""


class Agents(Protocol):
    """Keeps resident agents, their mailboxes, their memory, and the history of each scope's agents."""

    async def change_agent(
        self,
        scope_id: str,
        agent_id: str,
        change: Callable[[AgentView], AgentChange[Answer]],
        *,
        at: datetime,
        look: Look = NOTHING,
    ) -> Answer:
        """Show a function an agent – or mailbox – under a lock, write what it makes of it, and return its answer.

        What it raises is raised, and nothing is written. It may be called more than once, so it only computes. Listeners are told
        with `agents_changed`, and those of other processes.

        Args:
            scope_id: The scope.
            agent_id: The agent, be it there or not, or the name of another mailbox.
            change: Computes the change; quick, since others wait.
            at: The time of what is written, and the one by which messages are ready or have expired.
            look: What it has to see.

        Raises:
            StorageError: Nothing was written.
        """
        ...

    async def get_agent(self, scope_id: str, agent_id: str) -> StoredAgent | None:
        """Return an agent, or `None`."""
        ...

    async def list_agents(
        self, scope_id: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[StoredAgent]:
        """Return agents by scope and name, from the one after `after`. A given `scope_id` hides all others."""
        ...

    async def count_agents(self, scope_id: str, *, most: int) -> int:
        """Return how many agents a scope has, or `most` if it has more."""
        ...

    async def due_agents(self, now: datetime, *, limit: int = 100) -> Sequence[StoredAgent]:
        """Return agents that somebody has to look after now, those first that have waited longest."""
        ...

    async def next_agent_look(self) -> datetime | None:
        """Return when the next agent has to be looked after."""
        ...

    async def agents_waiting_for_load(self, load: float, *, limit: int = 100) -> Sequence[StoredAgent]:
        """Return sleeping agents whose `wake_load` is above a load; those first that permit the least."""
        ...

    async def subscribers(
        self, scope_id: str, patterns: Sequence[str], *, after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        """Return, in order and each once, names of agents of a scope that listen to one of these patterns, from the one after `after`."""
        ...

    async def agent_memory(self, scope_id: str, agent_id: str) -> bytes | None:
        """Return what an agent remembers."""
        ...

    async def get_agent_message(self, scope_id: str, message_id: str) -> AgentMessage | None:
        """Return a message with its content and its result, or `None`."""
        ...

    async def list_agent_messages(
        self,
        scope_id: str,
        mailbox: str | None = None,
        *,
        kinds: Sequence[MessageKind] = (),
        statuses: Sequence[MessageStatus] = (),
        thread_id: str | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 100,
        max_bytes: int | None = None,
    ) -> Sequence[AgentMessage]:
        """Return messages of a scope, the newest first, with content and without results.

        Args:
            scope_id: The scope.
            mailbox: Whose; `None` for all of the scope.
            kinds: Of these kinds; none for all.
            statuses: With one of these; none for all.
            thread_id: Of this thread.
            before: `sent_at` and `message_id` of the last one of the page before.
            limit: How many at most.
            max_bytes: How much content they may have together; the first is given in any case.
        """
        ...

    async def add_agent_event(self, scope_id: str, event: NewAgentEvent, *, at: datetime) -> AgentEvent:
        """Write an entry into the history of a scope that belongs to no change."""
        ...

    async def event_delivered(self, scope_id: str, seq: int, *, delivered: int) -> None:
        """Write to how many agents a broadcast was brought."""
        ...

    async def undelivered_events(self, *, before: datetime, limit: int = 100) -> Sequence[AgentEvent]:
        """Return entries of the type `BROADCAST` from before a moment about which nobody has written to how many agents they were brought, the oldest first."""
        ...

    async def agent_events(
        self,
        scope_id: str,
        *,
        after: int = 0,
        agent_id: str | None = None,
        types: Sequence[str] = (),
        dead: bool = False,
        limit: int = 100,
        max_bytes: int | None = None,
    ) -> Sequence[AgentEvent]:
        """Return the history of a scope, in order, from the entry after `after`.

        Args:
            scope_id: The scope.
            after: `seq` of the last one of the page before.
            agent_id: Of this agent, and what was told to all.
            types: Of one of these types; none for all.
            dead: Only broadcasts that no agent listened to.
            limit: How many at most.
            max_bytes: How much content they may have together; the first is given in any case.
        """
        ...

    async def last_agent_seq(self, scope_id: str) -> int:
        """Return the `seq` of the newest entry of a scope's history, or zero."""
        ...
