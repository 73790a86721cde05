"""Deleting the logs of one execution, which is itself written down: who has done it stands in the trail of the scope."""

from __future__ import annotations

from typing import Final, Protocol

from agent_runtime.errors import UnknownExecution
from agent_runtime.observability.sql.retention import Forgotten
from agent_runtime.observability.sql.store import LogStore
from agent_runtime.ports.audit import Audit, Note
from agent_runtime.ports.clock import Clock

DELETED: Final = "logs.deleted"
"""The kind of a trail's entry that says who has deleted which execution's logs."""


class Trails(Audit, Protocol):
    """Where it is written down: a storage."""

    @property
    def clock(self) -> Clock:
        """What time it is for all who share it."""
        ...


async def delete_logs(
    store: LogStore, trails: Trails, execution_id: str, *, scope_id: str | None, by: str
) -> Forgotten:
    """Delete all rows of an execution, and return how many.

    The note comes first, so that nothing goes without one; one that says of less than all that it went is made again with the rest.

    Args:
        store: The logs.
        trails: Where the note is written, in the trail of each scope that has such an execution.
        execution_id: The execution's; of a job, the job's id.
        scope_id: Hides what is another scope's.
        by: Who deletes.

    Raises:
        UnknownExecution: Nothing is logged of it, or nothing in this scope.
    """
    scopes = await store.scopes_of(execution_id, scope_id=scope_id)
    if not scopes:
        raise UnknownExecution(f"nothing is logged of an execution {execution_id!r}")
    executions = calls = 0
    for scope in scopes:
        note = Note(DELETED, {"execution_id": execution_id, "by": by})
        await trails.extend_trail(scope, at=trails.clock.now(), notes=[note])
        gone = await store.delete_execution(execution_id, scope_id=scope)
        executions, calls = executions + gone.executions, calls + gone.llm_calls
    return Forgotten(executions, calls)
