"""Applying one commit inside an open transaction. Runs in the writer thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from agent_runtime.errors import (
    ActionAlreadyResolved,
    AlreadySettled,
    BudgetRejected,
    DuplicateJob,
    FenceLost,
    IdempotencyConflict,
    InvalidInput,
    InvalidTransition,
    QueueFull,
    SignalsPending,
    UnknownAction,
    UnknownJob,
)
from agent_runtime.ports.journal import ActionChange, Commit, NewEvent, Signal
from agent_runtime.storage.families import PARENT_HAS_ENDED, parent_of, stop_with
from agent_runtime.storage.rows import (
    ACTION,
    BUDGET,
    JOB,
    LEDGER,
    POLICY,
    TIMER,
    action_row,
    budget_row,
    failed_versions_text,
    job_row,
    ledger_row,
    policy_row,
    wait_rows,
)
from agent_runtime.storage.spent import LAST_PLACE, spent_by
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.inbox import apply_mail
from agent_runtime.storage.sqlite.values import encode, from_json, from_time
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import DIMENSIONS, NOTHING, Amount, Charge, Counters
from agent_runtime.values.deaths import Absolution, Deaths
from agent_runtime.values.job import TERMINAL, JobRecord
from agent_runtime.values.opening import Floor, uncounted


class AlreadyCommitted(Exception):
    """This commit was made before."""

    def __init__(self, first_seq: int) -> None:
        super().__init__()
        self.first_seq = first_seq


def apply(db: sqlite3.Connection, commit: Commit) -> int:
    """Make every change of `commit` and return the seq of its first event; raises as the port says."""
    first_seq = 0
    if commit.job_id is not None and commit.fence is not None:
        first_seq = _extend(db, commit)
    elif commit.events or commit.job:
        raise InvalidInput("only a fenced commit may extend a journal or change a job")
    if commit.charges or commit.ledger or commit.take_timers:
        _spend(db, commit)
    for job, events in commit.create:
        _create(db, job, events, commit.at)
    if commit.queue_bounds:
        _check_queue(db, commit)
    if (
        commit.messages
        or commit.message_changes
        or commit.receivers
        or commit.drop_receivers
        or commit.require_empty
    ):
        apply_mail(db, commit)
    for signal in commit.signals:
        send(db, signal)
    db.executemany(sql.UNBLOCK, [(job_id,) for job_id in commit.unblock])
    if commit.new_actions or commit.new_tokens:
        _ask(db, commit)
    _change_actions(db, commit)
    if commit.set_timers:
        db.executemany(sql.SET_TIMER, [encode(TIMER, timer) for timer in commit.set_timers])
    if commit.clear_timers:
        db.executemany(sql.CLEAR_TIMER, commit.clear_timers)
    if commit.budgets or commit.drop_budgets or commit.policies or commit.floors or commit.openings:
        _set_rules(db, commit)
    _end_of_job(db, commit)
    return first_seq


def _spend(db: sqlite3.Connection, commit: Commit) -> None:
    for key in commit.take_timers:
        if db.execute(sql.CLEAR_TIMER, key).rowcount != 1:
            raise AlreadySettled
    for charge in commit.charges:
        _charge(db, charge)
    rows = [encode(LEDGER, ledger_row(entry)) for entry in commit.ledger]
    if db.executemany(sql.INSERT_LEDGER, rows).rowcount < len(rows) and commit.unique_ledger:
        raise AlreadySettled


def _set_rules(db: sqlite3.Connection, commit: Commit) -> None:
    db.executemany(sql.PUT_BUDGET, [encode(BUDGET, budget_row(one, commit.at)) for one in commit.budgets])
    db.executemany(sql.DROP_BUDGET, [(budget_id,) for budget_id in commit.drop_budgets])
    db.executemany(sql.KEEP_POLICY, [encode(POLICY, policy_row(one, commit.at)) for one in commit.policies])
    floors = list(commit.floors)
    for opening in commit.openings:
        places = (from_time(opening.since), opening.upto, LAST_PLACE)
        later = [spent_by(row) for row in db.execute(sql.SPENT_SINCE, places)]
        floors += [Floor(name, opening.window, amount) for name, amount in opening.counters(later).items()]
    _lift_counters(db, floors)


def _lift_counters(db: sqlite3.Connection, floors: Iterable[Floor]) -> None:
    for budget_id, window, amount in floors:
        key = (budget_id, window)
        db.execute(sql.NEW_COUNTERS, key)
        now = counters_of(db.execute(sql.COUNTERS, key).fetchone())
        db.execute(sql.CHARGE, (*uncounted(amount, now.settled), *NOTHING, *key))


def _change_actions(db: sqlite3.Connection, commit: Commit) -> None:
    for change in commit.action_changes:
        _change_action(db, change, commit.at)
    moment = from_time(commit.at)
    db.executemany(sql.WITHDRAW_ACTION, [(moment, action_id) for action_id in commit.withdraw_actions])


def _end_of_job(db: sqlite3.Connection, commit: Commit) -> None:
    if commit.cancel_children_of is not None:
        db.execute(sql.CANCEL_CHILDREN, (commit.cancel_children_of, from_json({"reason": PARENT_HAS_ENDED})))
    if commit.cancel_actions_of is not None:
        db.execute(sql.CANCEL_ACTIONS, (from_time(commit.at), commit.cancel_actions_of))
    if commit.clear_timers_of is not None:
        db.execute(sql.CLEAR_TIMERS_OF, (commit.clear_timers_of,))
    if commit.job is not None and commit.job.status.is_terminal:
        db.execute(sql.DELETE_SIGNALS, (commit.job_id, 2**62))
    if commit.job_id is not None and commit.job is not None and commit.job.release:
        _wait_for(db, commit.job_id, commit)


def _wait_for(db: sqlite3.Connection, job_id: str, commit: Commit) -> None:
    """Write what a job waits for that is given up; one that has its first fence has not waited before."""
    if (commit.fence or 0) > 1:
        db.execute(sql.FORGET_WAITS, (job_id,))
    if commit.waits:
        db.executemany(sql.WAIT_FOR, wait_rows(job_id, commit.waits))


def _extend(db: sqlite3.Connection, commit: Commit) -> int:
    """Check the fence, change the job's row, append the events."""
    job_id, count, at = commit.job_id, len(commit.events), from_time(commit.at)
    assert job_id is not None  # noqa: S101 -- the caller's condition, for the type checker
    if commit.require_no_signals and db.execute(sql.HAS_SIGNALS, (job_id,)).fetchone()[0]:
        _check_owner(db, commit)
        raise SignalsPending
    change = commit.job
    if change is None:
        row = db.execute(sql.TOUCH, (count, at, job_id, commit.fence)).fetchone()
        if commit.progress is not None:
            db.execute(sql.SET_PROGRESS, (commit.progress, job_id))
    else:
        if change.expect is not None:
            _check_owner(db, commit)
        row = db.execute(
            sql.CHANGE_JOB,
            (
                count,
                at,
                change.status.value,
                commit.progress,
                change.error,
                change.error_code,
                change.result_ref,
                None if change.started_at is None else from_time(change.started_at),
                None if change.completed_at is None else from_time(change.completed_at),
                change.release,
                None if change.failed_versions is None else failed_versions_text(change.failed_versions),
                None if change.retry_at is None else from_time(change.retry_at),
                job_id,
                commit.fence,
            ),
        ).fetchone()
    if row is None:
        _check_owner(db, commit)
        raise FenceLost
    good_bye = change is not None and change.release
    if commit.absolution is not None or good_bye:
        _count(db, job_id, commit.absolution, good_bye=good_bye)
    first_seq: int = row[0] - count + 1
    append(db, job_id, first_seq, commit.events, commit.at, commit.commit_id)
    return first_seq if count else 0


