"""The methods of resident agents and of their tasks."""

from __future__ import annotations

from typing import Any, Final

from pydantic import AwareDatetime, Field, JsonValue

from agent_runtime.errors import InvalidInput
from agent_runtime.ports.agents import MessageStatus
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.server.rpc.agent_models import AgentTold, Json, Level, MessageTold, message_of
from agent_runtime.server.rpc.methods import Method, Model, Scoped
from agent_runtime.server.rpc.session import Session
from agent_runtime.values.api_key import Permission
from agent_runtime.values.content import content_aside
from llm_client.turns import aside

MAX_PAGE: Final = 200
"""Of agents or messages in one answer."""


class OfAgent(Scoped):
    """An agent."""

    agent_id: str


class CreateAgent(OfAgent):
    """An agent, and how it is looked after."""

    config: Json = Field(
        default={},
        description="`checkMailInterval`, `maxConcurrentTasks`, `wakeOnPriority`, `model`, `tools` and so on.",
    )
    definition: str = Field(
        default="agent", description="What it is made of, by a name that the service knows."
    )
    start: bool = Field(default=True, description="Whether a new one handles messages at once.")


class StopAgent(OfAgent):
    """An agent, and what becomes of its turns."""

    cancel: bool = Field(default=False, description="Whether turns that go on are asked to stop.")
    reason: str | None = None


class SleepAgent(OfAgent):
    """What wakes an agent: any one of these; without any, only `async.wakeAgent`."""

    until_time: AwareDatetime | None = None
    duration_seconds: float | None = Field(default=None, ge=0)
    wake_events: tuple[str, ...] = Field(
        default=(), description="Types of events; `*` at the end stands for any rest."
    )
    wake_on_mail_priority: Level | None = None
    wake_when_load_below: float | None = None
    reason: str | None = None


class WakeAgent(OfAgent):
    """An agent."""

    reason: str = "by hand"


class SendTask(OfAgent):
    """What an agent is to do."""

    task: str
    data: JsonValue = None
    priority: Level = "normal"
    dedupe_key: str | None = Field(
        default=None, description="A second task with the same key is not sent: the first one is told."
    )
    expires_in: float | None = Field(
        default=None, description="Seconds after which it is not begun any more."
    )


class OfTask(Scoped):
    """A task, or another message to an agent."""

    task_id: str


class OfMessage(Scoped):
    """A message."""

    message_id: str


class TaskSent(Model):
    """A task that waits, or has begun already."""

    task_id: str
    status: str


class GetAgentStates(Scoped):
    """Which agents."""

    agent_id: str | None = Field(default=None, description="One; all of the scope where it is left out.")
    after: str = Field(default="", description="The last agent of the page before.")
    limit: int = Field(default=100, ge=1, le=MAX_PAGE)


class AgentStates(Model):
    """Agents by their names."""

    agents: tuple[AgentTold, ...]
    next: str | None = Field(description="Where the next page begins; null on the last one.")


class ListDeadLetters(Scoped):
    """Which dead letters."""

    agent_id: str | None = None
    limit: int = Field(default=100, ge=1, le=MAX_PAGE)


class Messages(Model):
    """Messages, the newest first."""

    messages: tuple[MessageTold, ...]


async def create_agent(session: Session, given: CreateAgent) -> AgentTold:
    """Make an agent, or change how one is looked after."""
    defaults = dict(session.config) | (
        {} if session.params.model is None else {"model": session.params.model}
    )
    made = await session.kernel.agents.create(
        given.agent_id,
        definition=given.definition,
        config=AgentSettings.from_json({**defaults, **given.config}),
        principal_id=session.caller.acts_for(session.user),
        start=given.start,
        scope_id=session.scope(given.scope_id),
        by=session.person,
    )
    return AgentTold.of(made)


async def start_agent(session: Session, given: OfAgent) -> AgentTold:
    """Let a stopped agent go on."""
    scope = session.scope(given.scope_id)
    return AgentTold.of(await session.kernel.agents.start(given.agent_id, scope_id=scope, by=session.person))


async def stop_agent(session: Session, given: StopAgent) -> AgentTold:
    """Let an agent begin nothing more."""
    stopped = await session.kernel.agents.stop(
        given.agent_id,
        cancel=given.cancel,
        reason=given.reason,
        scope_id=session.scope(given.scope_id),
        by=session.person,
    )
    return AgentTold.of(stopped)


async def sleep_agent(session: Session, given: SleepAgent) -> AgentTold:
    """Have an agent sleep."""
    slept = await session.kernel.agents.sleep(
        given.agent_id,
        until=given.until_time,
        seconds=given.duration_seconds,
        wake_events=given.wake_events,
        wake_on_mail_priority=given.wake_on_mail_priority,
        wake_when_load_below=given.wake_when_load_below,
        reason=given.reason,
        scope_id=session.scope(given.scope_id),
    )
    return AgentTold.of(slept)


