"""The methods of mail, of events, and of schedules that give agents something to do."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field, JsonValue

from agent_runtime.errors import InvalidInput, UnknownSchedule
from agent_runtime.kernel.scheduled import ScheduledTask
from agent_runtime.kernel.schedules import Schedule
from agent_runtime.ports.ids import new_id
from agent_runtime.schedules.rules import ScheduleRules
from agent_runtime.schedules.timing import Timing
from agent_runtime.server.rpc.agent_methods import MAX_PAGE
from agent_runtime.server.rpc.agent_models import Json, Level, MailTold, ScheduleTold, mail_of
from agent_runtime.server.rpc.methods import Method, Model, Scoped
from agent_runtime.server.rpc.notifications import entry_of
from agent_runtime.server.rpc.session import Session
from agent_runtime.values.api_key import Permission
from agent_runtime.values.checks import MAX_COUNT
from llm_client.turns import aside


class SendMail(Scoped):
    """A mail."""

    to: str | None = Field(
        default=None, description="An agent; of a reply, whoever sent the mail, where it is left out."
    )
    subject: str = ""
    body: str
    priority: Level = "normal"
    reply_to: str | None = Field(default=None, description="The mail that this one answers.")
    dedupe_key: str | None = None
    expires_in: float | None = None


class GetMail(Scoped):
    """Which mail."""

    agent_id: str | None = Field(
        default=None,
        description="Whose mailbox, that of an agent or a person; all of the scope where it is left out.",
    )
    thread_id: str | None = None
    search: str | None = Field(
        default=None, description="Words that all stand in sender, subject or body; takes `agentId`."
    )
    limit: int = Field(default=50, ge=1, le=MAX_PAGE)


class Mail(Model):
    """Mail, the newest first."""

    mail: tuple[MailTold, ...]


class BroadcastEvent(Scoped):
    """An event."""

    event: str
    data: Json = Field(default={})
    priority: Level = "normal"
    dedupe_key: str | None = None


class EventTold(Model):
    """An event that was told."""

    event_id: str
    delivered: int | None = Field(
        description="To how many agents; null where it was told before, under the same key."
    )


class GetEventHistory(Scoped):
    """Which entries of the history."""

    after_seq: int = Field(default=0, ge=0, le=MAX_COUNT)
    agent_id: str | None = None
    types: tuple[str, ...] = Field(default=(), description="Types of entries, such as `task.completed`.")
    unhandled: bool = Field(default=False, description="Only events that no agent listened to.")
    limit: int = Field(default=100, ge=1, le=MAX_PAGE)


class EventHistory(Model):
    """Entries of the history, in order, as notifications have them."""

    events: tuple[Json, ...]
    last_seq: int = Field(description="The place of the newest entry of all.")


class ScheduleTask(Scoped):
    """A task, and when it is due: by exactly one of `schedule`, `every` and `at`."""

    agent_id: str
    task: str
    schedule: str | None = Field(default=None, description="A cron expression.")
    every: float | None = Field(default=None, description="Seconds between due times.")
    at: AwareDatetime | None = None
    timezone: str = "UTC"
    catch_up: Literal["none", "last", "all"] = Field(
        default="last", description="What becomes of due times that nobody was there for."
    )
    overlap: Literal["skip", "queue", "parallel"] = "skip"
    schedule_id: str | None = Field(
        default=None, description="Its name; one that is there already is changed."
    )
    data: JsonValue = None
    priority: Level = "normal"
    check: str | None = Field(
        default=None, description="A check that the service knows, which is asked before it fires."
    )


class OfSchedule(Scoped):
    """A schedule."""

    schedule_id: str


class ScheduleCancelled(Model):
    """A schedule that is no more."""

    schedule_id: str
    status: str = "cancelled"


class ListSchedules(Scoped):
    """Which schedules."""

    agent_id: str | None = None
    after: str = Field(default="", description="The last schedule of the page before.")
    limit: int = Field(default=100, ge=1, le=MAX_PAGE)


class SchedulesTold(Model):
    """Schedules that give tasks to agents, by their names."""

    schedules: tuple[ScheduleTold, ...]
    next: str | None = Field(
        description="Where the next page begins, which may be the only one that has more; null on the last one."
    )


async def send_mail(session: Session, given: SendMail) -> MailTold:
    """Send a mail in the name of whoever has the session."""
    sent = await session.kernel.mail.send(
        given.to,
        given.subject,
        given.body,
        sender=session.person,
        priority=given.priority,
        reply_to=given.reply_to,
        dedupe_key=given.dedupe_key,
        expires_in=given.expires_in,
        scope_id=session.scope(given.scope_id),
    )
    return await aside(mail_of, sent)


async def get_mail(session: Session, given: GetMail) -> Mail:
    """Return mail of a mailbox, a thread or a scope."""
    scope, mail = session.scope(given.scope_id), session.kernel.mail
    if given.search is not None:
        if given.agent_id is None:
            raise InvalidInput("search takes the agentId of a mailbox")
        found = await mail.search(given.agent_id, given.search, limit=given.limit, scope_id=scope)
    else:
        found = await mail.list(given.agent_id, thread_id=given.thread_id, limit=given.limit, scope_id=scope)
    return Mail(mail=await aside(lambda: tuple(mail_of(one) for one in found)))


async def broadcast_event(session: Session, given: BroadcastEvent) -> EventTold:
    """Tell all agents that listen to an event."""
    told = await session.kernel.agent_events.broadcast(
        given.event,
        given.data,
        priority=given.priority,
        sender=session.person,
        dedupe_key=given.dedupe_key,
        scope_id=session.scope(given.scope_id),
    )
    return EventTold(event_id=told.event_id, delivered=told.delivered)


async def get_event_history(session: Session, given: GetEventHistory) -> EventHistory:
    """Return what has happened to agents."""
    scope, history = session.scope(given.scope_id), session.kernel.agent_events
    last = await history.last_seq(scope_id=scope)
    found = await history.events(
        after=given.after_seq,
        agent_id=given.agent_id,
        types=given.types,
        dead=given.unhandled,
        limit=given.limit,
        scope_id=scope,
    )
    told = await aside(lambda: tuple(entry_of(one) for one in found))
    return EventHistory(events=told, last_seq=max(last, *(one.seq for one in found), 0))


async def schedule_task(session: Session, given: ScheduleTask) -> ScheduleTold:
    """Have a task given to an agent whenever it is due."""
    scope = session.scope(given.scope_id)
    await session.kernel.agents.get(given.agent_id, scope_id=scope)
    put = await session.kernel.schedules.put(
        given.schedule_id or new_id("schedule"),
        ScheduledTask(agent_id=given.agent_id, task=given.task, data=given.data, priority=given.priority),
        Timing(cron=given.schedule, every=given.every, at=given.at, timezone=given.timezone),
        rules=ScheduleRules(catch_up=given.catch_up, overlap=given.overlap),
        check=given.check,
        scope_id=scope,
        by=session.person,
    )
    return ScheduleTold.of(put)


async def cancel_schedule(session: Session, given: OfSchedule) -> ScheduleCancelled:
    """Remove a schedule that gives tasks to an agent."""
    scope = session.scope(given.scope_id)
    if not _is_of_agents(await session.kernel.schedules.get(given.schedule_id, scope_id=scope)):
        raise UnknownSchedule("no schedule of an agent has this name, or none of this scope")
    await session.kernel.schedules.remove(given.schedule_id, scope_id=scope, by=session.person)
    return ScheduleCancelled(schedule_id=given.schedule_id)


async def list_schedules(session: Session, given: ListSchedules) -> SchedulesTold:
    """Return schedules that give tasks to agents."""
    scope = session.scope(given.scope_id)
    found = await session.kernel.schedules.list(
        scope_id=scope, after=(scope, given.after), limit=given.limit + 1
    )
    wanted = [
        one
        for one in found[: given.limit]
        if _is_of_agents(one) and given.agent_id in (None, getattr(one.starts, "agent_id", None))
    ]
    following = found[given.limit - 1].schedule_id if len(found) > given.limit else None
    return SchedulesTold(schedules=tuple(ScheduleTold.of(one) for one in wanted), next=following)


def _is_of_agents(schedule: Schedule) -> bool:
    return isinstance(schedule.starts, ScheduledTask)


def _method(
    name: str, params: Any, result: Any, permission: Permission, summary: str, answer: Any
) -> Method[Any]:
    return Method(
        name=f"async.{name}",
        params=params,
        result=result,
        permission=permission,
        summary=summary,
        answer=answer,
    )


_READ, _OPERATE = Permission.READ, Permission.OPERATE
MAIL_METHODS: Final = (
    _method("scheduleTask", ScheduleTask, ScheduleTold, _OPERATE, "Have a task given to an agent whenever it is due.", schedule_task),
    _method("cancelSchedule", OfSchedule, ScheduleCancelled, _OPERATE, "Remove a schedule of an agent.", cancel_schedule),
    _method("listSchedules", ListSchedules, SchedulesTold, _READ, "List schedules that give tasks to agents.", list_schedules),
    _method("sendMail", SendMail, MailTold, _OPERATE, "Send a mail to an agent, or answer one.", send_mail),
    _method("getMail", GetMail, Mail, _READ, "Return mail of a mailbox, a thread or a scope, the newest first.", get_mail),
    _method("broadcastEvent", BroadcastEvent, EventTold, _OPERATE, "Tell all agents that listen to an event.", broadcast_event),
    _method("getEventHistory", GetEventHistory, EventHistory, _READ, "Return what has happened to agents, in order.", get_event_history),
)  # fmt: skip
