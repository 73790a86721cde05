"""The state machine of a resident agent: pure functions of what a storage shows, each of which gives what is to be written.

| from | to | when |
|---|---|---|
| idle | active | a turn begins |
| active | waiting | each of its turns waits |
| waiting | active | one of them goes on |
| active, waiting | idle | the last one has ended |
| active, waiting | sleeping | the last one has ended, and it was told to sleep meanwhile |
| idle | sleeping | it is told to, or nothing has come for long |
| sleeping | idle | something wakes it |
| all but stopped | stopped | somebody stops it; turns that go on end |
| stopped | idle | somebody starts it, and no turn goes on |
| stopped | active | somebody starts it before its turns have ended |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agent_runtime.errors import InboxFull, InvalidTransition, UnknownAgent, UnknownMessage
from agent_runtime.ports.agents import (
    MAIL_RECEIVED,
    STATE_CHANGED,
    TASK_COMPLETED,
    TASK_FAILED,
    TASK_STARTED,
    AgentChange,
    AgentMessage,
    AgentState,
    AgentView,
    Answer,
    MailStatus,
    MessageKind,
    MessageStatus,
    NewAgentEvent,
    StoredAgent,
)
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.residents.sleep import Sleep
from agent_runtime.values.public_data import public_error
from llm_client.json_text import JsonValue

ACTIVE, IDLE, SLEEPING = AgentState.ACTIVE, AgentState.IDLE, AgentState.SLEEPING
STOPPED, WAITING = AgentState.STOPPED, AgentState.WAITING

TRANSITIONS: Final = frozenset(
    {
        (IDLE, ACTIVE),
        (ACTIVE, WAITING),
        (WAITING, ACTIVE),
        (ACTIVE, IDLE),
        (WAITING, IDLE),
        (ACTIVE, SLEEPING),
        (WAITING, SLEEPING),
        (IDLE, SLEEPING),
        (SLEEPING, IDLE),
        (IDLE, STOPPED),
        (ACTIVE, STOPPED),
        (SLEEPING, STOPPED),
        (WAITING, STOPPED),
        (STOPPED, IDLE),
        (STOPPED, ACTIVE),
    }
)
"""Every change of state that there is."""

BEGIN_SECONDS: Final = 10.0
"""After how long it is seen whether turns that were claimed have begun: who has claimed them may have died."""
OBSERVE_SECONDS: Final = 15.0
"""After how long it is seen how turns are that go on, if nobody has told before."""
MAX_DOUBLINGS: Final = 30


@dataclass(slots=True)
class Draft:
    """A change of one agent that is being made."""

    view: AgentView
    now: datetime
    settings: AgentSettings = field(init=False)
    agent: StoredAgent = field(init=False)
    messages: dict[str, AgentMessage] = field(default_factory=dict)
    events: list[NewAgentEvent] = field(default_factory=list)
    memory: bytes | None = None

    def __post_init__(self) -> None:
        if self.view.agent is None:
            raise UnknownAgent("no agent has this name, or none of this scope")
        self.agent = self.view.agent
        self.settings = AgentSettings.from_json(self.agent.config)

    @property
    def sleep(self) -> Sleep | None:
        """What wakes the agent, or will."""
        return None if self.agent.sleep is None else Sleep.from_json(self.agent.sleep)

    def set(self, **values: Any) -> None:
        """Change fields of the agent."""
        self.agent = replace(self.agent, **values)

    def move(self, state: AgentState, reason: str | None) -> None:
        """Change the agent's state. Raises `InvalidTransition` for what is no change of the table."""
        before = self.agent.state
        if before is state:
            return
        if (before, state) not in TRANSITIONS:
            raise InvalidTransition(f"an agent that is {before} does not become {state}")
        self.set(state=state, reason=public_error(reason))
        self.tell(STATE_CHANGED, {"from": before, "to": state, "reason": self.agent.reason})

    def tell(self, type_: str, data: dict[str, JsonValue], **more: Any) -> None:
        """Add an entry to the history."""
        self.events.append(NewAgentEvent(type=type_, agent_id=self.agent.agent_id, data=data, **more))

    def put(self, message: AgentMessage) -> None:
        """Change a message."""
        self.messages[message.message_id] = message

    def look(self, moment: datetime | None) -> None:
        """Have the agent looked after at a moment, if not before."""
        if moment is not None:
            self.set(look_at=moment if self.agent.look_at is None else min(self.agent.look_at, moment))

    def made(self, answer: Answer) -> AgentChange[Answer]:
        """Return the change with its answer."""
        changed = self.agent != self.view.agent
        agent = replace(self.agent, revision=self.agent.revision + 1, updated_at=self.now)
        return AgentChange(
            answer=answer,
            agent=agent if changed else None,
            messages=list(self.messages.values()),
            memory=self.memory,
            events=self.events,
        )


