"""How an `ActionManager` finds the job it is called from, without knowing the kernel."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from agent_runtime.values.action import ActionRecord, ActionSpec


class ActionHost(Protocol):
    """A running job that can ask and wait durably."""

    @property
    def job_id(self) -> str | None:
        """The job."""
        ...

    async def open_action(self, spec: ActionSpec) -> ActionRecord:
        """Ask; a resumed job gets the question it asked before."""
        ...

    async def await_action(self, action: ActionRecord) -> ActionRecord:
        """Wait for the answer. Raises `ActionExpired`."""
        ...


ACTION_HOST: ContextVar[ActionHost | None] = ContextVar("agent_runtime_action_host", default=None)
"""The job of the current task; `None` outside jobs."""
