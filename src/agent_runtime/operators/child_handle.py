"""A child that was started and is not waited for yet."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine

from agent_runtime.operators.durable_wait import DurableWait
from agent_runtime.operators.result import OperatorResult
from llm_client.background import begin


class ChildHandle(ABC):
    """A started child of an operator: wait for it, race it, or ask it to stop.

    Args:
        job_id: The child's job; `None` where it is none.
    """

    def __init__(self, job_id: str | None) -> None:
        self.job_id = job_id

    @abstractmethod
    def result(self) -> DurableWait[OperatorResult]:
        """Return the wait for its result. Awaited, it raises `ChildFailed` when the child did not succeed."""

    @abstractmethod
    async def cancel(self, reason: str | None = None) -> None:
        """Ask it to stop. Does nothing when it has ended."""


class BareChildHandle(ChildHandle):
    """A child that runs in this process alone, beside its parent.

    Args:
        work: What it does.
    """

    def __init__(self, work: Coroutine[object, None, OperatorResult]) -> None:
        super().__init__(None)
        self._task = begin(work)

    def result(self) -> DurableWait[OperatorResult]:
        """Return the wait for its result."""
        return DurableWait("child", self._result())

    async def _result(self) -> OperatorResult:
        return await asyncio.shield(self._task)

    async def cancel(self, reason: str | None = None) -> None:
        """End it."""
        self._task.cancel(reason)
        await asyncio.wait((self._task,))