def arrived(view: AgentView, message: AgentMessage, now: datetime) -> AgentChange[AgentMessage]:
    """Put a message into the inbox of an agent; it wakes the agent if it is what the agent waits for.

    Raises:
        UnknownAgent: There is no such agent.
        InboxFull: Too many messages wait for it.
    """
    draft = Draft(view, now)
    if view.known is not None:
        return AgentChange(answer=view.known)
    agent, settings = draft.agent, draft.settings
    if agent.queued >= settings.max_queue_size:
        raise _full(draft)
    draft.put(message)
    draft.set(queued=agent.queued + 1)
    if message.kind is MessageKind.MAIL:
        said: dict[str, JsonValue] = {
            "message_id": message.message_id,
            "from": message.sender,
            "priority": message.priority.name.lower(),
            "thread_id": message.thread_id,
        }
        draft.tell(MAIL_RECEIVED, said, priority=message.priority)
    sleep = draft.sleep
    if sleep is not None:
        _heard(draft, sleep, message)
    is_awake = draft.agent.state not in (SLEEPING, STOPPED)
    if is_awake and draft.agent.running < settings.max_concurrent_tasks:
        draft.look(message.not_before)
    draft.look(message.expires_at)
    return draft.made(message)


def _heard(draft: Draft, sleep: Sleep, message: AgentMessage) -> None:
    """Wake an agent that sleeps, or is about to, if a message is what it waits for; have it look at other mail in time."""
    why = sleep.woken_by(message)
    if why is not None and draft.agent.state is not SLEEPING:
        draft.set(sleep=None, wake_load=None)  # it would have slept through what it waits for
        _listen(draft)
    elif why is not None:
        _wake(draft, why)
    elif message.kind is MessageKind.MAIL and draft.settings.check_mail_interval is not None:
        moment = draft.now + timedelta(seconds=draft.settings.check_mail_interval)
        sleep = sleep.with_mail_by(moment)
        draft.set(sleep=sleep.to_json())
        if draft.agent.state is SLEEPING:
            draft.look(sleep.mail_at)


def _wake(draft: Draft, why: str, *, counts: bool = True) -> bool:
    """Wake an agent that sleeps, unless it has woken as often today as it may; return whether it is awake."""
    today = draft.now.astimezone(UTC).date().isoformat()
    woken = draft.agent.woken if draft.agent.woken_on == today else 0
    most = draft.settings.max_wakes_per_day
    if counts and most is not None and woken >= most:
        sleep = draft.sleep or Sleep()
        draft.set(
            reason="it has woken as often today as it may",
            sleep=sleep.with_mail_by(tomorrow(draft.now)).to_json(),
            look_at=tomorrow(draft.now),
        )
        return False
    if counts:
        draft.set(woken=woken + 1, woken_on=today)
    draft.move(IDLE, f"woken: {why}")
    draft.set(sleep=None, wake_load=None, look_at=draft.now, last_active=draft.now)
    _listen(draft)
    return True


