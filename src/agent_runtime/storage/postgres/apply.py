"""Applying operations to locked rows, one after the other, as if each were a transaction of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from agent_runtime.errors import (
    ActionAlreadyResolved,
    AlreadySettled,
    BudgetRejected,
    DuplicateJob,
    FenceLost,
    IdempotencyConflict,
    InvalidInput,
    InvalidTransition,
    JobSuspected,
    QueueFull,
    SignalsPending,
    UnknownAction,
    UnknownJob,
)
from agent_runtime.ports.journal import Commit, JobChange, NewEvent, placed
from agent_runtime.storage.families import PARENT_HAS_ENDED, parent_of, stop_with
from agent_runtime.storage.postgres.locked_rows import EncodedCommit, Key, LockedJob, LockedRows
from agent_runtime.storage.postgres.statements import SIGNAL
from agent_runtime.storage.postgres.values import encode, from_json, to_json
from agent_runtime.storage.rows import failed_versions_text, wait_rows
from agent_runtime.values.ability import Ability
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import NOTHING, Counters
from agent_runtime.values.capacity import ScopeCaps
from agent_runtime.values.event import STOP_REQUESTS, RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import SUSPENDED, TERMINAL, JobRecord, JobStatus


class Claimed(NamedTuple):
    """A job as a claim has left it."""

    job: LockedJob
    new_events: Sequence[RuntimeEvent]


def apply_commit(rows: LockedRows, commit: Commit, encoded: EncodedCommit) -> int:
    """Make every change of `commit` and return the seq of its first event; raises as the port says."""
    job = _check_owner(rows, commit)
    _check_created(rows, commit)
    _check_queue(rows, commit)
    _check_actions(rows, commit)
    _check_settled(rows, commit)
    rows.mail.check(commit)
    charged = _check_charges(rows, commit)
    first_seq = 0
    if job is not None:
        first_seq = rows.append(job, commit.events, encoded.events, commit.at, commit.commit_id)
        _change_job(rows, job, commit)
    for (record, events), (row, data) in zip(commit.create, encoded.created, strict=True):
        _create(rows, record, row, events, data, commit.at)
    _send(rows, commit, encoded)
    _change_actions(rows, commit, encoded)
    _move_timers(rows, commit, encoded)
    _charge(rows, commit, charged)
    for entry, row in zip(commit.ledger, encoded.ledger, strict=True):
        rows.ledger_rows.setdefault(entry.key, row)
        rows.entries.add(entry.key)
    _set_rules(rows, commit, encoded)
    if commit.job is not None and commit.job.status.is_terminal and job is not None:
        rows.ended_jobs.append(job.job_id)
        rows.signals[job.job_id] = []
    return first_seq if commit.events else 0


def _check_owner(rows: LockedRows, commit: Commit) -> LockedJob | None:
    if commit.job_id is None or commit.fence is None:
        if commit.events or commit.job:
            raise InvalidInput("only a fenced commit may extend a journal or change a job")
        return None
    job = rows.jobs.get(commit.job_id)
    if job is None:
        raise UnknownJob(f"no job {commit.job_id!r}")
    if job.fence != commit.fence:
        raise FenceLost
    change = commit.job
    if change is not None and change.expect is not None and job.status not in change.expect:
        raise InvalidTransition(f"job {job.job_id!r} is {job.status}")
    if commit.require_no_signals and rows.signals.get(job.job_id):
        raise SignalsPending
    return job


def _check_created(rows: LockedRows, commit: Commit) -> None:
    for job, _ in commit.create:
        if job.predecessor_id is not None:
            _check_predecessor(rows, commit, job.predecessor_id)
        known = rows.by_key.get((job.scope_id, job.idempotency_key or ""))
        if job.idempotency_key is not None and known is not None and known[0] != job.predecessor_id:
            job_id, request_hash = known
            if request_hash == job.request_hash:
                raise DuplicateJob(job_id)
            raise IdempotencyConflict(
                f"key {job.idempotency_key!r} belongs to job {job_id!r}, a different request"
            )
        if job.job_id in rows.jobs:
            raise DuplicateJob(job.job_id)


def _check_predecessor(rows: LockedRows, commit: Commit, job_id: str) -> None:
    """A job goes on as one other at most, and only when it has ended, be it by this commit."""
    before = rows.jobs.get(job_id)
    if before is None:
        raise UnknownJob(f"no job {job_id!r}")
    if before.successor_id is not None:
        raise DuplicateJob(before.successor_id)
    change = commit.job if commit.job_id == job_id else None
    if (before.status if change is None else change.status) not in TERMINAL:
        raise InvalidTransition(f"job {job_id!r} is {before.status}")


def _check_queue(rows: LockedRows, commit: Commit) -> None:
    bounds, waiting = commit.queue_bounds, rows.places.waiting
    for job, _ in commit.create if bounds else ():
        if bounds.per_scope is not None and waiting[job.scope_id] >= bounds.per_scope:
            raise QueueFull(limit=bounds.per_scope, scope_id=job.scope_id)
        if bounds.total is not None and waiting[None] >= bounds.total:
            raise QueueFull(limit=bounds.total)


def _check_actions(rows: LockedRows, commit: Commit) -> None:
    for change in commit.action_changes:
        known = rows.actions.get(change.action_id)
        if known is None:
            raise UnknownAction(f"no action {change.action_id!r}")
        status, votes = known
        if status != ActionStatus.PENDING or votes != change.votes_before:
            raise ActionAlreadyResolved(f"action {change.action_id!r} is {status}")
    asked = {action.action_id for action in commit.new_actions}
    for token in commit.new_tokens:
        if token.action_id not in asked and token.action_id not in rows.actions:
            raise UnknownAction(f"no action {token.action_id!r}")


def _check_settled(rows: LockedRows, commit: Commit) -> None:
    if any(key not in rows.timers for key in commit.take_timers):
        raise AlreadySettled
    if commit.unique_ledger and any(entry.key in rows.entries for entry in commit.ledger):
        raise AlreadySettled


def _check_charges(rows: LockedRows, commit: Commit) -> dict[Key, Counters]:
    """Return the counters as the commit leaves them."""
    after: dict[Key, Counters] = {}
    for charge in commit.charges:
        key = (charge.budget_id, charge.window)
        now = after.get(key) or rows.counters[key]
        added = charge.reserve + charge.settle
        if charge.limits is not None and charge.limits.exceeded_by(now.settled + now.reserved, added):
            raise BudgetRejected(charge.budget_id, settled=now.settled, reserved=now.reserved)
        after[key] = Counters(settled=now.settled + charge.settle, reserved=now.reserved + charge.reserve)
    return after


def _change_job(rows: LockedRows, job: LockedJob, commit: Commit) -> None:
    job.updated_at = commit.at
    good_bye = commit.job is not None and commit.job.release
    job.counted = job.counted.after(commit.absolution, good_bye=good_bye)
    if commit.progress is not None:
        job.progress = commit.progress
    if commit.job is not None:
        _change_status(job, commit.job)
        if commit.job.release and job.fence > 1:  # one with its first fence has not waited before
            rows.forgotten_waits.append(job.job_id)
        rows.wait_rows.extend(wait_rows(job.job_id, commit.waits))
    rows.change(job)


def _change_status(job: LockedJob, change: JobChange) -> None:
    job.status = change.status.value
    job.error, job.error_code = change.error, change.error_code
    job.result_ref = job.result_ref if change.result_ref is None else change.result_ref
    job.started_at = job.started_at or change.started_at
    job.completed_at = change.completed_at or job.completed_at
    if change.failed_versions is not None:
        job.failed_versions = failed_versions_text(change.failed_versions)
    job.retry_at = change.retry_at or job.retry_at
    if change.release:
        job.owner = None


def _create(
    rows: LockedRows,
    record: JobRecord,
    row: list[Any],
    events: Sequence[NewEvent],
    data: Sequence[str],
    at: datetime,
) -> None:
    rows.job_rows.append(row)
    if record.predecessor_id is not None:
        rows.successors.append([record.predecessor_id, record.job_id])
        rows.jobs[record.predecessor_id].successor_id = record.job_id
    job = LockedJob(
        job_id=record.job_id,
        scope_id=record.scope_id,
        fence=record.fence,
        fence_before=record.fence,
        owner=record.owner,
        operator=record.operator,
        status=record.status.value,
        last_seq=0,
        deaths=record.deaths,
        lone_deaths=record.lone_deaths,
        open_claim=record.open_claim,
        failed_versions=failed_versions_text(record.failed_versions),
        retry_at=record.retry_at,
        progress=record.progress,
        error=record.error,
        error_code=record.error_code,
        result_ref=record.result_ref,
        started_at=record.started_at,
        completed_at=record.completed_at,
        updated_at=record.updated_at,
    )
    rows.jobs[job.job_id] = job
    rows.count(job)
    rows.append(job, events, data, at, None)
    if record.idempotency_key is not None:
        rows.by_key[(record.scope_id, record.idempotency_key)] = (record.job_id, record.request_hash)
    if record.parent_job_id is not None:
        rows.children.setdefault(record.parent_job_id, []).append(record.job_id)
    _look_at_parent(rows, record)


def _look_at_parent(rows: LockedRows, record: JobRecord) -> None:
    parent_id = parent_of(record)
    if parent_id is not None:
        parent = rows.jobs.get(parent_id)
        stops = any(event.type in STOP_REQUESTS for _, event in rows.signals.get(parent_id, ()))
        status = None if parent is None else parent.status
        request = stop_with(parent_id, record.job_id, status=status, is_stopping=stops)
        if request is not None:
            rows.signal_rows.append(encode(SIGNAL, [*request, request.is_failure]))


def _send(rows: LockedRows, commit: Commit, encoded: EncodedCommit) -> None:
    """Send signals; one for a job that has ended, or that does not exist, goes nowhere."""
    for signal, row in zip(commit.signals, encoded.signals, strict=True):
        job = rows.jobs.get(signal.job_id)
        if job is not None and job.is_active:
            rows.signal_rows.append(row)
    for job_id in commit.unblock:
        job = rows.jobs.get(job_id)
        if job is not None:
            job.failed_versions, job.retry_at = None, None
            rows.change(job)
    parent = commit.cancel_children_of
    for job_id in rows.children.get(parent, ()) if parent is not None else ():
        job = rows.jobs.get(job_id)
        if job is not None and job.is_active:
            data = to_json({"reason": PARENT_HAS_ENDED})
            signal_id = f"{parent}:cancel:{job_id}"
            cancel = RuntimeEventType.JOB_CANCEL_REQUESTED.value
            rows.signal_rows.append([signal_id, job_id, cancel, None, data, None, False])


def _change_actions(rows: LockedRows, commit: Commit, encoded: EncodedCommit) -> None:
    for action, row in zip(commit.new_actions, encoded.actions, strict=True):
        rows.action_rows.append(row)
        rows.actions[action.action_id] = (action.status.value, len(action.votes))
    rows.token_rows.extend(encoded.tokens)
    for change in commit.action_changes:
        ended = change.status is not ActionStatus.PENDING
        resolution = None if change.resolution is None else to_json(change.resolution)
        votes = None if change.votes is None else to_json(change.votes)
        at = commit.at if ended else None
        rows.action_changes.append(
            [change.action_id, change.status.value, resolution, change.resolved_by, at, votes, change.job_id]
        )
        count = change.votes_before if change.votes is None else len(change.votes)
        rows.actions[change.action_id] = (change.status.value, count)
    for action_id in commit.withdraw_actions:
        status, votes_cast = rows.actions.get(action_id, ("", 0))
        if status == ActionStatus.PENDING:
            cancelled = ActionStatus.CANCELLED.value
            rows.action_changes.append([action_id, cancelled, None, None, commit.at, None, None])
            rows.actions[action_id] = (cancelled, votes_cast)
    if commit.cancel_actions_of is not None:
        rows.cancel_actions_of.append([commit.cancel_actions_of, commit.at])


def _move_timers(rows: LockedRows, commit: Commit, encoded: EncodedCommit) -> None:
    for timer, row in zip(commit.set_timers, encoded.timers, strict=True):
        rows.timer_rows[(timer.job_id, timer.key)] = row
        rows.timers.add((timer.job_id, timer.key))
    for key in (*commit.take_timers, *commit.clear_timers):
        rows.timer_rows[key] = None
        rows.timers.discard(key)
    if commit.clear_timers_of is not None:
        rows.clear_timers_of.append(commit.clear_timers_of)
        for key, set_row in rows.timer_rows.items():
            if key[0] == commit.clear_timers_of and set_row and not from_json(set_row[-1]).get("outlives"):
                rows.timer_rows[key] = None


def _charge(rows: LockedRows, commit: Commit, charged: dict[Key, Counters]) -> None:
    for charge in commit.charges:
        key = (charge.budget_id, charge.window)
        settled, reserved = rows.charges.get(key, (NOTHING, NOTHING))
        rows.charges[key] = (settled + charge.settle, reserved + charge.reserve)
        if charge.forget_before and key in rows.new_counters:
            kind = charge.forget_before.partition(":")[0]
            rows.forget_counters.append([charge.budget_id, kind, charge.forget_before])
    rows.counters.update(charged)


def _set_rules(rows: LockedRows, commit: Commit, encoded: EncodedCommit) -> None:
    for budget, row in zip(commit.budgets, encoded.budgets, strict=True):
        rows.budget_rows[budget.budget_id] = row
    for budget_id in commit.drop_budgets:
        rows.budget_rows[budget_id] = None
    for policy, row in zip(commit.policies, encoded.policies, strict=True):
        rows.policy_rows.setdefault((policy.name, policy.version), row)
    if commit.floors or commit.openings:
        _open_counters(rows)


def _open_counters(rows: LockedRows) -> None:
    """Add what counters lack of the ledger; once, whoever asks for it in this batch."""
    for key, amount in rows.opened.items():
        settled, reserved = rows.charges.get(key, (NOTHING, NOTHING))
        rows.charges[key] = (settled + amount, reserved)
        now = rows.counters[key]
        rows.counters[key] = Counters(settled=now.settled + amount, reserved=now.reserved)
    rows.opened.clear()


def apply_claim(
    rows: LockedRows,
    job_id: str,
    owner: str,
    at: datetime,
    caps: ScopeCaps,
    *,
    suspects: bool,
    ability: Ability | None,
) -> Claimed | None:
    """Take a job that is due and unowned, if its scope has a place; `None` for any other."""
    job = rows.jobs.get(job_id)
    if job is None or job.owner is not None or job.operator is None:
        return None
    stops = any(event.type in STOP_REQUESTS for _, event in rows.signals.get(job_id, ()))
    if not job.can_be_run(ability, is_stopping=stops):
        return None
    due = job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    if not due and not (job.status in SUSPENDED and job_id in rows.woken):
        return None
    cap = caps.of(job.scope_id)
    if cap is not None and not stops and not rows.places.has_room(job.scope_id, cap, job_id):
        return None
    retry = RuntimeEventType.JOB_RETRY_REQUESTED
    pardoned = any(event.type == retry for _, event in rows.signals.get(job_id, ()))
    stands = job.counted.claimed(pardoned=pardoned)
    if stands.is_suspect and not suspects:
        raise JobSuspected
    start = RuntimeEventType.JOB_STARTED if job.fence == 0 else RuntimeEventType.JOB_RESUMED
    at = max(at, job.updated_at)  # the claimant's clock may be behind that of who wrote before
    job.fence += 1
    job.owner = owner
    job.status = JobStatus.RUNNING.value
    job.counted = stands
    job.started_at = job.started_at or at
    job.updated_at = at
    return Claimed(job, _fold(rows, job, at, [NewEvent(start)]))


def apply_fold(rows: LockedRows, job_id: str, fence: int, at: datetime) -> Sequence[RuntimeEvent]:
    """Append the waiting signals to the journal of a job that is the caller's."""
    job = rows.jobs.get(job_id)
    if job is None or job.fence != fence:
        raise FenceLost
    return _fold(rows, job, at, [])


def _fold(rows: LockedRows, job: LockedJob, at: datetime, first: list[NewEvent]) -> Sequence[RuntimeEvent]:
    """Append `first` and the waiting signals to a journal; return the new entries."""
    waiting = rows.signals.pop(job.job_id, [])
    events = [*first, *(event for _, event in waiting)]
    if not events:
        return []
    first_seq = rows.append(job, events, [to_json(event.data) for event in events], at, None)
    rows.folded_signals.extend(signal for signal, _ in waiting)
    rows.change(job)
    return [placed(event, job.job_id, job.scope_id, seq, at) for seq, event in enumerate(events, first_seq)]
