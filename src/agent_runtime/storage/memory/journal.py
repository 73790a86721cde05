"""The entries of jobs, as they are read."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.storage.memory.state import State
from agent_runtime.values.event import RuntimeEvent


class JournalReader:
    """Reads journals."""

    _state: State

    async def events(
        self, job_id: str, *, scope_id: str | None = None, after_seq: int = 0, limit: int = 1000
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries after `after_seq`."""
        first = max(0, after_seq)
        return self._journal(job_id, scope_id)[first : first + limit]

    async def tail(self, job_id: str, limit: int, *, scope_id: str | None = None) -> Sequence[RuntimeEvent]:
        """Return a job's last entries."""
        return self._journal(job_id, scope_id)[-limit:] if limit > 0 else []

    def _journal(self, job_id: str, scope_id: str | None) -> list[RuntimeEvent]:
        job = self._state.jobs.get(job_id)
        is_hidden = job is None or scope_id not in (None, job.scope_id)
        return [] if is_hidden else self._state.journals.get(job_id, [])

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of jobs."""
        journals = self._state.journals
        return [journals[job_id][-1] for job_id in job_ids if journals.get(job_id)]
