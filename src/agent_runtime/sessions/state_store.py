"""`AsyncAgentStateStore`: the states of agents, which the storage keeps in any case."""

from __future__ import annotations

from agent_runtime.errors import InvalidTransition, UnknownAgent
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.agents import AgentState
from agent_runtime.sessions.monitor import AgentMonitor
from agent_runtime.values.context import DEFAULT_SCOPE


class AsyncAgentStateStore:
    """Reads states, and moves agents into those that somebody can ask for. Nothing has to be saved for a restart.

    Args:
        kernel: Has the agents.
        scope_id: Whose agents.
    """

    def __init__(self, kernel: Kernel, *, scope_id: str = DEFAULT_SCOPE) -> None:
        self._kernel = kernel
        self._scope_id = scope_id

    async def save_state(self, agent_id: str, state: AgentState | str) -> None:
        """Move an agent into a state: `stopped`, `sleeping` until somebody wakes it, or `idle`.

        Raises:
            UnknownAgent: There is no such agent.
            InvalidTransition: It is `active` and `waiting` by what its turns do alone; a stopped agent does not sleep.
        """
        agents, scope, wanted = self._kernel.agents, self._scope_id, AgentState(state)
        now = (await agents.get(agent_id, scope_id=scope)).state
        if wanted is now:
            return
        if wanted is AgentState.STOPPED:
            await agents.stop(agent_id, scope_id=scope)
        elif wanted is AgentState.SLEEPING:
            await agents.sleep(agent_id, scope_id=scope)
        elif wanted is AgentState.IDLE and now is AgentState.STOPPED:
            await agents.start(agent_id, scope_id=scope)
        elif wanted is AgentState.IDLE and now is AgentState.SLEEPING:
            await agents.wake(agent_id, scope_id=scope)
        else:
            raise InvalidTransition(f"an agent that is {now} becomes {wanted} by what its turns do alone")

    async def load_state(self, agent_id: str) -> AgentState | None:
        """Return an agent's state, or `None` if there is no such agent."""
        try:
            return (await self._kernel.agents.get(agent_id, scope_id=self._scope_id)).state
        except UnknownAgent:
            return None

    async def list_active_agents(self) -> list[str]:
        """Return the names of all agents that are not stopped, sorted."""
        residents = AgentMonitor(self._kernel, scope_id=self._scope_id).residents()
        return [one.agent_id async for one in residents if one.state is not AgentState.STOPPED]