def tomorrow(now: datetime) -> datetime:
    """Return when the next day begins, in UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


def _listen(draft: Draft) -> None:
    draft.set(listens_to=patterns_for(draft.agent, draft.settings.subscriptions))


def patterns_for(agent: StoredAgent, subscriptions: Iterable[str]) -> tuple[str, ...]:
    """Return the types of events that are to be brought to an agent: those it has subscribed to, and those that wake it."""
    waking = () if agent.sleep is None else Sleep.from_json(agent.sleep).patterns
    return tuple(sorted({*subscriptions, *waking}))


@dataclass(frozen=True, slots=True)
class Taken:
    """What a look at an agent has brought."""

    begun: Sequence[AgentMessage] = ()
    """Messages that a turn is to handle now."""
    under_way: Sequence[AgentMessage] = ()
    """Those whose turns have begun before."""


def looked_after(
    view: AgentView, now: datetime, *, holder: str, load: float | None = None, may_spend: bool = True
) -> AgentChange[Taken]:
    """Look after an agent: expire, wake, put to sleep, claim.

    Args:
        view: The agent with what is ready, claimed and expired.
        now: What time it is.
        holder: The process that begins the turns.
        load: The load of the machine, if it was looked at.
        may_spend: Whether it has money left today.
    """
    if view.agent is None:  # it was removed meanwhile
        return AgentChange(answer=Taken())
    draft = Draft(view, now)
    draft.set(look_at=None)
    for message in view.expired:
        draft.put(replace(message, status=MessageStatus.EXPIRED, ended_at=now))
    draft.set(queued=draft.agent.queued - len(view.expired))
    if draft.agent.state is SLEEPING:
        _may_wake(draft, load)
    begun: list[AgentMessage] = []
    if draft.agent.state not in (SLEEPING, STOPPED):
        begun = _claim(draft, holder, may_spend=may_spend)
        _tire(draft)
    _look_again(draft, begun)
    gone_on = {message.message_id for message in begun}
    under_way = [message for message in view.claimed if message.message_id not in gone_on]
    return draft.made(Taken(begun, under_way))


def _may_wake(draft: Draft, load: float | None) -> None:
    sleep, now = draft.sleep or Sleep(), draft.now
    if sleep.until is not None and sleep.until <= now:
        _wake(draft, "its time has come")
    elif sleep.mail_at is not None and sleep.mail_at <= now:
        _wake(draft, "mail waits")
    elif load is not None and sleep.load_below is not None and load < sleep.load_below:
        _wake(draft, f"the load is {load:.2f}")
    if draft.agent.state is SLEEPING and draft.agent.look_at is None:
        draft.look(sleep.looks_at())


def _claim(draft: Draft, holder: str, *, may_spend: bool) -> list[AgentMessage]:
    """Claim messages that are ready, as many as turns may begin."""
    agent, now = draft.agent, draft.now
    if agent.sleep is not None:  # it sleeps when its turns have ended
        return []
    if agent.broken_until is not None and agent.broken_until > now:
        draft.look(agent.broken_until)
        return []
    room = draft.settings.max_concurrent_tasks - agent.running
    if agent.failures >= draft.settings.breaker_failures:  # one tries whether it works again
        room = min(room, 1 - agent.running)
    ready = draft.view.ready[: max(0, room)]
    if ready and not may_spend:
        draft.set(reason="it has spent today what it may")
        draft.look(tomorrow(now))
        return []
    claimed = [
        replace(one, status=MessageStatus.CLAIMED, attempts=one.attempts + 1, claimed_at=now) for one in ready
    ]
    for message in claimed:
        draft.put(message)
        draft.tell(TASK_STARTED, _said(message), priority=message.priority)
    if claimed:
        draft.set(
            queued=agent.queued - len(claimed),
            running=agent.running + len(claimed),
            holder=holder,
            last_active=now,
        )
        draft.move(ACTIVE, None)
    return claimed


def _tire(draft: Draft) -> None:
    """Put an agent to sleep to which nothing has come for long."""
    agent, seconds = draft.agent, draft.settings.idle_timeout
    if agent.state is not IDLE or agent.queued or seconds is None:
        return
    tired_at = agent.last_active + timedelta(seconds=seconds)
    if tired_at <= draft.now:
        _fall_asleep(draft, Sleep(by_anything=True, reason="nothing has come for long"))
    else:
        draft.look(tired_at)


def _fall_asleep(draft: Draft, sleep: Sleep) -> None:
    draft.move(SLEEPING, sleep.reason)
    draft.set(sleep=sleep.to_json(), wake_load=sleep.load_below, look_at=None)
    draft.look(sleep.looks_at())
    _listen(draft)


def _look_again(draft: Draft, begun: Sequence[AgentMessage]) -> None:
    """Say when the agent has to be looked after next."""
    view, now, agent = draft.view, draft.now, draft.agent
    if agent.running:
        seconds = BEGIN_SECONDS if begun else OBSERVE_SECONDS
        draft.look(now + timedelta(seconds=seconds))
    draft.look(view.next_expiry)
    if agent.state in (SLEEPING, STOPPED) or agent.sleep is not None:
        return
    is_open = agent.broken_until is None or agent.broken_until <= now
    if is_open and agent.running < draft.settings.max_concurrent_tasks:
        draft.look(view.next_ready)


def completed(
    view: AgentView, message_id: str, now: datetime, *, job_id: str, result: bytes, memory: bytes | None
) -> AgentChange[bool]:
    """Acknowledge a message whose turn has ended well; the answer is whether that was new.

    Raises:
        UnknownMessage: It is not there.
    """
    message = _asked(view, message_id)
    if message.status is MessageStatus.DONE:
        return AgentChange(answer=False)
    draft = Draft(view, now)
    read = message.mail_status
    if read is MailStatus.UNREAD:
        read = MailStatus.READ
    done = replace(
        message,
        status=MessageStatus.DONE,
        mail_status=read,
        job_id=job_id,
        ended_at=now,
        error=None,
        result=result,
    )
    draft.put(done)
    draft.memory = memory
    draft.set(turns=draft.agent.turns + 1, failures=0, broken_until=None)
    draft.tell(TASK_COMPLETED, _said(done), content=result, priority=done.priority)
    if message.status is MessageStatus.CLAIMED:
        _turn_ended(draft)
    elif message.status is MessageStatus.WAITING:  # its job was mended by hand before the next turn began
        draft.set(queued=draft.agent.queued - 1)
    return draft.made(True)


def failed(
    view: AgentView, message_id: str, now: datetime, *, job_id: str | None, error: str, for_good: bool = False
) -> AgentChange[MessageStatus]:
    """Have a message handled again later whose turn has failed, or make it a dead letter; the answer is what it is now.

    Args:
        view: The agent, with the message.
        message_id: The message.
        now: What time it is.
        job_id: The job of the turn.
        error: Why it has failed.
        for_good: Whether it would be no use to try again.
    """
    message = _asked(view, message_id)
    if message.status is not MessageStatus.CLAIMED:
        return AgentChange(answer=message.status)
    draft = Draft(view, now)
    settings = draft.settings
    is_dead = for_good or message.attempts >= settings.max_attempts
    later = replace(message, job_id=job_id, error=public_error(error))
    if is_dead:
        later = replace(later, status=MessageStatus.DEAD, ended_at=now)
    else:
        wait = _backoff(settings.retry_backoff, settings.max_retry_backoff, message.attempts)
        later = replace(later, status=MessageStatus.WAITING, not_before=now + wait, claimed_at=None)
        draft.set(queued=draft.agent.queued + 1)
    draft.put(later)
    failures = draft.agent.failures + 1
    draft.set(errors=draft.agent.errors + 1, failures=failures)
    if failures >= settings.breaker_failures:
        wait = _backoff(settings.breaker_seconds, 3600.0, failures - settings.breaker_failures + 1)
        draft.set(broken_until=now + wait, reason=f"{failures} turns have failed in a row: {later.error}")
    said = {**_said(later), "error": later.error, "dead": is_dead}
    draft.tell(TASK_FAILED, said, priority=later.priority)
    _turn_ended(draft)
    return draft.made(later.status)


def _backoff(first: float, most: float, attempts: int) -> timedelta:
    return timedelta(seconds=min(most, first * 2.0 ** min(attempts - 1, MAX_DOUBLINGS)))


def released(view: AgentView, message_id: str, now: datetime, *, seconds: float) -> AgentChange[None]:
    """Take a claim back whose turn could not begin; that is no failure of the agent."""
    message = view.messages.get(message_id)
    if message is None or message.status is not MessageStatus.CLAIMED:
        return AgentChange(answer=None)
    draft = Draft(view, now)
    later = now + timedelta(seconds=seconds)
    draft.put(
        replace(
            message,
            status=MessageStatus.WAITING,
            attempts=message.attempts - 1,
            not_before=later,
            claimed_at=None,
        )
    )
    draft.set(queued=draft.agent.queued + 1)
    _turn_ended(draft)
    return draft.made(None)


def cancelled(view: AgentView, message_id: str, now: datetime) -> AgentChange[AgentMessage]:
    """Give a message up that waits or whose turn was cancelled; one that is over stays as it is."""
    message = _asked(view, message_id)
    if not message.status.is_open:
        return AgentChange(answer=message)
    draft = Draft(view, now)
    over = replace(message, status=MessageStatus.CANCELLED, ended_at=now)
    draft.put(over)
    if message.status is MessageStatus.WAITING:
        draft.set(queued=draft.agent.queued - 1)
    else:
        draft.tell(TASK_FAILED, {**_said(over), "error": "it was cancelled", "dead": False})
        _turn_ended(draft)
    return draft.made(over)


def put_back(view: AgentView, message_id: str, now: datetime) -> AgentChange[AgentMessage]:
    """Have a dead letter handled again.

    Raises:
        InvalidTransition: It is none.
        InboxFull: Too many messages wait for the agent.
    """
    message = _asked(view, message_id)
    if message.status is not MessageStatus.DEAD:
        raise InvalidTransition(f"the message is {message.status}, and no dead letter")
    draft = Draft(view, now)
    if draft.agent.queued >= draft.settings.max_queue_size:
        raise _full(draft)
    again = replace(
        message,
        status=MessageStatus.WAITING,
        attempts=0,
        not_before=now,
        expires_at=None,
        claimed_at=None,
        ended_at=None,
    )
    draft.put(again)
    draft.set(queued=draft.agent.queued + 1)
    draft.look(now)
    return draft.made(again)


def _full(draft: Draft) -> InboxFull:
    agent, limit = draft.agent, draft.settings.max_queue_size
    return InboxFull(identity=agent.agent_id, scope_id=agent.scope_id, limit=limit, bound="max_queue_size")


def _asked(view: AgentView, message_id: str) -> AgentMessage:
    if message_id not in view.messages:
        raise UnknownMessage("no message of this scope has this id")
    return view.messages[message_id]


def _said(message: AgentMessage) -> dict[str, JsonValue]:
    return {
        "message_id": message.message_id,
        "kind": message.kind,
        "attempt": message.attempts,
        **({"name": message.name} if message.name else {}),
    }


def _turn_ended(draft: Draft) -> None:
    """Go on after a turn: with the next message, or to sleep."""
    running = draft.agent.running - 1
    draft.set(running=running, last_active=draft.now)
    if running:
        draft.look(draft.now)
        return
    sleep = draft.sleep
    if draft.agent.state is STOPPED:
        return
    if sleep is None:
        draft.move(IDLE, draft.agent.reason if draft.agent.broken_until else None)
    else:
        _fall_asleep(draft, sleep)
    if draft.agent.state is IDLE:
        draft.look(draft.now)


def waits(view: AgentView, now: datetime, *, turns: Iterable[bool]) -> AgentChange[None]:
    """Say whether each of an agent's turns waits."""
    draft = Draft(view, now)
    all_wait = all(turns)
    if draft.agent.state is ACTIVE and draft.agent.running and all_wait:
        draft.move(WAITING, "its turns wait")
    elif draft.agent.state is WAITING and not all_wait:
        draft.move(ACTIVE, None)
    return draft.made(None)


