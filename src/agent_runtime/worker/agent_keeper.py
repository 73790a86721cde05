"""The keeper: looks after resident agents that are due, begins their turns and sees how those end. Whoever executes jobs does so too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol

from agent_runtime.errors import (
    AgentRuntimeError,
    ConfigurationError,
    ExecutorBusy,
    QueueFull,
    StorageError,
    UnknownAgent,
    UnknownMessage,
    UnknownOperator,
)
from agent_runtime.ports.agents import (
    AgentChange,
    AgentMessage,
    Agents,
    AgentView,
    Look,
    MessageStatus,
    StoredAgent,
)
from agent_runtime.ports.clock import Clock
from agent_runtime.residents import states
from agent_runtime.residents.states import OBSERVE_SECONDS, Taken
from agent_runtime.values.job import JobRecord, JobStatus
from llm_client.background import BackgroundLoop, Backoff, drained, in_background
from llm_client.logs import logger_of

logger = logger_of(__name__)

AT_ONCE: Final = 128
"""Agents that one process looks after at the same time."""
RETRY_SECONDS: Final = 1.0
PUT_OFF_SECONDS: Final = 10.0
"""How long an agent is left alone that cannot be looked after: however many they are, others come first meanwhile."""
REFUSED_SECONDS: Final = 5.0
"""After how long a turn is tried again that a full queue, or the like, has refused."""
LOAD_SECONDS: Final = 5.0
"""How often the load of the machine is looked at."""
STOP_SECONDS: Final = 2.0
"""How long what is under way may take when the process stops."""
_LATER: Final = (QueueFull, ExecutorBusy, UnknownOperator)
"""Refusals of what may be accepted later."""
_EVERYTHING: Final = Look(ready=128, claimed=True, expired=128)
_WAITS: Final = frozenset(
    {JobStatus.WAITING_ACTION, JobStatus.SLEEPING, JobStatus.WAITING, JobStatus.BLOCKED}
)


class Turns(Protocol):
    """Turns of agents as jobs. A message has one job, and those that go on in its place."""

    async def start(self, agent: StoredAgent, message: AgentMessage) -> str:
        """Begin the turn that handles a message, or go on with it, and return its job's id. Twice is as good as once.

        Raises:
            AgentRuntimeError: It is refused.
        """
        ...

    async def find(self, agent: StoredAgent, message: AgentMessage) -> JobRecord | None:
        """Return the job that handles a message, the last one of its chain, or `None`."""
        ...

    def end_of(self, job_id: str) -> asyncio.Future[object]:
        """Return a future of the job's next stop."""
        ...

    async def may_spend(self, agent: StoredAgent) -> bool:
        """Whether an agent has money left today."""
        ...


@dataclass(slots=True)
class _Watched:
    scope_id: str
    agent_id: str
    end: asyncio.Future[object] = field(repr=False)


