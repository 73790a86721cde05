"""`AgentMonitor`: how the agents of a scope are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.agents import AgentState, MessageStatus
from agent_runtime.residents.resident import Health, ResidentAgent
from agent_runtime.values.context import DEFAULT_SCOPE

_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """How an agent is."""

    agent_id: str
    state: AgentState
    reason: str | None
    """Why it is in this state."""
    queue_depth: int
    """Messages that wait."""
    current_task: str | None
    """The message that its newest turn handles."""
    sleep_until: datetime | None
    wake_events: tuple[str, ...]
    error_count: int
    """Turns that have failed, in all its time."""
    health: Health
    last_active: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentMetrics:
    """Numbers of all agents of a scope together."""

    agents: int = 0
    by_state: Mapping[AgentState, int] = field(default_factory=dict)
    by_health: Mapping[Health, int] = field(default_factory=dict)
    queued: int = 0
    """Messages that wait."""
    running: int = 0
    """Turns that go on."""
    turns: int = 0
    """Turns that have ended well."""
    errors: int = 0
    """Turns that have failed."""


class AgentMonitor:
    """Looks at the agents of a scope; changes nothing.

    Args:
        kernel: Has them.
        scope_id: Whose agents.
    """

    def __init__(self, kernel: Kernel, *, scope_id: str = DEFAULT_SCOPE) -> None:
        self._kernel = kernel
        self._scope_id = scope_id

    async def residents(self) -> AsyncIterator[ResidentAgent]:
        """Yield all agents of the scope, by name."""
        after = ("", "")
        while True:
            page = await self._kernel.agents.list(scope_id=self._scope_id, after=after, limit=_PAGE)
            for one in page:
                yield one
            if len(page) < _PAGE:
                return
            after = (page[-1].scope_id, page[-1].agent_id)

    async def statuses(self) -> AsyncIterator[AgentStatus]:
        """Yield how all agents of the scope are, by name."""
        async for one in self.residents():
            yield await self._status(one)

    async def status(self, agent_id: str) -> AgentStatus:
        """Return how an agent is. Raises `UnknownAgent`."""
        return await self._status(await self._kernel.agents.get(agent_id, scope_id=self._scope_id))

    async def _status(self, agent: ResidentAgent) -> AgentStatus:
        current = None
        if agent.running:
            claimed = await self._kernel.agents.messages(
                agent.agent_id, statuses=[MessageStatus.CLAIMED], limit=1, scope_id=agent.scope_id
            )
            current = claimed[0].message_id if claimed else None
        return AgentStatus(
            agent_id=agent.agent_id,
            state=agent.state,
            reason=agent.reason,
            queue_depth=agent.queue_depth,
            current_task=current,
            sleep_until=agent.sleep_until,
            wake_events=agent.wake_events,
            error_count=agent.errors,
            health=agent.health,
            last_active=agent.last_active,
        )

    async def metrics(self) -> AgentMetrics:
        """Return the numbers of all agents of the scope together."""
        states: Counter[AgentState] = Counter()
        health: Counter[Health] = Counter()
        sums: Counter[str] = Counter()
        async for one in self.residents():
            states[one.state] += 1
            health[one.health] += 1
            sums.update(
                agents=1, queued=one.queue_depth, running=one.running, turns=one.turns, errors=one.errors
            )
        return AgentMetrics(by_state=dict(states), by_health=dict(health), **sums)