def slept(view: AgentView, sleep: Sleep, now: datetime) -> AgentChange[StoredAgent]:
    """Have an agent sleep, from the end of its turns on; not where what would wake it is there already.

    Raises:
        InvalidTransition: It is stopped.
    """
    draft = Draft(view, now)
    if draft.agent.state is STOPPED:
        raise InvalidTransition("the agent is stopped")
    due = sleep.until is not None and sleep.until <= now
    why = "its time has come" if due else next(filter(None, map(sleep.woken_by, view.ready)), None)
    if why is not None:
        if draft.agent.state is SLEEPING:
            _wake(draft, why)
        else:
            draft.set(sleep=None, reason=public_error(f"it did not sleep: {why}"))
            draft.look(now)
    elif draft.agent.running:
        draft.set(sleep=sleep.to_json())
        _listen(draft)
    else:
        draft.set(reason=sleep.reason)  # it may sleep already, for another reason
        _fall_asleep(draft, sleep)
    return draft.made(draft.agent)


def woken(view: AgentView, now: datetime, *, reason: str) -> AgentChange[StoredAgent]:
    """Wake an agent by hand: whatever it waits for, and although it has failed. It changes nothing about one that is awake.

    Raises:
        InvalidTransition: It is stopped.
    """
    draft = Draft(view, now)
    if draft.agent.state is STOPPED:
        raise InvalidTransition("the agent is stopped; start it")
    if draft.agent.state is SLEEPING:
        _wake(draft, reason, counts=False)
    elif draft.agent.sleep is not None or draft.agent.broken_until is not None:
        draft.set(sleep=None, wake_load=None, broken_until=None)
        _listen(draft)
        draft.look(now)
    return draft.made(draft.agent)


def stopped(view: AgentView, now: datetime, *, reason: str | None) -> AgentChange[StoredAgent]:
    """Stop an agent: no further turn begins."""
    draft = Draft(view, now)
    draft.move(STOPPED, reason)
    draft.set(sleep=None, wake_load=None)
    _listen(draft)
    return draft.made(draft.agent)


def started(view: AgentView, now: datetime) -> AgentChange[StoredAgent]:
    """Start an agent that is stopped, as one that has not failed."""
    draft = Draft(view, now)
    if draft.agent.state is STOPPED:
        draft.move(ACTIVE if draft.agent.running else IDLE, None)
        draft.set(failures=0, broken_until=None, last_active=now)
        draft.look(now)
    return draft.made(draft.agent)
