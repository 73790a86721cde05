"""A job: a durable function with an input, in a scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from agent_runtime.errors import InvalidInput
from agent_runtime.values.budget import run_budget_id
from agent_runtime.values.checks import (
    MAX_LABELS_BYTES,
    check_json,
    check_seconds,
    check_text,
    check_texts,
    check_time,
    check_whole,
)
from agent_runtime.values.context import DEFAULT_SCOPE, BudgetSpec, PolicyRef, RunVersions
from agent_runtime.values.deaths import Deaths, OpenClaim
from agent_runtime.values.retry_policy import RetryPolicy

OnParentEnd = Literal["cancel", "keep"]


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING_ACTION = "waiting_action"
    SLEEPING = "sleeping"
    WAITING = "waiting"
    """For a child, a message or a reservation."""
    BLOCKED = "blocked"
    """Needs an operator of the system, or a deploy; nothing is lost."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in TERMINAL

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended."""
        return self not in TERMINAL


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.TIMED_OUT})
SUSPENDED = frozenset({JobStatus.WAITING_ACTION, JobStatus.SLEEPING, JobStatus.WAITING, JobStatus.BLOCKED})
READY = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})
"""Without an owner, these wait for nothing but a worker."""

FAILURES = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.TIMED_OUT})
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: FAILURES | {JobStatus.RUNNING},
    JobStatus.RUNNING: FAILURES | SUSPENDED | {JobStatus.SUCCEEDED, JobStatus.RUNNING},
    **{status: FAILURES | {JobStatus.RUNNING} for status in SUSPENDED},
    **{status: frozenset[JobStatus]() for status in TERMINAL},
}
"""From each status, the statuses a job may go to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What to create a job from. Ids and keys are text of up to 512 bytes without control characters.

    Raises:
        InvalidInput: A field cannot be stored; it names the field.
    """

    scope_id: str = DEFAULT_SCOPE
    principal_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    parent_job_id: str | None = None
    idempotency_key: str | None = None
    budgets: BudgetSpec | None = None
    policy_ref: PolicyRef | None = None
    versions: RunVersions | None = None
    deadline_seconds: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_texts(self, "parent_job_id")
        check_asked(self)


_IDS = ("principal_id", "session_id", "run_id", "idempotency_key")
_KINDS: Mapping[str, type] = {"budgets": BudgetSpec, "policy_ref": PolicyRef, "versions": RunVersions}


def check_asked(asked: object) -> None:
    """Check what everything that asks for a job has in common: a `JobSpec`, an `ExecutionRequest`.

    Raises:
        InvalidInput: A field cannot be stored; it names the field.
    """
    values: Any = asked
    check_text("scope_id", values.scope_id)
    check_texts(values, *_IDS)
    if values.deadline_seconds is not None:
        check_seconds("deadline_seconds", values.deadline_seconds, zero=False)
    for name, kind in _KINDS.items():
        if not isinstance(getattr(values, name), kind | None):
            raise InvalidInput(f"{name} is a {kind.__name__}")
    check_json("metadata", values.metadata, limit=MAX_LABELS_BYTES)
    check_tags(values.tags)


def check_tags(tags: object) -> None:
    """Check labels, as a job has them or is looked for by them. Raises `InvalidInput`."""
    check_json("tags", tags, limit=MAX_LABELS_BYTES)
    if not isinstance(tags, Mapping) or not all(isinstance(value, str) for value in tags.values()):
        raise InvalidInput("tags is a mapping of texts to texts")


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedBudget:
    """A budget of an ancestor that a job spends from as well."""

    budget_id: str
    spec: BudgetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as it is stored. Its input and result are in its journal, not here."""

    job_id: str
    origin: str = ""
    """What its operations are named by, and so what services see as idempotency keys: its own id, but a retry keeps
    that of the job it retries."""
    seed: str = ""
    """Where its `uuid()` and `random()` come from; its own id where none is given."""
    chain_id: str = ""
    """The first of the jobs that went on as one another, as new ones or as retries; its own id for most."""
    predecessor_id: str | None = None
    """The job that this one goes on in place of."""
    successor_id: str | None = None
    """The job that goes on in place of this one; there is at most one."""
    scope_id: str = DEFAULT_SCOPE
    principal_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    parent_job_id: str | None = None
    parent_operation_id: str | None = None
    """The step of the parent that waits for this job."""
    on_parent_end: OnParentEnd = "cancel"
    """Whether it is asked to stop when its parent ends."""
    identity: str | None = None
    """Whose messages it receives when its code names no one."""
    idempotency_key: str | None = None
    request_hash: str | None = None
    operator: str | None = None
    """Registered name of what executes the job; `None` for jobs that a `JobManager` drives by hand."""
    queue: str = "default"
    priority: int = 0
    """Higher runs first."""
    depth: int = 0
    """Ancestors above this job."""
    status: JobStatus = JobStatus.QUEUED
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline: datetime | None = None
    progress: float = 0.0
    """0 to 1."""
    budgets: BudgetSpec | None = None
    inherited_budgets: tuple[InheritedBudget, ...] = ()
    policy_ref: PolicyRef | None = None
    retry: RetryPolicy | None = None
    """What outages mean to the job; `None` is as its operator says, or else its kernel."""
    versions: RunVersions | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    result_ref: str | None = None
    error: str | None = None
    error_code: str | None = None
    fence: int = 0
    """Grows with every claim; a writer with an older fence is refused."""
    owner: str | None = None
    """The worker that executes the job now."""
    last_seq: int = 0
    deaths: int = 0
    """Claims that ended without a good-bye, since an outcome was written that forgives them."""
    lone_deaths: int = 0
    """Those of them in which the job was the only suspect of its process; too many mean a crash loop."""
    open_claim: int = OpenClaim.NONE
    """Whether the last claim has said good-bye, and if not, what its end will be held for."""

    failed_versions: tuple[str, ...] = ()
    """Versions of the code, or processes, that have blocked the job: they do not try it again."""
    retry_at: datetime | None = None
    """When the next process may try a blocked job whose code has no version of its own."""

    @property
    def inbox(self) -> str:
        """The identity whose messages it receives: its own, or the id of the first job of its chain."""
        return self.identity or self.chain_id

    @property
    def spends_from(self) -> tuple[InheritedBudget, ...]:
        """The budgets of runs that it spends from, and its children with it: its ancestors', and its chain's own."""
        if self.budgets is None:
            return self.inherited_budgets
        own = InheritedBudget(budget_id=run_budget_id(self.scope_id, self.chain_id), spec=self.budgets)
        return (*self.inherited_budgets, own)

    @property
    def counted(self) -> Deaths:
        """What counts against the job."""
        return Deaths(self.deaths, self.lone_deaths, self.open_claim)

    def __post_init__(self) -> None:
        for name in ("origin", "seed", "chain_id"):
            if not getattr(self, name):
                object.__setattr__(self, name, self.job_id)


MAX_TAGS_ASKED = 20
"""Tags that jobs are found by: each is looked for in every job, and SQLite takes no thousand of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs to list: newest first, `limit` at a time, `before` continues after the last one seen."""

    scope_id: str | None = None
    principal_id: str | None = None
    session_id: str | None = None
    parent_job_id: str | None = None
    chain_id: str | None = None
    status: frozenset[JobStatus] | None = None
    operator: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """Those that a job must have, among others."""
    since: datetime | None = None
    """Made at this time or later."""
    before: str | None = None
    """Job id of the last job of the page before."""
    limit: int = 100

    def __post_init__(self) -> None:
        names = ("scope_id", "principal_id", "session_id", "parent_job_id", "chain_id", "operator", "before")
        check_texts(self, *names)
        check_tags(self.tags)
        if len(self.tags) > MAX_TAGS_ASKED:
            raise InvalidInput(f"jobs are found by {MAX_TAGS_ASKED} tags at most")
        if any("\x00" in text for tag in self.tags.items() for text in tag):
            # SQLite reads no further than that.
            raise InvalidInput("jobs cannot be found by a tag with U+0000")
        check_time("since", self.since)
        check_whole("limit", self.limit)
