"""All of `Storage` in dictionaries.

A commit is checked as a whole before any of it is applied, and nothing in between awaits, so it is atomic.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, islice

from agent_runtime.errors import FenceLost, JobSuspected
from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.ports.commit import Commit, NewEvent, StoredPolicy, Timer
from agent_runtime.ports.journal import Claim, DueJob, Listener
from agent_runtime.ports.retention import Forgettable
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage.memory.commit import append, apply, check, fold_signals, spent_since
from agent_runtime.storage.memory.forgetting import forget
from agent_runtime.storage.memory.job_table import in_order
from agent_runtime.storage.memory.state import State, may_try
from agent_runtime.storage.turns import Candidate, Rotation, Turns, in_turns, number_of_scopes, with_place
from agent_runtime.values.ability import Ability
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.budget import NOTHING, Counters, EntryKey, LedgerEntry, LedgerFilter, run_budget_id
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.deaths import OpenClaim
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from agent_runtime.values.message import Address, InboxMessage
from agent_runtime.values.opening import SpentBy
from agent_runtime.values.standing_budget import Budget


class MemoryStorage:
    """Storage that lives as long as the object."""

    is_durable = False
    is_shared = False
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
        """Take a job that is due and unowned, if its scope has a place."""
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
        fold_signals(state, job_id, at)
        journal = state.journals[job_id]
        self._announce(job_id, journal[job.last_seq :])
        return Claim(job=state.jobs[job_id], events=tuple(journal))

    async def fold(
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
        folded = fold_signals(state, job_id, at)
        if folded:
            self._announce(job_id, folded)
        return folded

    def _announce(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        for listener in tuple(self._listeners):
            listener.folded(job_id, events)

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

    async def due_jobs(
        self,
        *,
        limit: int = 1000,
        caps: ScopeCaps = NO_CAPS,
        among: Sequence[str] | None = None,
        ability: Ability | None = None,
        across_scopes: bool = False,
    ) -> Sequence[DueJob]:
        """Return unowned jobs that are due and have a place."""
        state = self._state
        if among is None and not across_scopes:
            return self._due_in_turns(limit, caps, ability)
        known: Iterable[JobRecord] = (
            state.jobs.values()
            if among is None
            else (state.jobs[job_id] for job_id in {*among} & state.jobs.keys())
        )
        due = sorted((job for job in known if state.is_due(job) and state.covers(ability, job)), key=in_order)
        lines: dict[str, list[Candidate]] = {}
        for job in due:
            lines.setdefault(job.scope_id, []).append(self._candidate(job))
        for scope_id, line in lines.items():
            places = state.places(scope_id, caps)
            lines[scope_id] = line if places is None else with_place(line, places)
        lines = {scope_id: line for scope_id, line in lines.items() if line}
        if across_scopes:
            found = sorted(chain(*lines.values()), key=lambda job: (-job.priority, job.job_id))[:limit]
        else:
            found = in_turns(lines, state.jobs.running, limit)
        return [DueJob(job.job_id, job.priority, job.scope_id) for job in found]

    def _due_in_turns(self, limit: int, caps: ScopeCaps, ability: Ability | None) -> list[DueJob]:
        state = self._state
        running = state.jobs.running
        number, scopes = number_of_scopes(limit, running, caps), sorted(state.jobs.ready)
        place = bisect_right(scopes, self._rotation.after)
        scopes = self._rotation.chosen(scopes[place : place + number], scopes[:number], number)
        turns = Turns(scopes, running, caps=caps, limit=limit)
        others = [*state.woken(), *(state.stopping() if caps else ())]
        turns.add(self._candidate(job) for job in others if state.covers(ability, job))
        while turns.wanted:
            turns.read(
                self._candidate(job)
                for scope_id, most in turns.wanted.items()
                for job in islice(
                    (job for job in state.jobs.first(scope_id) if state.covers(ability, job)), most
                )
            )
        return turns.first()

    def _candidate(self, job: JobRecord) -> Candidate:
        stops = job.job_id in self._state.signals and self._state.is_stopping(job)
        return Candidate(job.job_id, job.priority, job.scope_id, job.queue, stops)

    async def next_jobs(
        self, scope_id: str, *, cap: int, queues: Sequence[str] = (), ability: Ability | None = None
    ) -> Sequence[tuple[str, int]]:
        """Return the first due jobs of one scope, as many as have a place."""
        found = self._state.next_jobs(scope_id, ScopeCaps(default=cap), queues, ability)
        return [(job.job_id, job.priority) for job in found]

    async def blocked_jobs(
        self,
        ability: Ability,
        *,
        at: datetime,
        started_at: datetime,
        after: str = "",
        limit: int = 500,
    ) -> Sequence[str]:
        """Return blocked jobs that may be tried again."""
        state = self._state
        found = (
            job.job_id
            for job in state.jobs.values()
            if job.status is JobStatus.BLOCKED
            and job.owner is None
            and not state.signals.get(job.job_id)
            and state.covers(ability, job)
            and (job.retry_at is None or (job.retry_at <= at and may_try(job, started_at)))
        )
        return sorted(job_id for job_id in found if job_id > after)[:limit]

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        """Return jobs that nobody can run."""
        state = self._state
        since = at - timedelta(seconds=seconds)
        lines = [line for lines in state.jobs.ready.values() for line in lines.items()]
        ready = (
            state.jobs[job_id]
            for line, places in lines
            if not state.is_listed(line, since)
            for _, job_id in places
        )
        unlisted = (job for job in chain(ready, state.woken()) if state.is_unlisted(job, seconds, at))
        return [job.job_id for job in islice(unlisted, limit)]

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        """Return jobs of `owner` for which signals wait."""
        state = self._state
        mailed = [job_id for job_id in state.mail.receivers if state.mail.mailed(job_id)]
        return [
            job_id
            for job_id in dict.fromkeys((*state.signals, *mailed))
            if job_id in state.jobs and state.jobs[job_id].owner == owner
        ]

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due."""
        due = sorted((t for t in self._state.timers.values() if t.due_at <= now), key=lambda t: t.due_at)
        return due[:limit]

    async def timers_named(
        self, key: str, *, limit: int = 10_000, after: tuple[datetime, str] | None = None
    ) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs."""
        found = sorted(
            ((timer.due_at, timer.job_id), timer) for timer in self._state.timers.values() if timer.key == key
        )
        return [timer for place, timer in found if after is None or place > after][:limit]

    async def next_timer(self) -> datetime | None:
        """Return when the next timer falls due."""
        return min((timer.due_at for timer in self._state.timers.values()), default=None)

    async def get_timer(self, job_id: str, key: str) -> Timer | None:
        """Return a timer that has not been cleared, or `None`."""
        return self._state.timers.get((job_id, key))

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`."""
        job = self._state.jobs.get(job_id)
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def find_job(self, scope_id: str, idempotency_key: str) -> JobRecord | None:
        """Return the job created under a key, or `None`."""
        job_id = self._state.keys.get((scope_id, idempotency_key))
        return self._state.jobs[job_id] if job_id is not None else None

    async def chain_head(self, chain_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return the job of a chain that has no successor, or `None`."""
        for job in self._state.jobs.values():
            if job.chain_id == chain_id and job.successor_id is None and scope_id in (None, job.scope_id):
                return job
        return None

    async def list_jobs(self, filter: JobFilter) -> Sequence[JobRecord]:  # noqa: A002 -- the port's name
        """Return jobs, newest first."""
        found = sorted(self._matching(filter), key=lambda job: job.job_id, reverse=True)
        if filter.before is not None:
            found = [job for job in found if job.job_id < filter.before]
        return found[: filter.limit]

    async def stopped_jobs(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Return which of these jobs have ended or are blocked."""
        jobs = self._state.jobs
        known = (jobs[job_id] for job_id in job_ids if job_id in jobs)
        return [job.job_id for job in known if job.status.is_terminal or job.status is JobStatus.BLOCKED]

    async def count_jobs(self, filter: JobFilter) -> int:  # noqa: A002
        """Return how many jobs match."""
        return len(self._matching(filter))

    def _matching(self, wanted: JobFilter) -> list[JobRecord]:
        names = ("scope_id", "principal_id", "session_id", "parent_job_id", "chain_id", "operator")
        asked = [(name, value) for name in names if (value := getattr(wanted, name)) is not None]
        return [
            job
            for job in self._state.jobs.values()
            if all(getattr(job, name) == value for name, value in asked)
            and (wanted.status is None or job.status in wanted.status)
        ]

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        """Return how many jobs of a scope wait for a worker, up to `most`."""
        return min(most, self._state.waiting(scope_id))

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        action = self._state.actions.get(action_id)
        return action if action is not None and scope_id in (None, action.scope_id) else None

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash."""
        token = self._state.tokens.get(token_hash)
        action = None if token is None else self._state.actions.get(token.action_id)
        return None if token is None or action is None else replace(action, token_of=token.approver)

    async def list_actions(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return actions, newest first."""
        found = [
            action
            for action in self._state.actions.values()
            if scope_id in (None, action.scope_id)
            and job_id in (None, action.job_id)
            and status in (None, action.status)
            and (before is None or action.action_id < before)
        ]
        return sorted(found, key=lambda action: action.action_id, reverse=True)[:limit]

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        """Return counters of `(budget_id, window)` pairs."""
        nothing = Counters(settled=NOTHING, reserved=NOTHING)
        return [self._state.counters.get(key, nothing) for key in keys]

    async def get_ledger_entry(self, scope_id: str, entry_id: str) -> LedgerEntry | None:
        """Return one entry of a scope, or `None`."""
        return self._state.ledger.get(EntryKey(scope_id, entry_id))

    async def ledger_positions(self) -> tuple[int, int]:
        """Return the places of the first and the last ledger entry."""
        state = self._state
        return (state.forgotten + 1, state.last_place) if state.ledger else (0, 0)

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        """Return what entries at some places have spent."""
        return spent_since(self._state, since, after, upto)

    async def standing_budgets(self) -> Sequence[Budget]:
        """Return all standing budgets, by id."""
        return [budget for _, budget in sorted(self._state.budgets.items())]

    async def get_policy(self, name: str, version: str) -> StoredPolicy | None:
        """Return a version of a policy, or `None`."""
        return self._state.policies.get((name, version))

    async def next_message(self, address: Address) -> InboxMessage | None:
        """Return the message that comes first, or `None`."""
        return next(iter(self._state.mail.unclaimed(address)), None)

    async def get_message(self, message_id: str, *, scope_id: str) -> InboxMessage | None:
        """Return a message of a scope, or `None`."""
        message = self._state.mail.messages.get(message_id)
        return message if message is not None and message.scope_id == scope_id else None

    async def list_messages(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[InboxMessage]:
        """Return messages that wait, by position."""
        waiting = self._state.mail.unclaimed(address)
        found = [message for message in waiting if message.position > after]
        return sorted(found, key=lambda message: message.position)[:limit]

    async def count_messages(self, address: Address) -> int:
        """Return how many messages wait."""
        return self._state.mail.count(address)

    async def ledger_entries(self, filter: LedgerFilter) -> Sequence[LedgerEntry]:  # noqa: A002
        """Return entries in the order they were written."""
        entries = list(self._state.ledger.values())
        if filter.after is not None:
            place = next((i for i, entry in enumerate(entries) if entry.key == filter.after), len(entries))
            entries = entries[place + 1 :]
        found = (entry for entry in entries if filter.matches(entry))
        return [entry for entry, _ in zip(found, range(filter.limit), strict=False)]

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Store or renew a worker's row."""
        known = worker.worker_id in self._state.workers
        self._state.workers[worker.worker_id] = worker
        for queue in worker.queues or ("",):
            for operator in worker.operators:
                self._state.listed[queue, operator] = worker.heartbeat_at
        return known

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete jobs that ended before a moment."""
        state = self._state
        ended = state.ended(before, limit, max_events)
        gone = {job.job_id for job in ended}
        living = {job.chain_id for job in state.jobs.values() if job.job_id not in gone}
        runs = {run_budget_id(job.scope_id, job.chain_id) for job in ended if job.chain_id not in living}
        state.counters = {key: counted for key, counted in state.counters.items() if key[0] not in runs}
        for job in ended:
            del state.jobs[job.job_id]
            state.journals.pop(job.job_id, None)
            key = (job.scope_id, job.idempotency_key or "")
            if state.keys.get(key) == job.job_id:
                del state.keys[key]
        state.without_content -= gone
        state.actions = {key: action for key, action in state.actions.items() if action.job_id not in gone}
        state.tokens = {key: token for key, token in state.tokens.items() if token.action_id in state.actions}
        state.timers = {key: timer for key, timer in state.timers.items() if timer.job_id not in gone}
        return len(ended)

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment."""
        return forget(self._state, what, before, limit)

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the content of jobs that ended before a moment."""
        state = self._state
        ended = state.ended(before, limit, max_events, but=state.without_content)
        for job in ended:
            state.journals[job.job_id] = [
                replace(event, content=None) for event in state.journals[job.job_id]
            ]
            state.without_content.add(job.job_id)
        return len(ended)

    async def owned_jobs(self, worker_id: str) -> Sequence[tuple[str, int]]:
        """Return the jobs a worker owns."""
        return [(job.job_id, job.fence) for job in self._state.jobs.values() if job.owner == worker_id]

    async def free_job(self, job_id: str, *, fence: int) -> bool:
        """Take a job from its owner."""
        job = self._state.jobs.get(job_id)
        if job is None or job.owner is None or job.fence != fence:
            return False
        self._state.put_job(job, owner=None, open_claim=OpenClaim.NONE)
        return True

    async def expire_workers(self, older_than: float) -> Sequence[str]:
        """Do nothing: all workers live in this process."""
        return ()

    async def list_workers(self) -> Sequence[WorkerRecord]:
        """Return registered workers."""
        return list(self._state.workers.values())

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Delete a worker's row and free the jobs it owned."""
        self._state.workers.pop(worker_id, None)
        if not self._state.workers:  # what the last one knew is gone with it, as it is where a process ends
            self._state.listed.clear()
        for job in [job for job in self._state.jobs.values() if job.owner == worker_id]:
            self._state.put_job(job, owner=None, open_claim=job.open_claim if died else OpenClaim.NONE)
