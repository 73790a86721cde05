"""The audit of a storage: verifying that nothing was changed behind the runtime's back."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.audit.report import AuditReport
from agent_runtime.audit.verifying import Verification
from agent_runtime.ports.audit import TrailHead
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.storage import Storage


@after_the_journal()
class AuditManager:
    """Verifies what a storage holds.

    Args:
        storage: The storage.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def verify(
        self,
        job_id: str | None = None,
        *,
        scope_id: str | None = None,
        heads: Sequence[TrailHead] = (),
    ) -> AuditReport:
        """Compute the links of all entries again, page by page, and compare the trails with the jobs.

        Args:
            job_id: One job alone.
            scope_id: The jobs of one scope alone.
            heads: Ends of trails that were kept elsewhere. Whoever can write the whole database can make all links anew, but
                not such that they go through these.

        Raises:
            UnknownJob: There is no such job, or not in this scope.
        """
        verification = Verification(self._storage)
        if job_id is not None:
            return await verification.job(job_id, scope_id=scope_id)
        return await verification.everything(scope_id=scope_id, heads=heads)

    async def heads(self) -> Sequence[TrailHead]:
        """Return where the trails of all scopes end, to be kept elsewhere."""
        return await self._storage.trail_heads()
