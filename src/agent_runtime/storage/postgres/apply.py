"""Applying operations to locked rows, one after the other, as if each were a transaction of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from agent_runtime.audit.chain import first_head, new_salts
from agent_runtime.errors import FenceLost, JobSuspected
from agent_runtime.ports.commit import Commit, JobChange, NewEvent, Signal, placed
from agent_runtime.storage.postgres.locked_rows import EncodedCommit, LockedJob, LockedRows
from agent_runtime.storage.postgres.statements import SIGNAL
from agent_runtime.storage.postgres.values import encode, from_json, to_json
from agent_runtime.storage.rows import JOB, failed_versions_text, wait_rows
from agent_runtime.storage.rules import Changes, Key
from agent_runtime.values.ability import Ability
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import NOTHING, Amount, Charge, Counters
from agent_runtime.values.capacity import ScopeCaps
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import SUSPENDED, JobRecord, JobStatus
from agent_runtime.values.opening import uncounted

_SUCCESSOR: Final = list(JOB).index("successor_id")


class Claimed(NamedTuple):
    """A job as a claim has left it."""

    job: LockedJob
    new_events: Sequence[RuntimeEvent]


def apply_commit(rows: LockedRows, commit: Commit, changes: Changes, encoded: EncodedCommit) -> int:
    """Make every change of a checked commit and return the seq of its first event."""
    first_seq = 0
    if commit.job_id is not None and commit.fence is not None:
        job = rows.jobs[commit.job_id]
        first_seq = rows.append(job, commit.events, encoded.events, commit.at, commit.commit_id)
        _change_job(rows, job, commit, changes)
    for (record, events), (row, data) in zip(commit.create, encoded.created, strict=True):
        _create(rows, record, row, events, data, commit.at)
    _send(rows, commit, changes, encoded)
    _change_actions(rows, commit, changes, encoded)
    _move_timers(rows, commit, encoded)
    _charge(rows, commit, changes)
    for entry, row in zip(commit.ledger, encoded.ledger, strict=True):
        rows.ledger_rows.setdefault(entry.key, row)
        rows.entries.add(entry.key)
    _set_rules(rows, commit, encoded)
    if commit.job is not None and commit.job.status.is_terminal and commit.job_id is not None:
        rows.ended_jobs.append(commit.job_id)
        rows.signals[commit.job_id] = []
    return first_seq if commit.events else 0


def _change_job(rows: LockedRows, job: LockedJob, commit: Commit, changes: Changes) -> None:
    job.updated_at = commit.at
    if changes.stands is not None:
        job.counted = changes.stands
    if commit.progress is not None:
        job.progress = commit.progress
    if commit.job is not None:
        _change_status(job, commit.job)
        if changes.forgets_waits:
            rows.forgotten_waits.append(job.job_id)
            rows.wait_rows = [row for row in rows.wait_rows if row[0] != job.job_id]
        if commit.job.release:
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
    head, salts = first_head(record.job_id, record.scope_id), new_salts()
    if record.predecessor_id is not None:
        made = rows.job_rows.get(record.predecessor_id)
        if made is None:
            rows.successors.append([record.predecessor_id, record.job_id])
        else:  # a job that another commit of this batch creates has no row yet that could be updated
            made[_SUCCESSOR] = record.job_id
        rows.jobs[record.predecessor_id].successor_id = record.job_id
        for key, (holder, _) in list(rows.by_key.items()):
            if holder == record.predecessor_id:  # a key belongs to the last job of a chain
                del rows.by_key[key]
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
        audit_head=head,
        audit_salt=salts,
    )
    rows.jobs[job.job_id] = job
    rows.count(job)
    rows.append(job, events, data, at, None)
    # a row of its own, for the commit may be written in another batch after all
    rows.job_rows[record.job_id] = [*row, job.audit_head, salts]
    if record.idempotency_key is not None:
        rows.by_key[(record.scope_id, record.idempotency_key)] = (record.job_id, record.request_hash)
    if record.parent_job_id is not None and record.on_parent_end == "cancel":
        rows.children.setdefault(record.parent_job_id, []).append(record.job_id)


def _send(rows: LockedRows, commit: Commit, changes: Changes, encoded: EncodedCommit) -> None:
    rows.signal_rows.extend(_signal_row(signal) for signal in changes.born_with)
    for signal, row in zip(commit.signals, encoded.signals, strict=True):
        if signal.job_id not in changes.deaf:
            rows.signal_rows.append(row)
    rows.signal_rows.extend(_signal_row(signal) for signal in changes.cancels)
    for job_id in commit.unblock:
        job = rows.jobs.get(job_id)
        if job is not None:
            job.failed_versions, job.retry_at = None, None
            rows.change(job)


def _signal_row(signal: Signal) -> list[Any]:
    return encode(SIGNAL, [*signal, signal.is_failure])


def _change_actions(rows: LockedRows, commit: Commit, changes: Changes, encoded: EncodedCommit) -> None:
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
    for action_id in changes.withdrawn:
        cancelled = ActionStatus.CANCELLED.value
        rows.action_changes.append([action_id, cancelled, None, None, commit.at, None, None])
        rows.actions[action_id] = (cancelled, rows.actions[action_id][1])
    if commit.cancel_actions_of is not None:
        rows.cancel_actions_of.append([commit.cancel_actions_of, commit.at])


def _move_timers(rows: LockedRows, commit: Commit, encoded: EncodedCommit) -> None:
    for key in commit.take_timers:
        rows.timer_rows[key] = None
        rows.timers.discard(key)
    for timer, row in zip(commit.set_timers, encoded.timers, strict=True):
        rows.timer_rows[(timer.job_id, timer.key)] = row
        rows.timers.add((timer.job_id, timer.key))
    for key in commit.clear_timers:
        rows.timer_rows[key] = None
        rows.timers.discard(key)
    if commit.clear_timers_of is not None:
        rows.clear_timers_of.append(commit.clear_timers_of)
        for key, set_row in rows.timer_rows.items():
            if (
                key[0] == commit.clear_timers_of
                and set_row
                and not from_json(str(set_row[-1])).get("outlives")
            ):
                rows.timer_rows[key] = None
                rows.timers.discard(key)


def _charge(rows: LockedRows, commit: Commit, changes: Changes) -> None:
    begun = rows.empty_counters & changes.charges.keys()
    for key, added in changes.charges.items():
        _count(rows, key, added.settled, added.reserved)
    for charge in commit.charges:
        if charge.forget_before and (charge.budget_id, charge.window) in begun:
            _forget_counters(rows, charge)


def _forget_counters(rows: LockedRows, charge: Charge) -> None:
    """Forget a budget's old windows: those that the batch holds at this very moment, for it may count in them again."""
    kind = charge.forget_before.partition(":")[0]
    rows.forget_counters.append([charge.budget_id, kind, charge.forget_before])
    for key, counters in rows.counters.items():
        budget_id, window = key
        is_old = budget_id == charge.budget_id and kind <= window < charge.forget_before
        if is_old and not counters.reserved:
            _count(rows, key, -counters.settled, NOTHING)
            rows.empty_counters.add(key)


