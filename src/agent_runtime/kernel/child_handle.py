"""A child that was started and is not waited for yet."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from agent_runtime.kernel.durable_wait import Asked, DurableWait, ask_and_wait
from agent_runtime.kernel.operator import OperatorResult
from agent_runtime.ports.journal import NewEvent, Signal
from agent_runtime.values.event import RuntimeEventType

if TYPE_CHECKING:
    from agent_runtime.kernel.branch import Branch
    from agent_runtime.kernel.durable_context import DurableContext


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


class DurableChildHandle(ChildHandle):
    """A child that is a job.

    Args:
        context: Of the parent.
        job_id: The child's.
        operation_id: What started it.
        name: Its operator.
    """

    def __init__(self, context: DurableContext, job_id: str, operation_id: str, name: str) -> None:
        super().__init__(job_id)
        self._context = context
        self._operation_id = operation_id
        self._name = name

    def result(self) -> DurableWait[OperatorResult]:
        """Return the wait for its result."""

        async def ask(branch: Branch) -> Asked[OperatorResult]:
            del branch
            return self._context.children.wait_for(self._operation_id, self._name)

        async def ask_here() -> OperatorResult:
            return await ask_and_wait(self._context.branch(), ask)

        return DurableWait("child", ask_here(), ask)

    async def cancel(self, reason: str | None = None) -> None:
        """Ask it to stop."""
        branch = self._context.branch()
        run, operation = branch.run, branch.reach("value", "cancel_child")
        if operation.step is not None:
            return
        data = {"name": "cancel_child", "child_job_id": self.job_id}
        signal = Signal(
            f"{operation.id}:cancel",
            str(self.job_id),
            RuntimeEventType.JOB_CANCEL_REQUESTED,
            data={"reason": reason},
        )
        with branch.recorded_only():
            await run.admit_step(branch)
            await run.commit(
                [NewEvent(RuntimeEventType.VALUE_RECORDED, operation.id, data)], signals=[signal]
            )


class BareChildHandle(ChildHandle):
    """A child that runs in this process alone, beside its parent.

    Args:
        work: What it does.
    """

    def __init__(self, work: Coroutine[Any, Any, OperatorResult]) -> None:
        super().__init__(None)
        self._task = asyncio.ensure_future(work)

    def result(self) -> DurableWait[OperatorResult]:
        """Return the wait for its result."""
        return DurableWait("child", self._result())

    async def _result(self) -> OperatorResult:
        return await asyncio.shield(self._task)

    async def cancel(self, reason: str | None = None) -> None:
        """End it."""
        self._task.cancel(reason)
        await asyncio.wait((self._task,))
