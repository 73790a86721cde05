"""A started child that is a job."""

from __future__ import annotations

from collections.abc import Callable

from agent_runtime.execution.branch import Branch
from agent_runtime.execution.operations.asking import Asked, JournaledWait, ask_and_wait
from agent_runtime.execution.operations.children import Children
from agent_runtime.operators.child_handle import ChildHandle
from agent_runtime.operators.durable_wait import DurableWait
from agent_runtime.operators.result import OperatorResult
from agent_runtime.ports.commit import NewEvent, Signal
from agent_runtime.values.event import RuntimeEventType


class DurableChildHandle(ChildHandle):
    """A child that is a job.

    Args:
        children: The parent's.
        branch: Returns the line that asks.
        job_id: The child's.
        operation_id: What started it.
        name: Its operator.
    """

    def __init__(
        self, children: Children, branch: Callable[[], Branch], job_id: str, operation_id: str, name: str
    ) -> None:
        super().__init__(job_id)
        self._children = children
        self._branch = branch
        self._operation_id = operation_id
        self._name = name

    def result(self) -> DurableWait[OperatorResult]:
        """Return the wait for its result."""

        async def ask(branch: Branch) -> Asked[OperatorResult]:
            del branch
            return self._children.wait_for(self._operation_id, self._name)

        async def ask_here() -> OperatorResult:
            return await ask_and_wait(self._branch(), ask)

        return JournaledWait("child", ask_here(), ask)

    async def cancel(self, reason: str | None = None) -> None:
        """Ask it to stop."""
        branch = self._branch()
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
            await branch.admit()
            await run.journal.commit(
                [NewEvent(RuntimeEventType.VALUE_RECORDED, operation.id, data)], signals=[signal]
            )
