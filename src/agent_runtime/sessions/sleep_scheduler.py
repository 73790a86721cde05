"""`SleepScheduler`: when agents wake."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from agent_runtime.kernel.kernel import Kernel
from agent_runtime.residents.sleep import Sleep
from agent_runtime.values.context import DEFAULT_SCOPE


class SleepScheduler:
    """Sets and takes back the time at which an agent wakes; what else wakes it stays as it is.

    Args:
        kernel: Has the agents, and one timer for all of them.
        scope_id: Whose agents.
    """

    def __init__(self, kernel: Kernel, *, scope_id: str = DEFAULT_SCOPE) -> None:
        self._kernel = kernel
        self._scope_id = scope_id

    async def schedule_wake(self, agent_id: str, wake_time: datetime) -> None:
        """Have an agent sleep until a time; one that sleeps is woken then at the latest.

        Raises:
            UnknownAgent: There is no such agent.
            InvalidTransition: It is stopped.
        """
        found = await self._kernel.agents.get(agent_id, scope_id=self._scope_id)
        await self._sleep(agent_id, replace(found.sleep or Sleep(), until=wake_time))

    async def cancel_wake(self, agent_id: str) -> None:
        """Take back the time at which an agent would wake; without any other condition it sleeps until somebody wakes it.

        Raises:
            UnknownAgent: There is no such agent.
        """
        found = await self._kernel.agents.get(agent_id, scope_id=self._scope_id)
        if found.sleep is not None and found.sleep.until is not None:
            await self._sleep(agent_id, replace(found.sleep, until=None))

    async def get_next_wake_time(self, agent_id: str) -> datetime | None:
        """Return when an agent wakes at the latest; `None` where it does not sleep, or only what happens wakes it. Raises `UnknownAgent`."""
        return (await self._kernel.agents.get(agent_id, scope_id=self._scope_id)).sleep_until

    async def _sleep(self, agent_id: str, sleep: Sleep) -> None:
        await self._kernel.agents.sleep(
            agent_id,
            until=sleep.until,
            wake_events=sleep.events,
            wake_on_mail_priority=sleep.priority,
            wake_when_load_below=sleep.load_below,
            reason=sleep.reason,
            scope_id=self._scope_id,
        )