class AgentKeeper:
    """Looks after resident agents, with one question to the storage for all of them.

    A claim is written before its turn begins, and the turn's job has a key made of the message: whoever follows a process that died
    begins the same turns again, and none of them twice. What a turn has done it acknowledges itself, in a step of its job; failures are
    settled here, when the job has ended.

    Args:
        agents: Where they are kept.
        clock: What time it is.
        holder: This process.
        turns: Begins their turns.
        sweep: Done about as often as the storage is looked at in any case: what others have left behind.
        sweep_interval: Seconds after which it looks in any case.
        load: The load of the machine over the last minute.
    """

    def __init__(
        self,
        agents: Agents,
        clock: Clock,
        *,
        holder: str,
        turns: Turns,
        sweep: Callable[[], Awaitable[None]],
        sweep_interval: float,
        load: Callable[[], float] = lambda: os.getloadavg()[0],
    ) -> None:
        self._agents = agents
        self._clock = clock
        self._holder = holder
        self._turns = turns
        self._sweep = sweep
        self._sweep_interval = sweep_interval
        self._load = load
        self._tended: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._again: set[tuple[str, str]] = set()
        """Agents of which something was heard while they were looked after."""
        self._watched: dict[str, _Watched] = {}
        """Turns under way that this process knows of, by their jobs."""
        self._is_first = True
        self._swept_at = self._load_at = -1e9
        self._loop = BackgroundLoop(
            self._look,
            name="looking after agents",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS),
        )
        self._runs = False

    def start(self) -> None:
        """Begin."""
        self._is_first, self._runs = True, True
        self._loop.start(after=0)

    def wake(self) -> None:
        """Look now: an agent was changed, here or elsewhere."""
        if self._runs and len(self._tended) < AT_ONCE:
            self._loop.wake()

    def job_changed(self, job_id: str) -> None:
        """See how a turn is, if this is the job of one: it waits, or goes on."""
        watched = self._watched.get(job_id)
        if watched is not None and self._runs:
            self._observe_soon(watched.scope_id, watched.agent_id)

    async def stop(self) -> None:
        """Begin nothing more, and leave what is open to whoever looks next."""
        self._runs = False
        await self._loop.stop()
        for watched in self._watched.values():
            watched.end.cancel()
        self._watched.clear()
        await drained(list(self._tended.values()), seconds=STOP_SECONDS)

    async def _look(self) -> float:
        """Begin to look after what is due; return after how many seconds the next one is."""
        now = self._clock.now()
        horizon = now
        if self._is_first:  # who has claimed messages before may have been this process's predecessor
            horizon = now + timedelta(seconds=OBSERVE_SECONDS)
        for agent in await self._agents.due_agents(horizon, limit=2 * AT_ONCE):
            if len(self._tended) >= AT_ONCE:
                break
            self._look_soon(agent)
        self._is_first = False
        await self._look_at_load()
        await self._sweep_sometimes()
        following = await self._agents.next_agent_look()
        if following is None:
            return self._sweep_interval
        seconds = (following - self._clock.now()).total_seconds()
        return min(self._sweep_interval, seconds if seconds > 0 else RETRY_SECONDS)

    async def _look_at_load(self) -> None:
        """Wake agents that wait until the machine has less to do."""
        moment = asyncio.get_running_loop().time()
        if moment - self._load_at < LOAD_SECONDS:
            return
        self._load_at, load = moment, self._load()
        for agent in await self._agents.agents_waiting_for_load(load, limit=AT_ONCE):
            self._look_soon(agent, load)

    def _look_soon(self, agent: StoredAgent, load: float | None = None) -> None:
        """Look after an agent, if nothing is done about it now."""
        if (agent.scope_id, agent.agent_id) not in self._tended:
            look = partial(self._look_after, agent=agent, load=load)
            self._tend(agent.scope_id, agent.agent_id, look)

    async def _sweep_sometimes(self) -> None:
        moment = asyncio.get_running_loop().time()
        if moment - self._swept_at >= self._sweep_interval:
            self._swept_at = moment
            await self._sweep()

    def _observe_soon(self, scope_id: str, agent_id: str) -> None:
        """See how the turns of an agent are, now or when it has been looked after.

        What is due is not remembered like this: it is found by the next look, and two that wait for each other would never let it in.
        """
        if (scope_id, agent_id) in self._tended:
            self._again.add((scope_id, agent_id))
        else:
            self._tend(scope_id, agent_id, self._observe)

    def _tend(self, scope_id: str, agent_id: str, what: Callable[[str, str], Awaitable[None]]) -> None:
        """Begin to do something about an agent, of which nothing else is done meanwhile."""
        key = (scope_id, agent_id)
        task = self._tended[key] = in_background(self._safely(key, what), name=f"agent {agent_id!r}")
        task.add_done_callback(lambda _: self._done(key))

    def _done(self, key: tuple[str, str]) -> None:
        self._tended.pop(key, None)
        if not self._runs:
            return
        if key in self._again:
            self._again.discard(key)
            self._tend(*key, self._observe)
        if len(self._tended) <= AT_ONCE // 2:
            self._loop.wake()

    async def _safely(self, key: tuple[str, str], what: Callable[[str, str], Awaitable[None]]) -> None:
        """Do something about one agent; one that cannot be looked after must not keep the others from it."""
        try:
            await what(*key)
        except UnknownAgent:  # removed meanwhile
            return
        except StorageError as error:
            logger.warning("agent %r is left to the next look: %s", key[1], error)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            logger.exception("agent %r cannot be looked after; it is tried again", key[1])
            await self._put_off(*key)

    async def _put_off(self, scope_id: str, agent_id: str) -> None:
        now = self._clock.now()

        def later(view: AgentView) -> AgentChange[None]:
            draft = states.Draft(view, now)
            draft.set(look_at=now + timedelta(seconds=PUT_OFF_SECONDS))
            return draft.made(None)

        try:
            await self._agents.change_agent(scope_id, agent_id, later, at=now)
        except AgentRuntimeError as error:
            logger.warning("agent %r is left to the next look: %s", agent_id, error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _look_after(
        self, scope_id: str, agent_id: str, *, agent: StoredAgent, load: float | None = None
    ) -> None:
        """Look after one agent: claim what is ready, begin its turns, and see how others are."""
        may_spend = await self._turns.may_spend(agent)
        now = self._clock.now()
        taken: Taken = await self._agents.change_agent(
            scope_id,
            agent_id,
            lambda view: states.looked_after(view, now, holder=self._holder, load=load, may_spend=may_spend),
            at=now,
            look=_EVERYTHING,
        )
        for message in taken.begun:
            await self._begin(agent, message)
        if taken.under_way:
            await self._observe(scope_id, agent_id)

    async def _begin(self, agent: StoredAgent, message: AgentMessage) -> None:
        """Begin the turn of a message that is claimed."""
        try:
            job_id = await self._turns.start(agent, message)
        except StorageError:
            raise
        except _LATER as error:
            logger.warning("a turn of agent %r could not begin: %s", agent.agent_id, error)
            await self._settle(agent, message, states.released, seconds=REFUSED_SECONDS)
        except (AgentRuntimeError, ConfigurationError) as error:
            logger.warning("a turn of agent %r was refused: %s", agent.agent_id, error)
            await self._settle(
                agent, message, states.failed, job_id=message.job_id, error=str(error), for_good=True
            )
        else:
            await self._watch(agent, message, job_id)

    async def _watch(self, agent: StoredAgent, message: AgentMessage, job_id: str) -> None:
        """Hear of it when a turn ends or stands still; one may have ended before anybody heard."""
        if job_id in self._watched or not self._runs:
            return
        self._hear_of_end(agent, job_id)
        job = await self._turns.find(agent, message)
        if job is not None and job.status.is_terminal:
            await self._settle_ended(agent, message, job)

    def _hear_of_end(self, agent: StoredAgent, job_id: str) -> None:
        end = self._turns.end_of(job_id)
        self._watched[job_id] = _Watched(agent.scope_id, agent.agent_id, end)

        def ended(future: asyncio.Future[object]) -> None:
            self._watched.pop(job_id, None)
            if self._runs and not future.cancelled():
                self._observe_soon(agent.scope_id, agent.agent_id)

        end.add_done_callback(ended)

    async def _observe(self, scope_id: str, agent_id: str) -> None:
        """See how the turns of an agent are: settle those that have failed, begin those that never have."""
        agent = await self._agents.get_agent(scope_id, agent_id)
        if agent is None or not agent.running:
            return
        claimed = await self._agents.list_agent_messages(
            scope_id, agent_id, statuses=[MessageStatus.CLAIMED], limit=1000
        )
        waiting: list[bool] = []
        for message in claimed:
            job = await self._turns.find(agent, message)
            if job is None or _ended_before(
                job, message
            ):  # who has claimed it has died before the turn began
                await self._begin(agent, message)
                waiting.append(False)
            elif job.status.is_terminal:
                await self._settle_ended(agent, message, job)
            else:
                await self._watch(agent, message, job.job_id)
                waiting.append(job.status in _WAITS)
        if waiting:
            now = self._clock.now()
            await self._agents.change_agent(
                scope_id, agent_id, lambda view: states.waits(view, now, turns=waiting), at=now
            )

    async def _settle_ended(self, agent: StoredAgent, message: AgentMessage, job: JobRecord) -> None:
        """Settle the message of a turn that has ended and has not acknowledged it."""
        if job.status is JobStatus.CANCELLED:
            await self._settle(agent, message, states.cancelled)
        elif job.status is JobStatus.SUCCEEDED:  # it has acknowledged, and we have seen what was before
            return
        else:
            error = job.error or f"its job is {job.status}"
            await self._settle(agent, message, states.failed, job_id=job.job_id, error=error)

    async def _settle(
        self,
        agent: StoredAgent,
        message: AgentMessage,
        how: Callable[..., AgentChange[Any]],
        **said: object,
    ) -> None:
        now = self._clock.now()
        try:
            await self._agents.change_agent(
                agent.scope_id,
                agent.agent_id,
                lambda view: how(view, message.message_id, now, **said),
                at=now,
                look=Look(message_ids=[message.message_id]),
            )
        except UnknownMessage:  # removed meanwhile
            return


def _ended_before(job: JobRecord, message: AgentMessage) -> bool:
    """Whether a job is that of an earlier turn of a message, which has failed before the message was claimed again."""
    if job.status is JobStatus.SUCCEEDED or job.completed_at is None or message.claimed_at is None:
        return False
    return job.status.is_terminal and job.completed_at < message.claimed_at
