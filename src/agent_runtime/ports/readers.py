"""Reading jobs, actions, the ledger and the rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, NamedTuple, Protocol, TypeVar

from agent_runtime.ports.commit import StoredPolicy
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.budget import Counters, LedgerEntry, LedgerFilter
from agent_runtime.values.job import JobFilter, JobRecord
from agent_runtime.values.opening import SpentBy
from agent_runtime.values.standing_budget import Budget

T = TypeVar("T")


class Part(NamedTuple, Generic[T]):
    """The first of what was asked for."""

    items: Sequence[T]
    has_more: bool
    """Whether there are others behind them."""


class Pending(NamedTuple):
    """The actions that wait for an answer."""

    number: int
    oldest: datetime | None
    """When the first of them was asked."""


class JobReader(Protocol):
    """Reads jobs. A given `scope_id` hides other scopes' jobs."""

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`."""
        ...

    async def find_job(self, scope_id: str, idempotency_key: str) -> JobRecord | None:
        """Return the job created under a key, or the one that goes on in its place; or `None`."""
        ...

    async def chain_head(self, chain_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return the job of a chain in whose place no other goes on, or `None`."""
        ...

    async def list_jobs(self, filter: JobFilter) -> Sequence[JobRecord]:  # noqa: A002 -- reads as what it is
        """Return jobs, newest first."""
        ...

    async def part_of_jobs(self, filter: JobFilter, *, max_bytes: int) -> Part[JobRecord]:  # noqa: A002
        """Return jobs, newest first, and read no further.

        Args:
            filter: Which.
            max_bytes: How long their metadata and tags may be together; the first job is given in any case.
        """
        ...

    async def stopped_jobs(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Return which of these jobs have ended or are blocked, in one look."""
        ...

    async def count_jobs(self, filter: JobFilter) -> int:  # noqa: A002
        """Return how many jobs match, whatever the filter's `limit` and `before`."""
        ...

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        """Return how many jobs of a scope wait for a worker, as `Commit.queue_bounds` counts them. Counting ends at `most`."""
        ...


class ActionReader(Protocol):
    """Reads actions. A given `scope_id` hides other scopes' actions."""

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        ...

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash, with `token_of`, or `None`."""
        ...

    async def list_actions(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return actions, newest first; `before` is the last action id of the page before."""
        ...


class ActionLists(Protocol):
    """Reads actions for lists of many, where jobs are kept, too."""

    async def part_of_actions(
        self,
        *,
        max_bytes: int,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Part[ActionRecord]:
        """Return actions as `list_actions` does, and read no further.

        Args:
            max_bytes: How long what they ask and were answered may be together; the first action is given in any case.
            scope_id: Of one scope.
            job_id: Of one job.
            status: Only those that stand so.
            limit: How many at most.
            before: From the one behind this action id on.
        """
        ...

    async def pending_actions(self) -> Pending:
        """Return how many actions of all scopes wait for an answer, and since when, without reading any of them."""
        ...


class LedgerReader(Protocol):
    """Reads what was spent."""

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        """Return the counters of `(budget_id, window)` pairs, zero where nothing was ever charged."""
        ...

    async def get_ledger_entry(self, scope_id: str, entry_id: str) -> LedgerEntry | None:
        """Return one entry of a scope, or `None`."""
        ...

    async def ledger_positions(self) -> tuple[int, int]:
        """Return the positions of the first and the last ledger entry, (0, 0) when there is none.

        Everything up to the last one can be read: no entry that is being written can come to stand before it.
        """
        ...

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        """Add up the entries at positions above `after` up to `upto` whose time, or that of what they correct, is not before `since`."""
        ...

    async def ledger_entries(self, filter: LedgerFilter) -> Sequence[LedgerEntry]:  # noqa: A002
        """Return entries in the order they were written."""
        ...


class RuleReader(Protocol):
    """Reads the rules that people have set for everybody."""

    async def standing_budgets(self) -> Sequence[Budget]:
        """Return all standing budgets, by id."""
        ...

    async def get_policy(self, name: str, version: str) -> StoredPolicy | None:
        """Return a version of a policy, or `None`."""
        ...