def _count(rows: LockedRows, key: Key, settle: Amount, reserve: Amount) -> None:
    rows.empty_counters.discard(key)
    settled, reserved = rows.charges.get(key, (NOTHING, NOTHING))
    rows.charges[key] = (settled + settle, reserved + reserve)
    now = rows.counters[key]
    rows.counters[key] = Counters(settled=now.settled + settle, reserved=now.reserved + reserve)


def _set_rules(rows: LockedRows, commit: Commit, encoded: EncodedCommit) -> None:
    for budget, row in zip(commit.budgets, encoded.budgets, strict=True):
        rows.budget_rows[budget.budget_id] = row
    for budget_id in commit.drop_budgets:
        rows.budget_rows[budget_id] = None
    for policy, row in zip(commit.policies, encoded.policies, strict=True):
        rows.policy_rows.setdefault((policy.name, policy.version), row)
    for budget_id, window, amount in commit.floors:
        key = (budget_id, window)
        missing = uncounted(amount, rows.counters[key].settled)
        _count(rows, key, missing, NOTHING)
        if key in rows.opened:
            rows.opened[key] = uncounted(rows.opened[key], missing)
    if commit.openings:  # what counters lack of the ledger is added once, whoever asks for it in this batch
        for key, amount in rows.opened.items():
            _count(rows, key, amount, NOTHING)
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
    """Take a job that is due and unowned, if its scope has a free slot; `None` for any other."""
    job = rows.jobs.get(job_id)
    if job is None or job.owner is not None or job.operator is None:
        return None
    stops = rows.is_stopping(job_id)
    if not job.can_be_run(ability, is_stopping=stops):
        return None
    due = job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    if not due and not (job.status in SUSPENDED and job_id in rows.woken):
        return None
    cap = caps.of(job.scope_id)
    if cap is not None and not stops and not rows.slots.has_room(job.scope_id, cap, job_id):
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