def _count(db: sqlite3.Connection, job_id: str, absolution: Absolution | None, *, good_bye: bool) -> None:
    """Write what counts against a job after a commit of its owner."""
    stands = Deaths(*db.execute(sql.COUNTED, (job_id,)).fetchone())
    db.execute(sql.SET_COUNTED, (*stands.after(absolution, good_bye=good_bye), job_id))


def _check_owner(db: sqlite3.Connection, commit: Commit) -> None:
    """Say precisely why a fenced commit cannot be made: perhaps because it was made already."""
    if (made := db.execute(sql.COMMITTED_SEQ, (commit.commit_id,)).fetchone()) is not None:
        raise AlreadyCommitted(made[0])
    row = db.execute(sql.JOB_STATE, (commit.job_id,)).fetchone()
    if row is None:
        raise UnknownJob(f"no job {commit.job_id!r}")
    fence, status = row
    if fence != commit.fence:
        raise FenceLost
    if commit.job is not None and commit.job.expect is not None and status not in commit.job.expect:
        raise InvalidTransition(f"job {commit.job_id!r} is {status}")


def append(
    db: sqlite3.Connection,
    job_id: str,
    first_seq: int,
    events: Sequence[NewEvent],
    at: datetime,
    commit_id: str | None = None,
) -> None:
    """Write events from `first_seq` on. Only the first carries the commit's id."""
    moment = from_time(at)
    rows = [
        (
            job_id,
            seq,
            commit_id if seq == first_seq else None,
            event.type,
            moment,
            event.operation_id,
            from_json(event.data),
            event.content,
        )
        for seq, event in enumerate(events, first_seq)
    ]
    try:
        db.executemany(sql.INSERT_EVENT, rows)
    except sqlite3.IntegrityError:
        row = db.execute(sql.COMMITTED_SEQ, (commit_id,)).fetchone()
        if row is None:
            raise
        raise AlreadyCommitted(row[0]) from None


def send(db: sqlite3.Connection, signal: Signal) -> None:
    """Store a signal."""
    signal_id, job_id, type_, operation_id, data, content = signal
    values = (signal_id, job_id, type_, operation_id, from_json(data), content, signal.is_failure)
    db.execute(sql.SEND, values)


