"""The audit of a storage: verifying that nothing was changed behind the runtime's back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from agent_runtime.audit.erasure import Erasure, ErasureReport, ErasureSubject
from agent_runtime.audit.report import AuditReport
from agent_runtime.audit.verifying import Verification
from agent_runtime.ports.audit import TrailHead
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.erasure import Eraser
from agent_runtime.ports.storage import Storage


@after_the_journal()
class AuditManager:
    """Verifies what a storage holds.

    Args:
        storage: The storage.
        erasers: Returns what keeps content beside the storage's own tables; asked when something is erased.
    """

    def __init__(self, storage: Storage, *, erasers: Callable[[], Iterable[Eraser]] = tuple) -> None:
        self._storage = storage
        self._erasers = erasers

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

    async def erase(
        self, subject: ErasureSubject, *, by: str, reason: str | None = None, erasers: Iterable[Eraser] = ()
    ) -> ErasureReport:
        """Take away what the jobs of a subject have been asked, have done and answered; see `ErasureSubject`.

        States, times and amounts stay, the latter under a pseudonym, and what was erased still verifies. Of a file of SQLite, free pages
        keep what was deleted until it is vacuumed, as `agent-runtime erase` does.

        Args:
            subject: Whose.
            by: Who erases, for the trail.
            reason: Why, for the trail; no content.
            erasers: What else keeps content, besides the logs in the storage's own database.

        Raises:
            InvalidTransition: A job has not ended. Nothing was erased.
            InvalidInput: A job's parent is not meant, and has its result.
            UnknownJob: There is no such job in this scope.
        """
        everywhere = (*self._erasers(), *erasers)
        return await Erasure(self._storage, erasers=everywhere).erase(subject, by=by, reason=reason)

    async def heads(self) -> Sequence[TrailHead]:
        """Return where the trails of all scopes end, to be kept elsewhere."""
        return await self._storage.trail_heads()
