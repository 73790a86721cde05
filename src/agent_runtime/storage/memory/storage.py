"""All of `Storage` in dictionaries.

A commit is checked as a whole before any of it is applied, and nothing in between awaits, so it is atomic.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent_runtime.errors import FenceLost, JobSuspected
from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.ports.commit import Commit, NewEvent
from agent_runtime.ports.journal import Claim, Listener
from agent_runtime.storage.memory.actions import ActionLists, ActionReader
from agent_runtime.storage.memory.agents import Agents
from agent_runtime.storage.memory.commit import append, apply, check, drain_signals
from agent_runtime.storage.memory.due import DueWork
from agent_runtime.storage.memory.feed import Feed
from agent_runtime.storage.memory.inbox import InboxReader
from agent_runtime.storage.memory.jobs import JobReader
from agent_runtime.storage.memory.journal import Audit, JournalReader
from agent_runtime.storage.memory.keys import ApiKeys
from agent_runtime.storage.memory.ledger import LedgerReader, RuleReader
from agent_runtime.storage.memory.retention import Retention
from agent_runtime.storage.memory.schedules import Schedules
from agent_runtime.storage.memory.state import State
from agent_runtime.storage.memory.workers import Workers
from agent_runtime.storage.turns import Rotation
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobStatus


class MemoryStorage(
    JournalReader,
    DueWork,
    JobReader,
    ActionReader,
    ActionLists,
    LedgerReader,
    RuleReader,
    InboxReader,
    Workers,
    Retention,
    Feed,
    Audit,
    ApiKeys,
    Schedules,
    Agents,
):
    """Storage that lives as long as the object."""

    is_durable = False
    is_shared = False
    live_channel = None
    clock: Clock = SystemClock()

    def __init__(self) -> None:
        self._state = State()
        self._listeners: list[Listener] = []
        self._rotation = Rotation()

    async def look_at_clock(self) -> None:
        """Do nothing: everybody who uses it is on this machine."""

    async def open(self) -> None:
        """Do nothing."""

    async def acquire_executor(self) -> bool:
        """Return `True`: nobody else can see this storage."""
        return True

    async def release_executor(self) -> None:
        """Do nothing: nobody else can see this storage."""

    async def aclose(self) -> None:
        """Do nothing: what was stored stays readable."""

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every later commit."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop telling `listener`."""
        self._listeners.remove(listener)

    async def commit(self, commit: Commit) -> int:
        """Write all of `commit` or nothing."""
        state = self._state
        if (known := state.commits.get(commit.commit_id)) is not None:
            return known
        first_seq = apply(state, commit, check(state, commit))
        if commit.job_id is not None and commit.events:
            state.commits[commit.commit_id] = first_seq
        woken = state.woken_by_mail(commit)
        for listener in tuple(self._listeners):
            listener.committed(commit, first_seq)
            if woken:
                listener.mailed(woken)
        return first_seq

    async def claim(
        self,
        job_id: str,
        *,
        owner: str,
        at: datetime,
        caps: ScopeCaps = NO_CAPS,
        suspects: bool = True,
        ability: Ability | None = None,
    ) -> Claim | None:
        """Take a job that is due and unowned, if its scope has a free slot."""
        state = self._state
        job = state.jobs.get(job_id)
        if job is None or not state.is_due(job) or not state.covers(ability, job):
            return None
        if (
            caps.of(job.scope_id) is not None
            and not state.is_stopping(job)
            and job not in state.next_jobs(job.scope_id, caps, [job.queue], ability)
        ):
            return None
        stands = job.counted.claimed(pardoned=state.is_to_be_retried(job))
        if stands.is_suspect and not suspects:
            raise JobSuspected
        first, at = job.fence == 0, max(at, job.updated_at)
        state.put_job(
            job,
            fence=job.fence + 1,
            owner=owner,
            status=JobStatus.RUNNING,
            started_at=job.started_at or at,
            updated_at=at,
            **stands._asdict(),
        )
        start = RuntimeEventType.JOB_STARTED if first else RuntimeEventType.JOB_RESUMED
        append(state, job_id, [NewEvent(start)], at)
        drain_signals(state, job_id, at)
        journal = state.journals[job_id]
        self._announce(job_id, journal[job.last_seq :])
        return Claim(job=state.jobs[job_id], events=tuple(journal))

    async def drain_signals(
        self, job_id: str, *, fence: int, at: datetime, held: Commit | None = None
    ) -> Sequence[RuntimeEvent]:
        """Append what is held, then the waiting signals, to the journal of a job that is ours."""
        state = self._state
        job = state.jobs.get(job_id)
        if held is not None:
            if (known := state.commits.get(held.commit_id)) is not None and job is not None:
                return state.journals[job_id][known - 1 + len(held.events) :]
            await self.commit(held)
        if job is None or job.fence != fence:
            raise FenceLost
        drained = drain_signals(state, job_id, at)
        if drained:
            self._announce(job_id, drained)
        return drained

    def _announce(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        for listener in tuple(self._listeners):
            listener.signals_drained(job_id, events)