def _succeed(db: sqlite3.Connection, job_id: str, successor_id: str) -> None:
    """Let a job go on as another one: as one at most, and only when it has ended, be it by this commit."""
    row = db.execute(sql.PREDECESSOR, (job_id,)).fetchone()
    if row is None:
        raise UnknownJob(f"no job {job_id!r}")
    status, known = row
    if known is not None:
        raise DuplicateJob(known)
    if status not in TERMINAL:
        raise InvalidTransition(f"job {job_id!r} is {status}")
    db.execute(sql.SUCCEED, (successor_id, job_id))


def _create(db: sqlite3.Connection, job: JobRecord, events: Sequence[NewEvent], at: datetime) -> None:
    if job.predecessor_id is not None:
        _succeed(db, job.predecessor_id, job.job_id)
    try:
        db.execute(sql.INSERT_JOB, encode(JOB, job_row(replace(job, last_seq=len(events)))))
    except sqlite3.IntegrityError:
        existing = db.execute(sql.JOB_BY_KEY, (job.scope_id, job.idempotency_key)).fetchone()
        if existing is None:
            raise DuplicateJob(job.job_id) from None
        job_id, request_hash = existing
        if request_hash == job.request_hash:
            raise DuplicateJob(job_id) from None
        raise IdempotencyConflict(
            f"key {job.idempotency_key!r} belongs to job {job_id!r}, a different request"
        ) from None
    append(db, job.job_id, 1, events, at)
    _look_at_parent(db, job)


def _look_at_parent(db: sqlite3.Connection, job: JobRecord) -> None:
    parent_id = parent_of(job)
    if parent_id is not None:
        status, stops = db.execute(sql.PARENT, {"parent": parent_id}).fetchone()
        request = stop_with(parent_id, job.job_id, status=status, is_stopping=bool(stops))
        if request is not None:
            send(db, request)


def _check_queue(db: sqlite3.Connection, commit: Commit) -> None:
    """Refuse what would make the queue too long; the job is in it already, and goes with the transaction."""
    total, per_scope = commit.queue_bounds.total, commit.queue_bounds.per_scope
    for scope_id in {job.scope_id for job, _ in commit.create}:
        if per_scope is not None:
            ((waiting,),) = db.execute(sql.WAITING_IN_SCOPE, (scope_id, per_scope + 1))
            if waiting > per_scope:
                raise QueueFull(limit=per_scope, scope_id=scope_id)
    if total is not None:
        ((waiting,),) = db.execute(sql.WAITING, (total + 1,))
        if waiting > total:
            raise QueueFull(limit=total)


def _ask(db: sqlite3.Connection, commit: Commit) -> None:
    db.executemany(sql.INSERT_ACTION, [encode(ACTION, action_row(action)) for action in commit.new_actions])
    for action_id in {token.action_id for token in commit.new_tokens}:
        if db.execute(sql.ACTION_STATUS, (action_id,)).fetchone() is None:
            raise UnknownAction(f"no action {action_id!r}")
    db.executemany(sql.INSERT_TOKEN, commit.new_tokens)


def _change_action(db: sqlite3.Connection, change: ActionChange, at: datetime) -> None:
    pending = change.status is ActionStatus.PENDING
    cursor = db.execute(
        sql.CHANGE_ACTION,
        (
            change.status.value,
            None if change.resolution is None else from_json(change.resolution),
            change.resolved_by,
            None if pending else from_time(at),
            None if change.votes is None else from_json(change.votes),
            change.job_id,
            change.action_id,
            change.votes_before,
        ),
    )
    if cursor.rowcount != 1:
        row = db.execute(sql.ACTION_STATUS, (change.action_id,)).fetchone()
        if row is None:
            raise UnknownAction(f"no action {change.action_id!r}")
        raise ActionAlreadyResolved(f"action {change.action_id!r} is {row[0]}")


def _charge(db: sqlite3.Connection, charge: Charge) -> None:
    """Move a budget's counters, after checking that they stay within limits; the one writer makes that atomic."""
    key = (charge.budget_id, charge.window)
    if charge.limits is not None:
        row = db.execute(sql.COUNTERS, key).fetchone()
        now = Counters() if row is None else counters_of(row)
        if charge.limits.exceeded_by(now.settled + now.reserved, charge.reserve + charge.settle):
            raise BudgetRejected(charge.budget_id, settled=now.settled, reserved=now.reserved)
    changes = (*charge.settle, *charge.reserve, *key)
    if db.execute(sql.CHARGE, changes).rowcount:
        return
    db.execute(sql.NEW_COUNTERS, key)
    if charge.forget_before:
        kind = charge.forget_before.partition(":")[0]
        db.execute(sql.FORGET_COUNTERS, (charge.budget_id, kind, charge.forget_before))
    db.execute(sql.CHARGE, changes)


def counters_of(row: Sequence[int]) -> Counters:
    """Build counters from a row of `COUNTERS`."""
    half = len(DIMENSIONS)
    return Counters(Amount(*row[:half]), Amount(*row[half:]))
