"""Retention: deleting what nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from agent_runtime.ports.audit import Note

Forgettable = Literal[
    "ledger", "actions", "policies", "messages", "keys", "fires", "agent_messages", "agent_events"
]


class Retention(Protocol):
    """Forgets what ended long ago."""

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment, and return how much of it.

        Args:
            what: `ledger`: entries, with or before their correction; what is added up later lacks them. `actions`:
                answered questions that belong to no job. `policies`: versions that no job is kept of. `messages`: those
                that were received by jobs which are gone or have succeeded; their keys are free again. `keys`: API keys that
                were revoked or expired. `fires`: times of schedules about which was decided. `agent_messages`: those of resident
                agents that are over. `agent_events`: entries of histories, but for broadcasts on their way; places are not
                given again.
            before: The moment.
            limit: How many at most, so that nobody waits long for this.
        """
        ...

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the jobs that ended longest ago, before a moment, with their journals and actions.

        The counters of their own budgets go with them. Ledger entries stay, and so do jobs with a pending action, children whose
        parent is there, what was retried while that is, and what a projection has not dealt with. Returns how many jobs are gone.

        Args:
            before: The moment.
            limit: How many jobs at most.
            max_events: How many entries their journals may have together, so that nobody waits long for this; one job
                is dealt with in any case.
        """
        ...

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the private content of the jobs that ended longest ago, before a moment: inputs, messages, results.

        Entries without their content, actions and the ledger stay, and so does everything of jobs with a pending
        action, of those to whose results another one refers that has its content, and of those that a projection has not dealt
        with, as for `prune`. Returns how many jobs have lost theirs. The arguments are those of `prune`.
        """
        ...

    async def begin_erasing(
        self, job_ids: Sequence[str], *, scope_id: str, at: datetime, note: Note
    ) -> Sequence[str]:
        """Mark jobs of a scope as erased, and say so in its trail; return those that are marked now.

        Their questions, timers, signals, and the messages they have received or that wait for them alone go at once. Jobs that have
        not ended are passed over, and so are those that are not there. `at` is when, `note` what the trail is told.
        """
        ...

    async def erase_entries(self, job_id: str, *, limit: int = 500, max_bytes: int = 8 * 1024 * 1024) -> int:
        """Put digests in the place of data, content and operations of a marked job's next entries; return of how many.

        Args:
            job_id: The job.
            limit: How many entries at most, so that nobody waits long for this.
            max_bytes: How much content they may have together; one is dealt with in any case.
        """
        ...

    async def finish_erasing(self, job_ids: Sequence[str], *, pseudonym: str) -> None:
        """Forget the salts of marked jobs, what their rows say beside their state, and the names in their ledger entries."""
        ...

    async def erase_names(
        self, *, scope_id: str, principal_id: str | None, session_id: str | None, pseudonym: str
    ) -> int:
        """Put a pseudonym in the place of a person or a session of a scope, in what belongs to no job.

        That is: ledger entries, counters, and the mail of an inbox that is called like the person; their budgets go. The API keys by
        which the person is named in this scope are revoked, and schedules on behalf of the person are removed, which the trail is told.
        Returns how many rows.
        """
        ...
