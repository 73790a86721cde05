"""`EventManager`: what agents are told, who listens to what, and what nobody has listened to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace

from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.agents import AgentEvent, Priority
from agent_runtime.values.context import DEFAULT_SCOPE


class EventManager:
    """The events of one scope.

    Args:
        kernel: Brings them to agents.
        scope_id: Whose events.
    """

    def __init__(self, kernel: Kernel, *, scope_id: str = DEFAULT_SCOPE) -> None:
        self._kernel = kernel
        self._scope_id = scope_id

    async def broadcast(
        self,
        event: str,
        data: Mapping[str, object] | None = None,
        *,
        priority: Priority | str = Priority.NORMAL,
        sender: str | None = None,
        dedupe_key: str | None = None,
    ) -> int | None:
        """Tell all agents that listen to an event that it has happened; return to how many it was brought, `None` for one that was told before."""
        told = await self._kernel.agent_events.broadcast(
            event,
            data,
            priority=priority,
            sender=sender,
            dedupe_key=dedupe_key,
            scope_id=self._scope_id,
        )
        return told.delivered

    async def subscribe(self, agent_id: str, *events: str) -> tuple[str, ...]:
        """Have events of these types brought to an agent, besides those it listens to; return all of these.

        Args:
            agent_id: The agent.
            *events: Types; `*` stands for all, or after a dot for any rest, as in `orders.*`.

        Raises:
            UnknownAgent: There is no such agent.
            InvalidInput: One of them is no type of events.
        """
        return await self._listen(agent_id, add=events)

    async def unsubscribe(self, agent_id: str, *events: str) -> tuple[str, ...]:
        """Have events of these types brought to an agent no more; return those that still are. Raises `UnknownAgent`."""
        return await self._listen(agent_id, drop=events)

    async def _listen(
        self, agent_id: str, *, add: Iterable[str] = (), drop: Iterable[str] = ()
    ) -> tuple[str, ...]:
        found = await self._kernel.agents.get(agent_id, scope_id=self._scope_id)
        wanted = ({*found.settings.subscriptions} | {*add}) - {*drop}
        settings = replace(found.settings, subscriptions=tuple(wanted))
        changed = await self._kernel.agents.create(
            agent_id,
            definition=found.definition,
            config=settings,
            principal_id=found.principal_id,
            scope_id=self._scope_id,
        )
        return changed.settings.subscriptions

    async def history(
        self, *, after_seq: int = 0, agent_id: str | None = None, types: Sequence[str] = (), limit: int = 100
    ) -> Sequence[AgentEvent]:
        """Return what has happened to the agents of the scope, in order.

        Args:
            after_seq: `seq` of the last entry of the page before.
            agent_id: Of this agent, and what was told to all.
            types: Of one of these types; none for all.
            limit: How many at most.
        """
        return await self._kernel.agent_events.events(
            after=after_seq, agent_id=agent_id, types=types, limit=limit, scope_id=self._scope_id
        )

    async def dead_letters(self, *, after_seq: int = 0, limit: int = 100) -> Sequence[AgentEvent]:
        """Return events to which no agent has listened, in order."""
        return await self._kernel.agent_events.events(
            after=after_seq, dead=True, limit=limit, scope_id=self._scope_id
        )

    def follow(self, *, after_seq: int = 0) -> AsyncIterator[AgentEvent]:
        """Yield what has happened, and then what happens: each entry once, in order."""
        return self._kernel.agent_events.follow(after=after_seq, scope_id=self._scope_id)