async def wake_agent(session: Session, given: WakeAgent) -> AgentTold:
    """Wake an agent."""
    scope = session.scope(given.scope_id)
    return AgentTold.of(await session.kernel.agents.wake(given.agent_id, reason=given.reason, scope_id=scope))


async def send_task(session: Session, given: SendTask) -> TaskSent:
    """Give an agent something to do."""
    sent = await session.kernel.agents.send_task(
        given.agent_id,
        given.task,
        data=_with_session(session, given.data),
        priority=given.priority,
        dedupe_key=given.dedupe_key,
        expires_in=given.expires_in,
        sender=session.person,
        scope_id=session.scope(given.scope_id),
    )
    return TaskSent(task_id=sent.message_id, status=str(sent.status))


def _with_session(session: Session, data: JsonValue) -> object:
    """Return what belongs to a task, with what the session's client has said that it prefers."""
    said: dict[str, Any] = session.params.model_dump(include={"language", "context"}, exclude_none=True)
    if not said:
        return data
    if data is not None and not isinstance(data, dict):
        raise InvalidInput("data is an object, in a session that has a language or a context")
    return {**(data or {}), "session": said}


async def get_task(session: Session, given: OfTask) -> MessageTold:
    """Return a task with what it says and what was answered."""
    found = await session.kernel.agents.get_message(given.task_id, scope_id=session.scope(given.scope_id))
    return await content_aside(found.content, lambda: message_of(found))


async def cancel_task(session: Session, given: OfTask) -> TaskSent:
    """Give a task up."""
    over = await session.kernel.agents.cancel_message(given.task_id, scope_id=session.scope(given.scope_id))
    return TaskSent(task_id=over.message_id, status=str(over.status))


async def get_agent_states(session: Session, given: GetAgentStates) -> AgentStates:
    """Return agents as they are now."""
    scope = session.scope(given.scope_id)
    if given.agent_id is not None:
        return AgentStates(
            agents=(AgentTold.of(await session.kernel.agents.get(given.agent_id, scope_id=scope)),), next=None
        )
    found = await session.kernel.agents.list(
        scope_id=scope, after=(scope, given.after), limit=given.limit + 1
    )
    told = await aside(lambda: tuple(AgentTold.of(one) for one in found[: given.limit]))
    return AgentStates(agents=told, next=told[-1].agent_id if len(found) > given.limit else None)


async def list_dead_letters(session: Session, given: ListDeadLetters) -> Messages:
    """Return messages whose turns have failed too often."""
    found = await session.kernel.agents.messages(
        given.agent_id,
        statuses=[MessageStatus.DEAD],
        limit=given.limit,
        scope_id=session.scope(given.scope_id),
    )
    return Messages(messages=await aside(lambda: tuple(message_of(one) for one in found)))


async def requeue_dead_letter(session: Session, given: OfMessage) -> TaskSent:
    """Have a dead letter handled again."""
    again = await session.kernel.agents.requeue(given.message_id, scope_id=session.scope(given.scope_id))
    return TaskSent(task_id=again.message_id, status=str(again.status))


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
AGENT_METHODS: Final = (
    _method("createAgent", CreateAgent, AgentTold, _OPERATE, "Make a resident agent, or change how one is looked after.", create_agent),
    _method("startAgent", OfAgent, AgentTold, _OPERATE, "Let a stopped agent handle messages again.", start_agent),
    _method("stopAgent", StopAgent, AgentTold, _OPERATE, "Let an agent begin nothing more; what is sent to it waits.", stop_agent),
    _method("sleepAgent", SleepAgent, AgentTold, _OPERATE, "Have an agent sleep until something wakes it.", sleep_agent),
    _method("wakeAgent", WakeAgent, AgentTold, _OPERATE, "Wake an agent, whatever it waits for.", wake_agent),
    _method("sendTask", SendTask, TaskSent, _OPERATE, "Give an agent something to do.", send_task),
    _method("getTask", OfTask, MessageTold, _READ, "Return a task and what was answered.", get_task),
    _method("cancelTask", OfTask, TaskSent, _OPERATE, "Give a task up; a turn that handles it is asked to stop.", cancel_task),
    _method("getAgentStates", GetAgentStates, AgentStates, _READ, "Return agents as they are now.", get_agent_states),
    _method("listDeadLetters", ListDeadLetters, Messages, _READ, "List messages whose turns have failed too often.", list_dead_letters),
    _method("requeueDeadLetter", OfMessage, TaskSent, _OPERATE, "Have a dead letter handled again.", requeue_dead_letter),
)  # fmt: skip
